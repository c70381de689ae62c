"""How the spread between runs falls with annotations, and how many a wanted precision would take.

Two questions, two answers: how many annotations until one run is precise (:func:`size_for`), and
how many seeds until their mean is (:func:`cqa_helpers.seeds.seeds_for`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats

from cqa_helpers.agreement import Interval
from cqa_helpers.curves import MOST, NOTHING, Needed, needed, pooled
from cqa_helpers.seeds import differ, known_runs, seeds_for

# Independent annotations would make the spread fall as n^-1/2. Our default, from which data may
# move the exponent: it has a normal prior with this standard deviation.
EXPONENT, EXPONENT_SD = 0.5, 0.25


class Spread(NamedTuple):
    """The law ``log sd = height - exponent * (log n - centre)`` and how well it is known.

    ``df`` are the degrees of freedom of all sizes' spreads; ``left_out`` the sizes with one run, or
    with equal values; ``default`` says that one size alone was there and the exponent is ours.
    """

    height: float
    exponent: float
    centre: float
    height_variance: float
    exponent_variance: float
    df: int
    default: bool
    left_out: tuple[int, ...]

    def at(self, n: float) -> float:
        """Return the standard deviation of runs at a size."""
        return math.exp(self.height - self.exponent * (math.log(n) - self.centre))


def spread(rows: pd.DataFrame) -> Spread | None:
    """Fit the spread between runs to size, on log scales; null where no size has a spread.

    The log of a standard deviation on d degrees of freedom has variance ψ′(d/2)/4 and a bias that
    is taken off (normal values). The exponent is drawn towards one half (our choice).

    Raises
    ------
    ValueError
        As :func:`cqa_helpers.seeds.known_runs`, or a size below 1.
    """
    known, _ = known_runs(rows, ["n", "seed"])
    if not (rows["n"] >= 1).all():
        raise ValueError(f"a size is {rows['n'].min()}: sizes are numbers of annotations from 1.")
    sizes = sorted(set(known["n"].astype(int)))
    groups = {n: known.loc[known["n"] == n, "value"].to_numpy() for n in sizes}
    usable = {n: y for n, y in groups.items() if differ(y)}
    if not usable:
        return None
    half = np.array([(len(y) - 1) / 2 for y in usable.values()])
    variance = np.array([y.var(ddof=1) for y in usable.values()])
    log_sd = (np.log(variance) - special.digamma(half) + np.log(half)) / 2
    weights = 4 / special.polygamma(1, half)
    x = np.log(list(usable))
    centre = float((weights * x).sum() / weights.sum())
    height = float((weights * log_sd).sum() / weights.sum())
    precision = float((weights * (x - centre) ** 2).sum()) + EXPONENT_SD**-2
    pull = -float((weights * (x - centre) * log_sd).sum()) + EXPONENT * EXPONENT_SD**-2
    return Spread(
        height, pull / precision, centre, float(1 / weights.sum()), 1 / precision,
        int(2 * half.sum()), len(usable) == 1, tuple(n for n in groups if n not in usable),
    )  # fmt: skip


def size_for(
    rows: pd.DataFrame, half_width: float, *, pool: int | None = None, level: float = 0.95
) -> Needed:
    """Return the size at which one run is within ± ``half_width`` of the mean of runs.

    Read off :func:`spread` with the t quantile of its degrees of freedom; the interval is
    Fieller's (1954). Null where no size has a spread, or it does not fall with size. The exponent
    is in the answer; if it is our default, ``why`` says so. ``pool`` is as in
    :func:`cqa_helpers.curves.learning_curve`: where seeds share most annotations the spread looks
    smaller than it is, and the answer is too small. So it is where a part of the spread does not
    fall with size, such as the seed's own.

    Raises
    ------
    ValueError
        As :func:`spread`, or a ``half_width`` that is not positive.
    """
    if not half_width > 0:
        raise ValueError(f"half_width {half_width} must be above 0")
    law = spread(rows)
    if law is None:
        why = "no size has two runs with different values: there is no spread to follow"
        return Needed(half_width, NOTHING, False, False, why)
    z = float(stats.norm.ppf((1 + level) / 2))
    error = z * math.sqrt(law.exponent_variance)
    exponent = Interval(law.exponent, law.exponent - error, law.exponent + error)
    sizes = rows.loc[rows["value"].notna(), "n"]
    if law.exponent <= 0:
        why = "the spread between runs does not fall with size: no size can be given"
        return Needed(half_width, NOTHING, False, False, why, exponent)
    wanted = math.log(half_width / float(stats.t.ppf((1 + level) / 2, law.df)))
    rise = law.height - wanted
    ends = _fieller(rise, law.exponent, z**2 * law.height_variance, error**2)
    n, low, high = (_size(law.centre + u) for u in (rise / law.exponent, *ends))
    notes = pooled(sizes, pool)
    if law.default:
        notes.append(f"one size has a spread: a fall as n^−{EXPONENT:g} is our default")
    if law.left_out:
        left_out = ", ".join(map(str, law.left_out))
        notes.append(f"no spread, and left out, at n = {left_out}")
    return needed(half_width, (n, low, high), sizes, "; ".join(notes) or None, exponent)


def _fieller(rise: float, slope: float, rise_error: float, slope_error: float) -> Sequence[float]:
    """Return the limits of rise/slope from squared half-widths of both, which do not covary."""
    a, b, c = slope**2 - slope_error, -rise * slope, rise**2 - rise_error
    inner = b * b - a * c
    if a <= 0:
        # The slope may be zero: one end is open, and the set is all there is or two rays.
        if inner <= 0:
            return -math.inf, math.inf
        near = max((-b + math.sqrt(inner)) / a, (-b - math.sqrt(inner)) / a)
        return (near, math.inf) if rise > 0 else (-math.inf, math.inf)
    return (-b - math.sqrt(inner)) / a, (-b + math.sqrt(inner)) / a


def _size(log_n: float) -> float:
    return math.exp(log_n) if log_n < math.log(2 * MOST) else math.inf


def as_rows(
    rows: pd.DataFrame,
    half_widths: Sequence[float],
    *,
    pool: int | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the table of wanted precisions: annotations for one run, seeds for a mean, for show.

    The seeds are those at the largest size that has a spread.
    """
    law = spread(rows)
    made = []
    for half_width in half_widths:
        found = size_for(rows, half_width, pool=pool, level=level)
        far = "far beyond what was measured" if found.far else "beyond what was measured"
        row = {
            "Within ±": half_width,
            "Annotations, for one run": tuple(found.n),
            "Note": "; ".join(filter(None, (far if found.beyond else "", found.why))),
        }
        if law is not None:
            n = max(size for size in set(rows["n"]) if size not in law.left_out)
            row[f"Seeds at {n}, for their mean"] = seeds_for(law.at(n), half_width, level)
        made.append(row)
    return pd.DataFrame(made)


def headline(found: Needed) -> str:
    """Return the finding: how many annotations one run would need, and how far that reaches."""
    if found.n.value is None:
        return f"How many annotations bring one run within ±{found.wanted:g} cannot be said"
    said = f"One run would be within ±{found.wanted:g} with about {found.n.value:,.0f} annotations"
    if found.n.high is None:
        said += f" (from {found.n.low:,.0f}, with no upper bound)"
    else:
        said += f" ({found.n.low:,.0f} to {found.n.high:,.0f})"
    if found.far:
        return f"{said}, which is far beyond what was measured"
    return f"{said}, beyond what was measured" if found.beyond else said
