from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from cqa_helpers import calibration
from cqa_helpers.agreement import Interval
from cqa_helpers.records import Verdict, to_table

scored = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])),
    min_size=1,
    max_size=40,
)


def judged(seed: int, n_items: int = 12, unscored: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n_items):
        for d in ("d0", "d1"):
            truth = int(rng.integers(0, 2))
            p = float(np.clip(0.5 + (truth - 0.5) * 0.4 + rng.normal(0, 0.4), 0, 1)).__round__(1)
            rows.append(Verdict(item_id=f"i{i}", dimension=d, judge_id="e", value=truth))
            if i < unscored:
                rows.append(Verdict(
                    item_id=f"i{i}", dimension=d, judge_id="m", value=None, status="failed"
                ))  # fmt: skip
            else:
                rows.append(Verdict(
                    item_id=f"i{i}", dimension=d, judge_id="m", value=int(p > 0.5), probability=p
                ))  # fmt: skip
    return to_table(rows)


@settings(max_examples=60, deadline=None)
@given(scored)
def test_auc_equals_sklearn_and_is_null_with_one_class(rows: list[tuple[int, float]]) -> None:
    values, scores = zip(*rows, strict=True)
    found = calibration.auc(values, scores)
    if len(set(values)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(roc_auc_score(values, scores), abs=1e-12)


def test_auc_of_the_four_points_by_hand() -> None:
    # Of the four (yes, no) pairs three are in order: (.35,.1), (.8,.1), (.8,.4).
    assert calibration.auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.75
    assert calibration.auc([0, 1], [0.5, 0.5]) == 0.5


def test_mean_auc_is_the_mean_over_dimensions_of_sklearns() -> None:
    table = judged(0)
    found = calibration.mean_auc(table, "m", ["e"])
    wide = table.pivot(index=["item_id", "dimension"], columns="judge_id")
    for d in ("d0", "d1"):
        rows = wide.xs(d, level="dimension")
        other = roc_auc_score(
            rows["value", "e"].astype(int), rows["probability", "m"].astype(float)
        )
        assert found.by_dimension[d] == pytest.approx(other, abs=1e-12)
    each = [v for v in found.by_dimension.values() if v is not None]
    assert found.mean.value == pytest.approx(sum(each) / 2)
    assert found.mean.low is not None
    assert found.mean.high is not None
    assert found.mean.low < found.mean.value < found.mean.high  # type: ignore[operator]
    assert (found.n_pairs, found.n_clusters, found.n_missing) == (24, 12, 0)


def test_the_bootstrap_of_mean_auc_equals_one_that_copies_rows() -> None:
    table = judged(1, n_items=6)
    found = calibration.mean_auc(table, "m", ["e"], n_boot=50, seed=2)
    wide = table.pivot(index=["item_id", "dimension"], columns="judge_id").reset_index()
    by_hand = []
    for times in np.random.default_rng(2).multinomial(6, [1 / 6] * 6, size=50):
        each = []
        for d in ("d0", "d1"):
            rows = wide[wide["dimension"] == d].sort_values("item_id")
            y = np.repeat(rows["value", "e"].to_numpy(dtype=int), times)
            p = np.repeat(rows["probability", "m"].to_numpy(dtype=float), times)
            each.append(calibration.auc(y, p))
        by_hand.append(np.mean([x for x in each if x is not None] or [np.nan]))
    assert found.mean[1:] == pytest.approx(tuple(np.nanquantile(by_hand, [0.025, 0.975])), abs=1e-9)


def test_what_has_no_score_is_counted_and_left_out() -> None:
    found = calibration.mean_auc(judged(0, unscored=3), "m", ["e"])
    assert found.n_missing == 6
    assert found.n_pairs == 18


def test_a_dimension_with_one_class_is_null_and_not_in_the_mean() -> None:
    table = judged(0)
    only = (table["dimension"] == "d1") & (table["judge_id"] == "e")
    table.loc[only, "value"] = 1
    found = calibration.mean_auc(table, "m", ["e"])
    assert found.by_dimension["d1"] is None
    assert found.mean.value == found.by_dimension["d0"]
    table.loc[table["judge_id"] == "e", "value"] = 1
    assert calibration.mean_auc(table, "m", ["e"]).mean == Interval(None, None, None)


def test_a_judge_without_probabilities_is_an_error_unless_values_are_asked_for() -> None:
    table = judged(0)
    table["probability"] = pd.array([pd.NA] * len(table), dtype="Float64")
    with pytest.raises(ValueError, match="m: no probability on a cell"):
        calibration.mean_auc(table, "m", ["e"])
    assert calibration.mean_auc(table, "m", ["e"], score="value").mean.value is not None


@settings(max_examples=40, deadline=None)
@given(scored)
def test_brier_equals_sklearn(rows: list[tuple[int, float]]) -> None:
    values, scores = zip(*rows, strict=True)
    expected = brier_score_loss(values, scores, labels=[0, 1])
    assert calibration.brier(values, scores) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(scored, st.integers(1, 10))
def test_bins_hold_every_judgment_once_in_order_with_ties_together(
    rows: list[tuple[int, float]], n_bins: int
) -> None:
    values, scores = zip(*rows, strict=True)
    bins = calibration.reliability_curve(values, scores, n_bins)
    assert sum(b.n for b in bins) == len(rows)
    assert 1 <= len(bins) <= n_bins
    means = [b.mean_probability for b in bins]
    assert means == sorted(set(means))
    assert sum(b.n * b.share for b in bins) == pytest.approx(sum(values))
    other_values, other_scores = zip(*sorted(rows), strict=True)
    again = calibration.reliability_curve(other_values, other_scores, n_bins)
    assert np.allclose(np.array(bins), np.array(again))


def test_bins_of_distinct_probabilities_are_of_equal_number() -> None:
    p = np.linspace(0.01, 0.99, 40)
    assert [b.n for b in calibration.reliability_curve(np.zeros(40), p, 8)] == [5] * 8


def test_ece_by_hand() -> None:
    # Two bins: (.2, .2) with one yes of two, and (.9, .9) with two of two.
    values, p = [0, 1, 1, 1], [0.2, 0.2, 0.9, 0.9]
    assert calibration.ece(values, p, 2) == pytest.approx((2 * 0.3 + 2 * 0.1) / 4)
    assert calibration.ece([0, 1], [0.0, 1.0], 2) == 0


def test_nothing_to_measure_is_null_and_a_missing_number_is_an_error() -> None:
    assert calibration.brier([], []) is None
    assert calibration.ece([], []) is None
    assert calibration.reliability_curve([], []) == ()
    with pytest.raises(ValueError, match="missing"):
        calibration.brier([1, 0], [0.5, np.nan])
    with pytest.raises(ValueError, match="do not belong together"):
        calibration.brier([1, 0], [0.5])


def test_the_draws_are_the_bootstrap_means_that_the_limits_come_from() -> None:
    found = calibration.mean_auc(judged(1), "m", ["e"], n_boot=300, seed=2)
    assert found.draws.shape == (300,)
    limits = np.quantile(found.draws, [0.025, 0.975])
    assert found.mean[1:] == pytest.approx(tuple(limits))


def test_tables_that_share_their_clusters_share_their_draws() -> None:
    whole, part = judged(1), judged(1, unscored=4)
    items = sorted(set(whole["item_id"]))
    known = {"n_boot": 200, "seed": 2}
    one = calibration.mean_auc(whole, "m", ["e"], **known)
    assert np.array_equal(
        calibration.mean_auc(whole, "m", ["e"], among=items, **known).draws, one.draws
    )
    shared = calibration.mean_auc(part, "m", ["e"], among=items, **known)
    alone = calibration.mean_auc(part, "m", ["e"], **known)
    assert shared.n_clusters == len(items) > alone.n_clusters
    assert shared.mean.value == alone.mean.value
    # The same passages drawn: the two judges' draws go together. Apart, they cannot.
    together = np.corrcoef(shared.draws, one.draws)[0, 1]
    apart = np.corrcoef(alone.draws, one.draws)[0, 1]
    assert together > 0.5 > abs(apart)


def clustered(seed: int, n: int = 60, sure: float = 1.0) -> tuple[np.ndarray, ...]:
    """Return truths, probabilities and clusters; ``sure`` multiplies the true log odds."""
    rng = np.random.default_rng(seed)
    odds = np.repeat(rng.normal(0, 0.5, n), 5) + rng.normal(size=5 * n)
    truth = (rng.random(5 * n) < 1 / (1 + np.exp(-odds))).astype(float)
    return truth, 1 / (1 + np.exp(-sure * odds)), np.repeat(np.arange(n), 5)


def test_the_interval_of_brier_is_the_bootstrap_that_copies_clusters() -> None:
    y, p, codes = clustered(0, n=8)
    found = calibration.brier_interval(y, p, codes, n_boot=50, seed=2)
    draws = []
    for times in np.random.default_rng(2).multinomial(8, [1 / 8] * 8, size=50):
        weight = times[codes]
        draws.append(calibration.brier(np.repeat(y, weight), np.repeat(p, weight)))
    assert found.value == pytest.approx(calibration.brier(y, p), abs=1e-12)
    assert found[1:] == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))


def test_the_interval_of_ece_stands_around_the_same_estimate() -> None:
    y, p, codes = clustered(1)
    found = calibration.ece_interval(y, p, codes, n_boot=300, seed=1)
    assert found.value == calibration.ece(y, p)
    assert found.low <= found.value <= found.high  # type: ignore[operator]
    wider = calibration.ece_interval(y, p, codes, n_boot=300, seed=1, level=0.99)
    assert wider.low <= found.low  # type: ignore[operator]
    assert wider.high >= found.high  # type: ignore[operator]


def test_limits_of_ece_hold_zero_for_a_calibrated_judge_though_its_estimate_is_above() -> None:
    held, above = 0, 0.0
    for seed in range(20):
        found = calibration.ece_interval(*clustered(seed), n_boot=200, seed=seed)
        held += found.low == 0
        above += (found.value or 0.0) / 20
    assert held >= 17
    assert above > 0.03


def test_limits_of_ece_exclude_zero_for_a_judge_far_too_sure() -> None:
    found = calibration.ece_interval(*clustered(3, sure=4.0), n_boot=300, seed=1)
    assert found.low > 0.05  # type: ignore[operator]


def test_the_line_of_a_calibrated_judge_has_no_excess_and_slope_one() -> None:
    found = calibration.line(*clustered(4, n=200), n_boot=300, seed=1)
    assert found.excess.low < 0 < found.excess.high  # type: ignore[operator]
    assert found.slope.low < 1 < found.slope.high  # type: ignore[operator]
    sure = calibration.line(*clustered(4, n=200, sure=4.0), n_boot=300, seed=1)
    assert sure.slope.high < 0.9  # type: ignore[operator]


def test_the_line_is_the_least_squares_line() -> None:
    y, p, codes = clustered(5)
    found = calibration.line(y, p + 0.0, codes, n_boot=50)
    assert found.slope.value == pytest.approx(np.polyfit(p, y, 1)[0])
    assert found.excess.value == pytest.approx(p.mean() - y.mean())


def test_intervals_without_enough_to_rest_on_are_null() -> None:
    y, p, codes = clustered(6, n=4)
    for found in (
        calibration.brier_interval(y, p, codes), calibration.ece_interval(y, p, codes),
        *calibration.line(y, p, codes),
    ):  # fmt: skip
        assert found.value is not None
        assert found.low is found.high is None
    nothing = Interval(None, None, None)
    assert calibration.brier_interval([], [], []) == nothing
    assert calibration.ece_interval([], [], []) == nothing
    assert calibration.line([], [], []) == (nothing, nothing)
    constant = calibration.line([0, 1, 1, 0, 1, 1], [0.7] * 6, list("abcdef"))
    assert constant.slope == nothing
    assert constant.excess.value == pytest.approx(0.7 - 4 / 6)
    with pytest.raises(ValueError, match="2 judgments and 1 clusters do not belong together"):
        calibration.brier_interval([1, 0], [0.5, 0.5], [0])
