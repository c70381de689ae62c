from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cqa_helpers import bradleyterry
from cqa_helpers.agreement import Interval

NONE = Interval(None, None, None)


def sheets(
    strengths: dict[str, float], passages: int = 30, raters: int = 5, seed: int = 0
) -> pd.DataFrame:
    """Simulated rankings, with ties where two scores round to the same."""
    rng = np.random.default_rng(seed)
    rows = []
    for p in range(passages):
        for r in range(raters):
            scores = np.round(np.array(list(strengths.values())) + rng.gumbel(size=len(strengths)))
            ranks = pd.Series(-scores).rank(method="min")
            rows += [
                {"sheet": f"{p}-{r}", "passage": p, "rater": r, "judge": j, "value": k}
                for j, k in zip(strengths, ranks, strict=True)
            ]
    return pd.DataFrame(rows)


def test_rankings_become_pairs_with_ties_and_repeats_of_a_judge_do_not_meet() -> None:
    ranked = [[("a", 1), ("b", 1), ("c", 3)], [("a", 2), ("a", 1), ("b", 3)]]
    rows = pd.DataFrame(
        [
            {"sheet": s, "passage": s, "rater": "r", "judge": j, "value": v}
            for s, sheet in enumerate(ranked)
            for j, v in sheet
        ]
    )
    found = bradleyterry.fit(rows, n_boot=5)
    assert (found.n_pairs, found.n_ties, found.n_sheets) == (3 + 2, 1, 2)
    assert found.strengths["c"] == NONE


def test_the_stronger_judge_is_found_and_strengths_sum_to_zero() -> None:
    found = bradleyterry.fit(sheets({"base": 0.0, "reference": 0.5, "tuned": 1.5}), n_boot=300)
    assert sum(s.value or 0 for s in found.strengths.values()) == pytest.approx(0)
    gap = bradleyterry.difference(found, "tuned", "base")
    assert gap.low is not None
    assert gap.low > 0.5
    assert gap.value == pytest.approx(-(bradleyterry.difference(found, "base", "tuned").value or 0))
    assert found.n_pairs == 30 * 5 * 3
    assert found.warnings == ()


def test_a_resample_is_fitted_as_its_rows_would_be() -> None:
    rows = sheets({"a": 0.0, "b": 0.7, "c": 1.0}, passages=6)
    found = bradleyterry.fit(rows, n_boot=3, seed=4)
    rng = np.random.default_rng(4)
    passages = rng.multinomial(6, np.full(6, 1 / 6), 3)
    raters = rng.multinomial(5, np.full(5, 1 / 5), 3)
    for k in range(3):
        copies = [
            rows[(rows["passage"] == p) & (rows["rater"] == r)].assign(sheet=f"{p}-{r}-{c}")
            for p in range(6) for r in range(5)
            for c in range(passages[k, p] * raters[k, r])
        ]  # fmt: skip
        alone = bradleyterry.fit(pd.concat(copies), n_boot=1)
        assert found.draws[k] == pytest.approx([alone.strengths[j].value for j in "abc"], abs=1e-6)


def test_rows_in_another_order_give_the_same_intervals() -> None:
    rows = sheets({"a": 0.0, "b": 0.7})
    mixed = rows.sample(frac=1, random_state=1)
    one, two = (bradleyterry.fit(r, n_boot=50, seed=2) for r in (rows, mixed))
    for judge in "ab":
        assert one.strengths[judge] == pytest.approx(two.strengths[judge])


def test_a_judge_that_always_wins_is_named_and_leaves_the_others_theirs() -> None:
    rows = sheets({"a": 0.0, "b": 0.7, "c": 1.0})
    rows.loc[rows["judge"] == "c", "value"] = 0
    found = bradleyterry.fit(rows, n_boot=50)
    assert found.strengths["c"] == NONE
    assert "c won every comparison: its strength is infinite" in found.warnings
    assert bradleyterry.difference(found, "c", "a") == NONE
    alone = bradleyterry.fit(rows[rows["judge"] != "c"], n_boot=50)
    assert bradleyterry.difference(found, "b", "a") == bradleyterry.difference(alone, "b", "a")


def test_a_judge_that_never_loses_but_ties_is_said_to_be_separated() -> None:
    rows = sheets({"a": 0.0, "b": 3.0})
    rows["value"] = np.where(rows["judge"] == "b", 1, rows["value"])
    assert rows.groupby("sheet")["value"].nunique().eq(1).any()
    found = bradleyterry.fit(rows, n_boot=20)
    assert found.strengths == {"a": NONE, "b": NONE}
    assert any("never lose" in w for w in found.warnings)


def test_judges_that_were_never_compared_are_said_to_be_apart() -> None:
    rows = sheets({"a": 0.0, "b": 0.3, "c": 0.1, "d": 0.2})
    pairs = rows["judge"].isin(["a", "b"])
    rows["sheet"] = rows["sheet"] + np.where(pairs, "-ab", "-cd")
    found = bradleyterry.fit(rows, n_boot=20)
    assert set(found.strengths.values()) == {NONE}
    assert any("never compared" in w for w in found.warnings)


def test_too_few_raters_give_a_value_without_limits() -> None:
    found = bradleyterry.fit(sheets({"a": 0.0, "b": 0.5}, raters=3), n_boot=50)
    gap = bradleyterry.difference(found, "b", "a")
    assert gap.value is not None
    assert gap.low is None
    assert any("too few for limits" in w for w in found.warnings)


def test_missing_ranks_are_counted() -> None:
    rows = sheets({"a": 0.0, "b": 0.5, "c": 0.2})
    rows.loc[::9, "value"] = np.nan
    found = bradleyterry.fit(rows, n_boot=20)
    assert found.n_missing == 50
    assert found.n_pairs == 150 * 3 - 2 * 50


def test_what_is_no_ranking_is_refused() -> None:
    rows = sheets({"a": 0.0, "b": 0.5})
    with pytest.raises(ValueError, match="no column rater"):
        bradleyterry.fit(rows.drop(columns="rater"))
    with pytest.raises(ValueError, match="two raters or passages"):
        bradleyterry.fit(rows.assign(sheet="one"))
    with pytest.raises(ValueError, match="no ranking of gpt"):
        bradleyterry.difference(bradleyterry.fit(rows, n_boot=5), "gpt", "a")


def test_of_two_judges_one_that_always_wins_leaves_nothing() -> None:
    rows = sheets({"a": 0.0, "b": 0.5}, passages=6)
    rows["value"] = rows["judge"].map({"a": 2, "b": 1})
    found = bradleyterry.fit(rows, n_boot=5)
    assert found.strengths == {"a": NONE, "b": NONE}
    assert found.n_pairs == 30
    assert {w.split(":")[0] for w in found.warnings} == {
        "a lost every comparison", "b won every comparison", "no two judges were compared",
    }  # fmt: skip
