from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_ind

from cqa_helpers import equivalence
from cqa_helpers.agreement import Interval

# Moery and Calin-Jageman 2016, study 2, the example of the R package TOSTER (Lakens 2017,
# documentation of TOSTtwo): bounds of d = ±0.43, t(182) = −2.69, p = .004.
MEANS, SDS, SIZES, BOUND = (5.25, 5.22), (0.95, 0.83), (95, 89), 0.43


def pooled() -> tuple[float, float, float]:
    (a, b), (n, m) = SDS, SIZES
    sd = math.sqrt(((n - 1) * a**2 + (m - 1) * b**2) / (n + m - 2))
    return sd * math.sqrt(1 / n + 1 / m), n + m - 2.0, BOUND * sd


def welch() -> tuple[float, float, float]:
    one, other = (sd**2 / n for sd, n in zip(SDS, SIZES, strict=True))
    freedom = (one + other) ** 2 / (one**2 / (SIZES[0] - 1) + other**2 / (SIZES[1] - 1))
    return math.sqrt(one + other), freedom, BOUND * math.sqrt((SDS[0] ** 2 + SDS[1] ** 2) / 2)


def test_the_published_tost_example_comes_out() -> None:
    error, freedom, margin = pooled()
    found = equivalence.against(MEANS[0] - MEANS[1], error, freedom, margin)
    assert found.p_equivalent is not None
    assert round(found.p_equivalent, 3) == 0.004
    assert round(float(stats.t.ppf(found.p_equivalent, freedom)), 2) == -2.69
    assert found.equivalent
    assert found.p is not None
    assert found.p > 0.8


@pytest.mark.parametrize(("form", "usevar"), [(pooled, "pooled"), (welch, "unequal")])
def test_tost_equals_statsmodels_on_samples_with_these_moments(form, usevar: str) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    samples = []
    for mean, sd, n in zip(MEANS, SDS, SIZES, strict=True):
        raw = rng.normal(size=n)
        samples.append(mean + sd * (raw - raw.mean()) / raw.std(ddof=1))
    error, freedom, margin = form()
    found = equivalence.against(MEANS[0] - MEANS[1], error, freedom, margin)
    theirs, above, _ = ttost_ind(*samples, -margin, margin, usevar=usevar)
    assert found.p_equivalent == pytest.approx(theirs, rel=1e-9)
    assert found.p_noninferior == pytest.approx(above[1], rel=1e-9)


def test_without_a_limit_to_freedom_the_normal_distribution_holds() -> None:
    found = equivalence.against(0.0, 1.0, math.inf, 1.959964)
    assert found.p == pytest.approx(1.0)
    assert found.p_noninferior == pytest.approx(0.025, abs=1e-6)
    assert found.p_equivalent == pytest.approx(0.025, abs=1e-6)


@given(
    st.floats(-3, 3), st.floats(0.05, 2), st.floats(1, 500), st.floats(0.05, 3),
    st.sampled_from([0.8, 0.9, 0.95, 0.99]),
)  # fmt: skip
def test_a_yes_says_what_the_interval_says(
    value: float, error: float, freedom: float, margin: float, level: float
) -> None:
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    found = equivalence.of_interval(
        Interval(value, value - half, value + half), freedom, margin, level
    )
    gaps = value - half + margin, margin - value - half
    # At a border itself the last digit decides.
    if min(map(abs, gaps)) > 1e-6:
        assert found.noninferior == (gaps[0] > 0)
        assert found.equivalent == (min(gaps) > 0)
    direct = equivalence.against(value, error, freedom, margin, level)
    assert found.p == pytest.approx(direct.p, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize(
    "absent", [Interval(None, None, None), Interval(0.2, None, None), Interval(0.0, 0.0, 0.0)]
)
def test_without_limits_nothing_is_tested(absent: Interval) -> None:
    found = equivalence.of_interval(absent, 5.0, 0.5)
    assert found == equivalence.Equivalence(0.5, None, None, None, None, None)


@pytest.mark.parametrize(
    ("error", "freedom", "margin"), [(0.0, 5.0, 0.5), (1.0, 0.0, 0.5), (1.0, 5.0, -0.5)]
)
def test_what_is_not_positive_is_refused(error: float, freedom: float, margin: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        equivalence.against(0.1, error, freedom, margin)
