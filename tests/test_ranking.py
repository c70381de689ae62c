from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from cqa_helpers import ranking
from cqa_helpers.agreement import Interval
from panel_tables import Cell, copied, frame

NOTHING = Interval(None, None, None)
EXPERTS = ["e1", "e2", "e3"]
QUICK = {"n_boot": 300, "seed": 1}


def simulated(
    seed: int, n_works: int = 40, skill: float = 1.0, base: float = 0.5, people: int = 3
) -> pd.DataFrame:
    """Return experts who see a work's merit with noise, and a judge ``m`` with this skill."""
    rng = np.random.default_rng(seed)
    rows: list[Cell] = []
    for i in range(n_works):
        merit = rng.uniform(-0.4, 0.4)
        named = sorted(rng.choice(people, 3, replace=False))
        readers = [(f"e{k + 1}", 0.5 + merit) for k in named]
        for who, p in [*readers, ("m", np.clip(base + skill * merit, 0.02, 0.98))]:
            rows += [(f"i{i:02}", f"d{d}", who, int(rng.random() < p)) for d in range(10)]
    return frame(rows, "0-1")


def scores(table: pd.DataFrame, who: list[str], by: str = "item_id") -> pd.Series:
    return table[table["judge_id"].isin(who)].astype({"value": float}).groupby(by)["value"].mean()


def test_the_correlation_is_scipys_over_works() -> None:
    table = simulated(0)
    found = ranking.of_works(table, "m", EXPERTS, **QUICK)
    other = spearmanr(scores(table, ["m"]), scores(table, EXPERTS)).statistic
    assert found.spearman.value == pytest.approx(other, abs=1e-12)
    each = [
        spearmanr(scores(table, ["m"]), scores(table, [e for e in EXPERTS if e != out])).statistic
        for out in EXPERTS
    ]
    assert found.spearman_rest.value == pytest.approx(np.mean(each), abs=1e-12)
    assert (found.n_works, found.n_missing) == (40, 0)


def test_the_experts_own_is_each_against_the_mean_of_the_others() -> None:
    table = simulated(1)
    found = ranking.of_works(table, "experts", EXPERTS, **QUICK)
    each = [
        spearmanr(scores(table, [out]), scores(table, [e for e in EXPERTS if e != out])).statistic
        for out in EXPERTS
    ]
    assert found.spearman == NOTHING
    assert found.spearman_rest.value == pytest.approx(np.mean(each), abs=1e-12)


def test_the_bootstrap_equals_one_that_copies_works() -> None:
    table = simulated(2, n_works=12)
    works = {f"i{i:02}": f"w{i // 2}" for i in range(12)}
    found = ranking.of_works(table, "m", EXPERTS, works, n_boot=60, seed=3)
    draws = []
    for times in np.random.default_rng(3).multinomial(6, [1 / 6] * 6, size=60):
        drawn = copied(table, works, times)
        # A copy is a work of its own: w0 copy 1 beside w0 copy 0.
        work = drawn["item_id"].str[:3].map(works) + drawn["item_id"].str[3:]
        drawn = drawn.assign(work=work)
        one, other = (scores(drawn, who, "work") for who in (["m"], EXPERTS))
        varied = one.nunique() > 1 and other.nunique() > 1
        draws.append(spearmanr(one, other).statistic if varied else np.nan)
    limits = np.nanquantile(draws, [0.025, 0.975])
    assert found.spearman[1:] == pytest.approx(tuple(limits), abs=1e-9)


def test_a_judge_with_skill_is_told_from_one_without() -> None:
    able = ranking.of_works(simulated(3), "m", EXPERTS, **QUICK)
    assert able.spearman.low > 0.3  # type: ignore[operator]
    # A lenient judge keeps the order, though not the verdicts.
    lenient = ranking.of_works(simulated(3, base=0.8), "m", EXPERTS, **QUICK)
    assert lenient.spearman.low > 0.3  # type: ignore[operator]
    blind = ranking.of_works(simulated(4, skill=0.0), "m", EXPERTS, **QUICK)
    assert blind.spearman.low < 0 < blind.spearman.high  # type: ignore[operator]


def test_a_judge_like_the_experts_stands_where_an_expert_stands() -> None:
    table = simulated(5, n_works=200)
    judge = ranking.of_works(table, "m", EXPERTS, **QUICK)
    human = ranking.of_works(table, "experts", EXPERTS, **QUICK)
    assert judge.spearman_rest.low < human.spearman_rest.value < judge.spearman_rest.high  # type: ignore[operator]
    # Three experts are a better yardstick than two.
    assert judge.spearman.value > judge.spearman_rest.value  # type: ignore[operator]


def test_many_experts_who_read_few_works_each_are_taken_by_seats() -> None:
    table = simulated(6, people=15)
    experts = sorted(set(table["judge_id"]) - {"m"})
    assert scores(table, experts, "judge_id").size == 15
    found = ranking.of_works(table, "experts", experts, **QUICK)
    named = table[table["judge_id"] != "m"].drop_duplicates(["item_id", "judge_id"])
    seat = {
        (i, j): k
        for i, own in named.groupby("item_id")["judge_id"]
        for k, j in enumerate(sorted(own))
    }
    seats = [seat.get((i, j)) for i, j in zip(table["item_id"], table["judge_id"], strict=True)]
    seated = table.assign(judge_id=[f"s{s}" for s in seats])
    each = [
        spearmanr(scores(seated, [f"s{k}"]), scores(seated, [f"s{x}" for x in {0, 1, 2} - {k}]))
        for k in range(3)
    ]
    assert found.spearman_rest.value == pytest.approx(np.mean([e.statistic for e in each]))
    assert found.spearman_rest.low > 0.3  # type: ignore[operator]


def test_a_seat_that_few_works_have_is_left_out() -> None:
    table = simulated(7)
    gone = (table["judge_id"] == "e3") & (table["item_id"] > "i03")
    found = ranking.of_works(table[~gone], "m", EXPERTS, **QUICK)
    assert found.spearman_rest.value is not None
    alone = ranking.of_works(table, "m", ["e1"], **QUICK)
    assert alone.spearman.value is not None
    assert alone.spearman_rest == NOTHING


def test_too_few_works_or_no_variance_is_null() -> None:
    table = simulated(8, n_works=4)
    assert ranking.of_works(table, "m", EXPERTS, **QUICK)[1:] == (NOTHING, NOTHING, 4, 0)
    table = simulated(8)
    table.loc[table["judge_id"] == "m", "value"] = 1
    assert ranking.of_works(table, "m", EXPERTS, **QUICK)[1:3] == (NOTHING, NOTHING)
    table.loc[table["judge_id"] == "m", ["value", "status"]] = [pd.NA, "unparsed"]
    assert ranking.of_works(table, "m", EXPERTS, **QUICK)[1:] == (NOTHING, NOTHING, 0, 40)
    with pytest.raises(ValueError, match="no rows of nobody"):
        ranking.of_works(table, "nobody", EXPERTS)


def test_both_scores_of_a_work_rest_on_the_cells_that_both_judged() -> None:
    table = simulated(9)
    lost = (table["judge_id"] == "m") & table["dimension"].isin(["d0", "d1", "d2", "d3"])
    table.loc[lost, ["value", "status"]] = [pd.NA, "unparsed"]
    kept = table[~table["dimension"].isin(["d0", "d1", "d2", "d3"])]
    found = ranking.of_works(table, "m", EXPERTS, **QUICK)
    assert found == ranking.of_works(kept, "m", EXPERTS, **QUICK)
