from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize

from cqa_helpers.powerlaw import FASTEST, SLOWEST, Fit, fits

SIZES = np.array([10.0, 25.0, 50.0, 100.0])


def misfit(law: np.ndarray, means: np.ndarray, weights: np.ndarray, n: np.ndarray) -> float:
    a, b, c = law
    return float((weights * (means - a + b * n**-c) ** 2).sum())


@given(st.floats(0.6, 0.99), st.floats(0.2, 2), st.floats(0.3, 2))
@settings(max_examples=40, deadline=None)
def test_a_law_without_noise_is_found_again(a: float, b: float, c: float) -> None:
    means = a - b * SIZES**-c
    assume(np.ptp(means) > 0.05)
    (found,) = fits(SIZES, means[None], np.ones((1, 4)), 1.0)
    assert found == pytest.approx([a, b, c], rel=2e-3)


@given(st.lists(st.floats(0.25, 1.0, width=16), min_size=4, max_size=4),
       st.lists(st.integers(1, 6), min_size=4, max_size=4))  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_no_other_optimiser_finds_a_better_law_within_bounds(
    values: list[float], numbers: list[int]
) -> None:
    means, weights = np.array(values), np.array(numbers, dtype=float)
    (found,) = fits(SIZES, means[None], weights[None], 1.0)
    a, b, c = found
    assert a <= 1
    assert b >= 0
    assert SLOWEST * 0.999 <= c <= FASTEST * 1.001
    # In the scale of the largest possible rise, so that no parameter dwarfs the others.
    for start in (0.2, 0.7, 2.0):
        other = optimize.minimize(
            lambda p: misfit(np.array([p[0], p[1] * 10 ** p[2], p[2]]), means, weights, SIZES),
            [0.8, 0.3, start], bounds=[(-5, 1), (0, 10), (SLOWEST, FASTEST)], method="L-BFGS-B",
        )  # fmt: skip
        assert misfit(found, means, weights, SIZES) <= other.fun + 1e-6


def test_a_fall_is_fitted_by_a_flat_line_at_the_weighted_mean() -> None:
    means, weights = np.array([[0.9, 0.8, 0.7, 0.6]]), np.array([[1.0, 1, 1, 3]])
    (a, b, _), *_ = fits(SIZES, means, weights, 1.0)
    assert (a, b) == pytest.approx((0.7, 0))


def test_the_ceiling_holds() -> None:
    means = np.array([[0.5, 0.8, 1.1, 1.2]])
    assert fits(SIZES, means, np.ones((1, 4)), 1.0)[0, 0] == 1
    assert fits(SIZES, means, np.ones((1, 4)), 2.0)[0, 0] > 1.2


def test_each_row_is_fitted_for_itself_and_two_sizes_are_no_curve() -> None:
    means = np.array([[0.5, 0.7, 0.8, 0.85], [0.6, 0.65, 0.67, 0.68], [0.5, 0.7, 0.8, 0.85]])
    weights = np.array([[1.0, 1, 1, 1], [2, 2, 2, 2], [1, 0, 0, 1]])
    found = fits(SIZES, means, weights, 1.0)
    for k in (0, 1):
        (alone,) = fits(SIZES, means[k : k + 1], weights[k : k + 1], 1.0)
        assert found[k] == pytest.approx(alone, rel=1e-3)
    assert np.isnan(found[2]).all()


def test_a_law_has_a_value_at_every_size() -> None:
    assert Fit(0.9, 2, 1).at(10) == pytest.approx(0.7)
