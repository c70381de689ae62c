from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cqa_helpers import figures, variance
from cqa_helpers.agreement import Interval
from cqa_helpers.variance import components

# Limits come from draws; this is how far those of a standard deviation may lie from the exact.
NEAR = 0.03


def frame(samples: Sequence[Sequence[float | None]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"sample": i, "seed": j, "value": v}
            for i, values in enumerate(samples)
            for j, v in enumerate(values)
        ]
    )


def planted(sizes: Sequence[int], sample: float, seed: float, rng: int) -> pd.DataFrame:
    draw = np.random.default_rng(rng)
    return frame([(0.8 + draw.normal(0, sample) + draw.normal(0, seed, n)).tolist() for n in sizes])


def values_of(found: Interval) -> tuple[float, float, float]:
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    return found.value, found.low, found.high


def test_a_balanced_example_by_hand() -> None:
    # Squares within: 3 x 2 x 0.02² on 3 df, 0.0008; between: 2 x 2 x 0.1² on 2 df, 0.02.
    found = components(frame([[0.50, 0.54], [0.60, 0.64], [0.70, 0.74]]))
    assert found.sample_variance == pytest.approx((0.02 - 0.0008) / 2)
    assert found.sample.value == pytest.approx(math.sqrt(0.0096))
    assert found.seed.value == pytest.approx(math.sqrt(0.0008))
    assert found.total.value == pytest.approx(math.sqrt(0.0104))
    assert found.sample_share.value == pytest.approx(12 / 13)
    assert (found.n_samples, found.n_runs, found.n_missing, found.cut_at_zero) == (3, 6, 0, False)
    # Means .52, .62, .72: 0.62 ± 4.303 x 0.1 / √3.
    assert found.mean == pytest.approx((0.62, 0.3716, 0.8684), abs=1e-4)


def test_limits_of_equal_numbers_are_the_exact_ones_of_the_tables() -> None:
    found = components(frame([[0.50, 0.54], [0.60, 0.64], [0.70, 0.74]]))
    # Chi-squared on 3 df: 0.2158 and 9.3484. F on 2 and 3 df: 0.02553 and 16.044; F = 25.
    _, low, high = values_of(found.seed)
    assert low == pytest.approx(math.sqrt(0.0024 / 9.3484), rel=NEAR)
    assert high == pytest.approx(math.sqrt(0.0024 / 0.2158), rel=NEAR)
    _, low, high = values_of(found.sample_share)
    ratios = [(25 / f - 1) / 2 for f in (16.044, 0.02553)]
    assert (low, high) == pytest.approx([r / (1 + r) for r in ratios], abs=0.01)


def test_an_unbalanced_example_by_hand() -> None:
    # Within: 2 + 8 on 3 df. Between: 64/9 + 8/9 + 48/9 on 2 df. n0 = (6 - 14/6) / 2 = 11/6.
    found = components(frame([[1], [2, 4], [3, 5, 7]]))
    assert found.seed.value == pytest.approx(math.sqrt(10 / 3))
    assert found.sample_variance == pytest.approx((20 / 3 - 10 / 3) / (11 / 6))
    assert found.mean.value == pytest.approx(3)


@pytest.mark.parametrize("sizes", [[4] * 500, [1, 2, 3, 8] * 150])
def test_planted_components_are_recovered(sizes: list[int]) -> None:
    # At this level ten intervals together miss less than once in 100.
    found = components(planted(sizes, 0.04, 0.02, 1), level=0.999)
    for got, truth in ((found.sample, 0.04), (found.seed, 0.02), (found.total, 0.0447),
                       (found.sample_share, 0.8), (found.mean, 0.8)):  # fmt: skip
        value, low, high = values_of(got)
        assert value == pytest.approx(truth, rel=0.07)
        assert low < truth < high


def test_shared_seeds_are_recovered_where_a_nested_analysis_finds_too_little() -> None:
    rows = planted([3] * 2000, 0.02, 0.02, 3)
    # A seed's own push, the same in all samples: 0.03 up, none, 0.03 down.
    rows["value"] += rows["seed"].map({0: 0.03, 1: 0.0, 2: -0.03})
    shared, nested = components(rows, seeds="shared"), components(rows)
    assert shared.sample_variance == pytest.approx(0.0004, rel=0.1)
    assert nested.sample_variance == pytest.approx(0.0004 - 0.0009 / 3, rel=0.4)
    assert shared.seed.value == nested.seed.value
    assert values_of(shared.seed)[2] > 3 * values_of(nested.seed)[2]
    assert values_of(shared.mean)[2] > values_of(nested.mean)[2] + 0.01


def test_a_shared_example_by_hand() -> None:
    # Samples .2 apart, seeds .1, nothing else: squares 2 x 0.02 and 2 x 0.005, error none.
    found = components(frame([[0.5, 0.6], [0.7, 0.8]]), seeds="shared")
    assert found.sample_variance == pytest.approx(0.02)
    assert found.seed.value == pytest.approx(math.sqrt(0.005))
    # (0.04 + 0.01) / 4 on 0.05² / (0.04² + 0.01²) = 1.47 degrees of freedom.
    half = stats.t.ppf(0.975, 0.0025 / 0.0017) * math.sqrt(0.0125)
    assert found.mean == pytest.approx((0.65, 0.65 - half, 0.65 + half))


@given(st.integers(2, 6), st.integers(2, 5), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_nested_and_shared_differ_by_what_seeds_share(i: int, j: int, seed: int) -> None:
    y = np.random.default_rng(seed).normal(size=(i, j))
    rows = frame(y.tolist())
    error = y - y.mean(1, keepdims=True) - y.mean(0) + y.mean()
    square = (error**2).sum() / ((i - 1) * (j - 1))
    within = y.var(axis=1, ddof=1).mean()
    gap = components(rows).sample_variance - components(rows, seeds="shared").sample_variance
    assert gap == pytest.approx((square - within) / j)


def test_limits_of_shared_seeds_close_in_on_the_value_from_both_sides() -> None:
    # Two samples by 400 seeds: 799 degrees of freedom or so, limits of 5 % either way.
    value, low, high = values_of(components(planted([400] * 2, 0.02, 0.03, 6), seeds="shared").seed)
    assert 0.92 < low / value < 0.98
    assert 1.02 < high / value < 1.08


def test_a_negative_estimate_is_shown_as_zero_and_said() -> None:
    found = components(frame([[0.6, 0.8], [0.8, 0.6], [0.7, 0.7]]))
    assert found.cut_at_zero
    assert found.sample_variance < 0
    assert (found.sample.value, found.sample.low) == (0, 0)
    assert (found.sample.high or 0) > 0
    assert found.sample_share.value == 0
    assert found.total.value == found.seed.value


runs = st.lists(
    st.lists(st.floats(0, 1, width=16), min_size=1, max_size=4), min_size=2, max_size=5
).filter(lambda g: max(map(len, g)) > 1)


@given(runs, st.floats(-2, 2, width=16), st.sampled_from([0.5, 2.0, 8.0]))
@settings(max_examples=30, deadline=None)
def test_a_constant_changes_no_spread_and_a_factor_scales_it(
    samples: list[list[float]], constant: float, factor: float
) -> None:
    rows = frame(samples)
    plain = components(rows)
    moved = components(rows.assign(value=rows["value"] * factor + constant))
    for name in ("sample", "seed", "total"):
        want = [None if v is None else v * factor for v in getattr(plain, name)]
        assert list(getattr(moved, name)) == pytest.approx(want, abs=1e-6)
    assert list(moved.sample_share) == pytest.approx(list(plain.sample_share), abs=1e-5)


@given(runs, st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_order_and_names_of_runs_do_not_matter(samples: list[list[float]], luck: int) -> None:
    rows = frame(samples)
    order = np.random.default_rng(luck).permutation(len(rows))
    assert components(rows.iloc[order]) == components(rows)
    named = rows.assign(sample="draw-" + rows["sample"].astype(str))
    assert components(named) == components(rows)


@given(runs)
@settings(max_examples=30, deadline=None)
def test_every_interval_holds_its_value_and_parts_make_the_total(
    samples: list[list[float]],
) -> None:
    found = components(frame(samples))
    total = (found.sample.value or 0) ** 2 + (found.seed.value or 0) ** 2
    assert (found.total.value or 0) ** 2 == pytest.approx(total)
    for got in (found.sample, found.seed, found.total, found.sample_share):
        assert (got.low is None) == (got.high is None)
        if got.low is not None:
            value, low, high = values_of(got)
            assert 0 <= low <= value <= high
    assert (found.sample_share.value is None) == (total == 0)


def test_runs_without_a_value_are_left_out_and_counted() -> None:
    lacking = components(frame([[0.5, None, 0.54], [0.6, 0.64], [float("nan")]]))
    assert lacking.n_missing == 2
    assert lacking.seed == components(frame([[0.5, 0.54], [0.6, 0.64]])).seed


def test_seeds_that_do_not_differ_leave_no_limits() -> None:
    found = components(frame([[0.5, 0.5], [0.7, 0.7]]))
    assert found.seed == Interval(0, None, None)
    assert found.sample.value == pytest.approx(math.sqrt(0.02))
    assert found.sample_share == Interval(1, None, None)
    same = components(frame([[0.7, 0.7], [0.7, 0.7]]))
    assert same.sample_share == Interval(None, None, None)
    assert same.mean == Interval(0.7, None, None)
    assert variance.headline(same) == "All runs have the same value"


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([[0.5, 0.6, 0.7]], "two or more"),
        ([[0.5], [0.6], [0.7]], "two seeds"),
        ([[None, None], [0.6, 0.7]], "1 sample"),
    ],
)
def test_too_few_runs_are_refused(samples: list[list[float | None]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        components(frame(samples))


def test_rows_that_do_not_fit_are_refused() -> None:
    rows = frame([[0.5, 0.6], [0.7, 0.8]])
    with pytest.raises(ValueError, match="lack sample"):
        components(rows.drop(columns="sample"))
    with pytest.raises(ValueError, match="sample 0, seed 1 stands in more"):
        components(pd.concat([rows, rows.iloc[[1]]]))
    with pytest.raises(ValueError, match="infinite"):
        components(rows.assign(value=math.inf))
    with pytest.raises(ValueError, match="not every sample"):
        components(frame([[0.5, 0.6], [0.7]]), seeds="shared")


def test_the_table_shows_shares_that_add_up_with_mirrored_limits() -> None:
    found = components(planted([4] * 6, 0.04, 0.02, 1))
    table = variance.as_rows(found).set_index("Runs differ by")
    sample, seed = table["Share of variance"].iloc[:2]
    assert [a + b for a, b in zip(sample, (seed[0], seed[2], seed[1]), strict=True)] == (
        pytest.approx([1, 1, 1])
    )
    assert table["Standard deviation"].iloc[2] == tuple(found.total)
    assert figures.span(seed).count("to") == 1


@pytest.mark.parametrize(
    ("sample", "seed", "said"),
    [
        (0.2, 0.01, "more by the annotations drawn"),
        (0.0, 0.1, "more by the training seed"),
    ],
)
def test_the_headline_takes_sides_where_the_share_is_clear(
    sample: float, seed: float, said: str
) -> None:
    assert said in variance.headline(components(planted([6] * 40, sample, seed, 2)))


def test_the_headline_leaves_open_what_three_samples_cannot_tell() -> None:
    assert "is open with 3 samples" in variance.headline(
        components(planted([2] * 3, 0.03, 0.03, 5))
    )
