from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from cqa_helpers import agreement, contrasts
from cqa_helpers.agreement import Interval
from cqa_helpers.records import Verdict, to_table
from simulated_table import EXPERTS, said, table_of, truth_of


def width(found: Interval) -> float:
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


def test_the_consensus_is_the_majority_and_leaves_ties_out() -> None:
    votes = {"a": (1, 1, 0), "b": (0, 0, 0), "c": (1, 0, None), "d": (None, None, 1)}
    rows = [
        Verdict(
            item_id=item, dimension="craft", judge_id=f"expert-{k}", value=v,
            status="ok" if v is not None else "unparsed",
        )
        for item, values in votes.items() for k, v in enumerate(values)
    ]  # fmt: skip
    found = contrasts.consensus(to_table(rows), [f"expert-{k}" for k in range(3)])
    assert dict(zip(found["item_id"], found["value"].astype(int), strict=True)) == {
        "a": 1, "b": 0, "d": 1,
    }  # fmt: skip
    assert set(found["judge_id"]) == {"consensus"}
    assert list(found.columns) == list(to_table(rows).columns)


def test_a_consensus_of_ties_alone_is_empty() -> None:
    rows = [
        Verdict(item_id="a", dimension="craft", judge_id=f"expert-{v}", value=v) for v in (0, 1)
    ]
    assert contrasts.consensus(to_table(rows), ["expert-0", "expert-1"]).empty


@pytest.mark.parametrize("chance", ["within-dimension", "pooled"])
def test_with_one_repeat_it_is_the_paired_difference(chance: agreement.Chance) -> None:
    table = table_of(seeds=1)
    one = contrasts.seed_contrast(
        table, "tuned", "reference", EXPERTS, n_boot=300, seed=5, chance=chance
    )
    known = agreement.paired_difference(
        table, "tuned", "reference", EXPERTS, n_boot=300, seed=5, chance=chance
    )
    assert one.overall.difference == pytest.approx(known.difference)
    assert one.overall.draws == pytest.approx(known.draws)
    assert one.overall[4:] == known[4:]
    assert one.by_repeat == {0: pytest.approx(known.difference.value)}


@pytest.mark.parametrize("chance", ["within-dimension", "pooled"])
def test_with_one_repeat_a_judges_own_kappa_is_that_against_experts(
    chance: agreement.Chance,
) -> None:
    table = table_of(seeds=1)
    for judge in ("tuned", "experts"):
        found = contrasts.own_kappa(table, judge, EXPERTS, n_boot=200, seed=5, chance=chance)
        known = agreement.kappa_against_experts(
            table, judge, EXPERTS, n_boot=200, seed=5, chance=chance
        )
        assert found.kappa == pytest.approx(known.kappa)


def test_the_value_pools_the_repeats_pairs() -> None:
    table = table_of(seeds=2)
    found = contrasts.own_kappa(table, "tuned", EXPERTS, n_boot=10, seed=0, chance="pooled")
    counts = np.zeros((2, 2))
    mine = table[table["judge_id"] == "tuned"]
    theirs = table[table["judge_id"].isin(EXPERTS)]
    both = mine.merge(theirs, on=["item_id", "dimension"])
    np.add.at(counts, (both["value_x"].astype(int), both["value_y"].astype(int)), 1)
    assert found.kappa.value == pytest.approx(cohens_kappa(counts).kappa)
    assert list(found.by_repeat) == [0, 1]


def test_seeds_that_differ_widen_the_interval() -> None:
    truth = truth_of(80)
    base = table_of(80, seeds=0, with_baselines=False)
    mixed = [
        v for r, skill in enumerate((0.95, 0.5, 0.75))
        for v in said("tuned", truth, skill, 200 + r, repeat=r)
    ]  # fmt: skip
    even = [v for r in range(3) for v in said("tuned", truth, 0.73, 300 + r, repeat=r)]
    widths = {}
    for name, rows in (("mixed", mixed), ("even", even)):
        table = pd.concat([base, to_table(rows)])
        found = contrasts.seed_contrast(table, "tuned", "reference", EXPERTS, n_boot=400, seed=1)
        widths[name] = width(found.overall.difference)
        assert len(found.by_repeat) == 3
    assert widths["mixed"] > 1.5 * widths["even"]


def test_each_repeats_difference_is_against_the_whole_reference() -> None:
    table = table_of(seeds=3)
    found = contrasts.seed_contrast(table, "tuned", "reference", EXPERTS, n_boot=10, seed=0)
    for repeat, difference in found.by_repeat.items():
        alone = table[(table["judge_id"] != "tuned") | (table["repeat"] == repeat)]
        known = agreement.paired_difference(alone, "tuned", "reference", EXPERTS, n_boot=10)
        assert difference == pytest.approx(known.difference.value)


def test_each_repeat_is_compared_on_the_cells_that_it_and_the_reference_answered() -> None:
    truth = truth_of(40)
    base = table_of(40, seeds=0, with_baselines=False)
    rows = [v for r in range(2) for v in said("tuned", truth, 0.9, 9 + r, repeat=r, unparsed=0.2)]
    table = pd.concat([base, to_table(rows)])
    answered = [
        {(v.item_id, v.dimension) for v in rows if v.repeat == r and v.value is not None}
        for r in (0, 1)
    ]
    shared = answered[0] & answered[1]
    found = contrasts.seed_contrast(table, "tuned", "reference", EXPERTS, n_boot=10)
    assert found.overall.n_pairs == sum(map(len, answered)) * 3
    assert found.overall.n_dropped == 40 * 3 - len(shared)


def test_the_same_seed_gives_the_same_draws() -> None:
    table = table_of()
    one, two = (
        contrasts.seed_contrast(table, "tuned", "reference", EXPERTS, n_boot=50, seed=4)
        for _ in range(2)
    )
    assert np.array_equal(one.overall.draws, two.overall.draws)


def test_an_unknown_judge_is_named() -> None:
    with pytest.raises(ValueError, match="no rows of gpt"):
        contrasts.seed_contrast(table_of(), "tuned", "gpt", EXPERTS)


def ratings(gap: float, raters: int = 4, n: int = 20, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        [
            {
                "judge_id": judge, "passage_id": f"p{i}", "rater_id": f"r{r}",
                "value": 3 + (gap if judge == "tuned" else 0) + severity + rng.normal(0, 0.5),
            }
            for r, severity in enumerate(rng.normal(0, 2, raters))
            for i in range(n) for judge in ("tuned", "reference")
        ]
    )  # fmt: skip


def test_a_raters_severity_does_not_move_or_widen_the_difference() -> None:
    rows = ratings(0.8)
    found = contrasts.rating_contrast(rows, "tuned", "reference", n_boot=300)
    means = rows.groupby("judge_id")["value"].mean()
    assert found.value == pytest.approx(means["tuned"] - means["reference"])
    assert found.low is not None
    assert 0 < found.low < 0.8 < (found.high or 0)
    harsher = rows.assign(value=rows["value"] - 5 * (rows["rater_id"] == "r1"))
    again = contrasts.rating_contrast(harsher, "tuned", "reference", n_boot=300)
    assert again == pytest.approx(found)


def test_a_difference_the_other_way_round_is_its_negative() -> None:
    there = contrasts.rating_contrast(ratings(0.8), "tuned", "reference", n_boot=50)
    back = contrasts.rating_contrast(ratings(0.8), "reference", "tuned", n_boot=50)
    assert back.value == pytest.approx(-(there.value or 0))


def test_missing_ratings_are_left_out_and_no_pair_at_all_is_null() -> None:
    rows = ratings(0.8)
    rows.loc[::7, "value"] = np.nan
    assert contrasts.rating_contrast(rows, "tuned", "reference", n_boot=50).low is not None
    apart = pd.concat([
        rows[(rows["judge_id"] == "tuned") & (rows["rater_id"] == "r0")],
        rows[(rows["judge_id"] == "reference") & (rows["rater_id"] == "r1")],
    ])  # fmt: skip
    assert contrasts.rating_contrast(apart, "tuned", "reference") == Interval(None, None, None)


def gaps(seed: int, missing: float = 0.2, passages: int = 12, raters: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    gap = rng.normal(0, 1, (passages, raters)) + rng.normal(0, 0.7, raters)
    return np.where(rng.random(gap.shape) < missing, np.nan, gap)


def plain_mean(gap: np.ndarray, passages: np.ndarray, raters: np.ndarray) -> float:
    """Write out the rows and columns that were drawn, and take the mean of what is there."""
    drawn = gap[np.ix_(passages, raters)]
    return float(np.nanmean(drawn)) if not np.isnan(drawn).all() else np.nan


@pytest.mark.parametrize("missing", [0.0, 0.2, 0.9])
def test_resampled_means_are_those_of_the_rows_and_columns_written_out(missing: float) -> None:
    gap = gaps(1, missing)
    times = [agreement.resample(n, 300, seed) for seed, n in enumerate(gap.shape)]
    found = contrasts.resampled_means(gap, *times)
    slow = [
        plain_mean(gap, np.repeat(np.arange(12), p), np.repeat(np.arange(4), r))
        for p, r in zip(*times, strict=True)
    ]
    assert np.isnan(found).any() == (missing == 0.9)
    assert found == pytest.approx(slow, abs=1e-12, nan_ok=True)


def test_limits_are_those_of_a_plain_loop_that_draws_passages_and_raters() -> None:
    rows = ratings(0.3, raters=5, n=15, seed=2)
    rows.loc[::11, "value"] = np.nan
    found = contrasts.rating_contrast(rows, "tuned", "reference", n_boot=20_000, seed=1)
    centred = rows.assign(value=rows["value"] - rows.groupby("rater_id")["value"].transform("mean"))
    wide = centred.pivot(index=["passage_id", "rater_id"], columns="judge_id", values="value")
    gap = (wide["tuned"] - wide["reference"]).unstack("rater_id").to_numpy()
    rng = np.random.default_rng(3)
    slow = np.array(
        [plain_mean(gap, rng.integers(0, 15, 15), rng.integers(0, 5, 5)) for _ in range(4000)]
    )
    assert found.value == pytest.approx(np.nanmean(gap))
    # A percentile of 4,000 draws has a standard error of about .045 of their deviation here.
    limits = np.quantile(slow, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(limits, abs=0.2 * slow.std())


@pytest.mark.parametrize("n_boot", [1, 999, 1000, 2001])
def test_as_many_resamples_are_taken_as_were_asked_for(
    n_boot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def counted(value: float, draws: np.ndarray, level: float) -> Interval:
        taken.append(len(draws))
        return agreement.interval(value, draws, level)

    monkeypatch.setattr(contrasts, "interval", counted)
    contrasts.rating_contrast(ratings(0.8), "tuned", "reference", n_boot=n_boot)
    assert taken == [n_boot]
