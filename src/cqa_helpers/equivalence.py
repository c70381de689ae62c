"""Whether a difference is too small to matter: non-inferiority, and equivalence by two tests.

A difference has an estimate, a standard error and degrees of freedom; with infinitely many the
normal distribution holds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy import stats

from cqa_helpers.agreement import Interval


class Equivalence(NamedTuple):
    """One-sided tests of a difference against its margins; null where it has no limits.

    ``p`` is two-sided, against zero. ``p_noninferior`` is one-sided, against −margin;
    ``p_equivalent`` is the larger one of that and of the test against +margin (TOST).
    ``noninferior`` and ``equivalent`` say whether these fall below (1 − level)/2.
    """

    margin: float
    p: float | None
    p_noninferior: float | None
    p_equivalent: float | None
    noninferior: bool | None
    equivalent: bool | None


def against(
    difference: float, error: float, freedom: float, margin: float, level: float = 0.95
) -> Equivalence:
    """Return the tests of a difference against zero and against its margins.

    Two one-sided tests as Schuirmann 1987. Each is made at (1 − level)/2, not at 1 − level, so
    that a yes says that the study's own interval lies above −margin, or within both (our choice,
    the stricter one).

    Raises
    ------
    ValueError
        A margin, standard error or degrees of freedom that is not positive.
    """
    for name, value in (("margin", margin), ("standard error", error), ("freedom", freedom)):
        if not value > 0:
            raise ValueError(f"{name} {value} must be above 0")
    t = stats.t(freedom) if math.isfinite(freedom) else stats.norm()
    above = float(t.sf((difference + margin) / error))
    below = float(t.cdf((difference - margin) / error))
    alpha = (1 - level) / 2
    both = max(above, below)
    return Equivalence(
        margin, float(2 * t.sf(abs(difference) / error)), above, both, above < alpha, both < alpha
    )


def of_interval(
    difference: Interval, freedom: float | None, margin: float, level: float = 0.95
) -> Equivalence:
    """Return :func:`against` of an interval with Student's limits; all null where it has none.

    Raises
    ------
    ValueError
        As :func:`against`.
    """
    value, low, high = difference
    if value is None or low is None or high is None or freedom is None or high == low:
        return Equivalence(margin, None, None, None, None, None)
    quantile = float(stats.t.ppf((1 + level) / 2, freedom))
    return against(value, (high - low) / (2 * quantile), freedom, margin, level)
