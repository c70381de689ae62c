from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from cqa_helpers import surprise
from cqa_helpers.surprise import PairTest


def test_judgment_bits_are_clipped_and_missing_where_a_verdict_is() -> None:
    bits = surprise.log_odds_all_good(np.array([[1.0, 0.5], [0.0, 0.25], [np.nan, 0.5]]), 0.05)
    assert bits[:2] == pytest.approx([np.log2(0.95) - 1, np.log2(0.05) - 2])
    assert np.isnan(bits[2])


def test_a_pair_test_by_hand() -> None:
    values = np.array([1.0, 2.0, 3.0, -1.0, 4.0, 5.0])
    found = surprise.pair_test(np.r_[values, np.nan])
    assert found.n == 6
    assert found.mean == pytest.approx(14 / 6)
    assert found.cohens_d == pytest.approx(np.mean(values) / np.std(values, ddof=1))
    assert found.p_two_sided == pytest.approx(stats.wilcoxon(values).pvalue)


@pytest.mark.parametrize("constant", [0.0, 1.0, 0.1, -4.2479275134])
def test_constant_differences_have_no_d_and_no_p(constant: float) -> None:
    found = surprise.pair_test(np.full(7, constant))
    assert found == PairTest(pytest.approx(constant), None, None, 7)
    # What rounding leaves of a constant is none.
    rounded = np.full(7, constant) + np.array([0, 1, -1, 2, 0, 1, 0]) * 1e-16 * abs(constant)
    assert surprise.pair_test(rounded).cohens_d is None


def test_no_pairs_and_one_pair_have_no_test() -> None:
    nothing = surprise.pair_test(np.array([np.nan]))
    assert math.isnan(nothing.mean)
    assert nothing[1:] == (None, None, 0)
    assert surprise.pair_test(np.array([2.0])) == PairTest(2.0, None, None, 1)
