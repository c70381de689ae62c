"""What seeds say of a tuned model: how many beat the reference, how many more are needed.

One value a seed (AUC or kappa on held-out passages). A missing value is counted and left out,
never a zero, a win or a loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from cqa_helpers.agreement import Interval

# More than this many seeds is no plan.
MOST_SEEDS = 1_000_000


class Beating(NamedTuple):
    """How many seeds exceed a reference, and how likely a next one would.

    A tie is no win. ``next_seed`` is null with fewer than two values or where all are equal.
    """

    reference: float
    share: Interval
    next_seed: float | None
    wins: int
    ties: int
    n_known: int
    n_missing: int


def known_runs(rows: pd.DataFrame, keys: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """Return the runs that have a value, in a stable order, and the number that have none.

    Raises
    ------
    ValueError
        A column is missing, a key is missing, a run stands twice, or a value is infinite.
    """
    if lacking := [c for c in (*keys, "value") if c not in rows]:
        raise ValueError(f"rows lack {', '.join(lacking)}; they have {', '.join(map(str, rows))}.")
    made = rows[[*keys, "value"]].copy()
    made["value"] = pd.to_numeric(made["value"]).astype(float)
    if made[list(keys)].isna().to_numpy().any():
        raise ValueError(f"a row has no {' or '.join(keys)}: each run must say which it is.")
    if (twice := made.duplicated(list(keys))).any():
        run = ", ".join(f"{k} {made.loc[twice, k].iloc[0]}" for k in keys)
        raise ValueError(f"the run with {run} stands in more than one row: give each run once.")
    if np.isinf(made["value"]).any():
        raise ValueError("a value is infinite: no AUC or kappa is; leave it missing.")
    known = made[made["value"].notna()].sort_values(list(keys), kind="stable", ignore_index=True)
    return known, len(made) - len(known)


def seeds_for(sd: float, half_width: float, level: float = 0.95) -> int:
    """Return how many seeds the t-interval of their mean needs to be within ± ``half_width``.

    ``sd`` is that of one run: ``seed`` of :class:`Components` where all stand on the same
    annotations, ``total`` where each draws its own.

    Raises
    ------
    ValueError
        A negative or infinite ``sd``, a ``half_width`` that is not positive, or a million seeds.
    """
    if not (sd >= 0 and math.isfinite(sd) and half_width > 0):
        raise ValueError(f"sd {sd} must be 0 or more and half_width {half_width} above 0")

    def narrow(k: int) -> bool:
        return bool(stats.t.ppf((1 + level) / 2, k - 1) * sd / math.sqrt(k) <= half_width)

    low, high = 1, 2
    while not narrow(high):
        low, high = high, 2 * high
        if high > 2 * MOST_SEEDS:
            raise ValueError(f"±{half_width} at an sd of {sd} asks for over a million seeds.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if narrow(middle) else (middle, high)
    return high


def share_beating(values: Sequence[float | None], reference: float, level: float = 0.95) -> Beating:
    """Return the share of seeds above a reference, which is taken as a known number.

    The interval is Clopper and Pearson's (1934). A next seed's chance is the t-predictive one:
    normal values, mean and spread unknown (Gelman et al. 2013, section 3.2).

    Raises
    ------
    ValueError
        The reference is missing or infinite, or a value is infinite.
    """
    y = np.array([np.nan if v is None or pd.isna(v) else float(v) for v in values], dtype=float)
    if not math.isfinite(reference) or np.isinf(y).any():
        raise ValueError(f"the reference ({reference}) and all values given must be finite")
    known = y[~np.isnan(y)]
    n, wins = len(known), int((known > reference).sum())
    share, chance = Interval(None, None, None), None
    if n:
        tail = (1 - level) / 2
        low = stats.beta.ppf(tail, wins, n - wins + 1) if wins else 0.0
        high = stats.beta.ppf(1 - tail, wins + 1, n - wins) if wins < n else 1.0
        share = Interval(wins / n, float(low), float(high))
    if differ(known):
        away = (known.mean() - reference) / (known.std(ddof=1) * math.sqrt(1 + 1 / n))
        chance = float(stats.t.cdf(away, n - 1))
    return Beating(reference, share, chance, wins, int((known == reference).sum()), n, len(y) - n)


def differ(values: ArrayLike) -> bool:
    """Return whether there are two values or more that differ by more than rounding."""
    y = np.asarray(values, dtype=float)
    return len(y) > 1 and bool(np.ptp(y) > 1e-12 * np.abs(y).max())


def t_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Return a mean with its t-interval: no limits with fewer than two values or no spread."""
    y = np.asarray(values, dtype=float)
    y = y[~np.isnan(y)]
    if len(y) == 0:
        return Interval(None, None, None)
    mean = float(y.mean())
    if not differ(y):
        return Interval(mean, None, None)
    half = float(stats.t.ppf((1 + level) / 2, len(y) - 1) * y.std(ddof=1) / math.sqrt(len(y)))
    return Interval(mean, mean - half, mean + half)


def as_rows(found: Beating) -> pd.DataFrame:
    """Return the table of seeds against the reference, for show."""
    return pd.DataFrame(
        [
            {
                "Reference": found.reference,
                "Seeds above it": f"{found.wins} of {found.n_known}",
                "Equal to it": found.ties,
                "Share above": tuple(found.share),
                "Chance of a next seed": found.next_seed,
                "Without a value": found.n_missing,
            }
        ]
    )


def headline(found: Beating, reference: str = "the reference") -> str:
    """Return the finding: most seeds only where the interval of the share lies above a half."""
    if found.n_known == 0:
        return f"No seed has a value to set against {reference}"
    said = f"{found.wins} of {found.n_known} seeds beat {reference}"
    if found.n_missing:
        said += f"; {found.n_missing} without a value"
    low, high = found.share.low, found.share.high
    assert low is not None
    assert high is not None
    if low > 0.5:
        return f"{said}: most seeds would"
    if high < 0.5:
        return f"{said}: most seeds would not"
    return f"{said}: too few to say what most seeds would do"
