"""How small a difference between two judges a blind study can see, by raters and passages.

Everything is about the *difference* of two judges as one rater sees it on one passage: a passage's
and a rater's own level, the same for both judges, is gone from it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats

from cqa_helpers.agreement import Floats, Seed


class Spread(NamedTuple):
    """Standard deviations of a difference, in units of the rating.

    ``rater``: between raters, over passages. ``passage``: between passages, over raters.
    ``residual``: of one rater on one passage beyond both.
    """

    rater: float
    passage: float
    residual: float


def minimum_detectable(
    raters: int,
    items: int,
    sd_rater: float,
    sd_passage: float,
    sd_residual: float,
    *,
    raters_a_passage: int | None = None,
    power: float = 0.8,
    level: float = 0.95,
) -> float:
    """Return the difference of two judges that a two-sided test finds with the given power.

    The standard error is that of a mean over passages and raters, both drawn at random; degrees
    of freedom are Satterthwaite's (1946), power is that of the noncentral t. Without two raters
    and two passages there is no test: infinity.

    Parameters
    ----------
    sd_rater, sd_passage, sd_residual
        As in :class:`Spread`: of the difference, in units of the rating.
    raters_a_passage
        Raters of each passage; all of them unless given.
    """
    each = raters if raters_a_passage is None else raters_a_passage
    if not 1 <= each <= raters:
        raise ValueError(f"raters_a_passage is {each}: 1 to {raters}, the raters there are.")
    if raters < 2 or items < 2:
        return math.inf
    n = items * each
    parts = np.array([sd_rater**2 / raters, sd_passage**2 / items, sd_residual**2 / n])
    squared = parts.sum()
    if squared == 0:
        return 0.0
    # A rater's and a passage's means carry their share of the residual too.
    by_rater = parts[0] + parts[2]
    by_passage = parts[1] + parts[2]
    df_error = max(n - raters - items + 1, 1)
    df = squared**2 / (
        by_rater**2 / (raters - 1) + by_passage**2 / (items - 1) + parts[2] ** 2 / df_error
    )
    critical = stats.t.ppf((1 + level) / 2, df)
    return float(special.nctdtrinc(df, 1 - power, critical) * math.sqrt(squared))


def grid(
    raters: Sequence[int], items: Sequence[int], spread: Spread, **settings: float
) -> pd.DataFrame:
    """Return the minimum detectable difference: ``raters``, ``items``, ``difference``."""
    return pd.DataFrame(
        [
            {
                "raters": r,
                "items": i,
                "difference": minimum_detectable(r, i, *spread, **settings),  # type: ignore[arg-type]
            }
            for r, i in itertools.product(raters, items)
        ]
    )


def simulated_power(
    difference: float,
    raters: int,
    items: int,
    spread: Spread,
    *,
    n_studies: int = 2000,
    level: float = 0.95,
    rng: Seed = 0,
) -> float:
    """Return the share of simulated studies whose test finds a planted difference.

    Every rater sees every passage. The test is that of crossed random effects by mean squares.
    """
    generator = np.random.default_rng(rng)
    seen = (
        difference
        + spread.rater * generator.standard_normal((n_studies, raters, 1))
        + spread.passage * generator.standard_normal((n_studies, 1, items))
        + spread.residual * generator.standard_normal((n_studies, raters, items))
    )
    found, df, squared = _crossed(seen)
    critical = stats.t.ppf((1 + level) / 2, df)
    return float(np.mean(np.abs(found) > critical * np.sqrt(squared)))


def _crossed(seen: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the mean, its degrees of freedom and its squared error, for each study."""
    _, raters, items = seen.shape
    mean = seen.mean((1, 2))
    by_rater, by_passage = seen.mean(2), seen.mean(1)
    left = seen - by_rater[:, :, None] - by_passage[:, None, :] + mean[:, None, None]
    n, df = raters * items, (raters - 1) * (items - 1)
    a = by_rater.var(1, ddof=1) / raters
    b = by_passage.var(1, ddof=1) / items
    e = (left**2).sum((1, 2)) / df / n
    # Where means vary less than the residual alone would have them, the larger error stands.
    squared = np.maximum(a + b - e, np.maximum(a, b))
    return mean, squared**2 / (a**2 / (raters - 1) + b**2 / (items - 1) + e**2 / df), squared


def spread(differences: pd.DataFrame) -> Spread:
    """Return what differences vary by, from ``passage_id``, ``rater_id`` and ``value``.

    Moments of pairs: two raters on a passage, a rater on two passages, and neither shared; so
    raters need not have seen the same passages, nor equally many. What comes out negative is
    zero.

    Raises
    ------
    ValueError
        No passage has two raters, or no rater two passages: their parts cannot be told apart.
    """
    known = differences.dropna(subset=["value"])
    value = known["value"].to_numpy(dtype=float)
    passage = known["passage_id"].to_numpy()
    rater = known["rater_id"].to_numpy()
    i, j = np.triu_indices(len(known), 1)
    half = (value[i] - value[j]) ** 2 / 2
    same_passage, same_rater = passage[i] == passage[j], rater[i] == rater[j]
    kinds = {
        "a passage with two raters": same_passage & ~same_rater,
        "a rater with two passages": same_rater & ~same_passage,
        "two passages without a rater in common": ~same_passage & ~same_rater,
    }
    if missing := [name for name, pairs in kinds.items() if not pairs.any()]:
        raise ValueError(f"There is not {'; nor '.join(missing)}: variances cannot be told apart.")
    two_raters, two_passages, neither = (float(half[pairs].mean()) for pairs in kinds.values())
    parts = neither - two_passages, neither - two_raters, two_raters + two_passages - neither
    return Spread(*(math.sqrt(max(part, 0.0)) for part in parts))


def agreement_differences(
    table: pd.DataFrame, candidate: str, reference: str, experts: Sequence[str]
) -> pd.DataFrame:
    """Return how much more often each expert, on each passage, agrees with one judge than another.

    The expert is taken as a blind rater of recorded judges: the rating is the share of dimensions
    on which judge and expert say the same, 0 to 1; dimensions that all three judged count.
    """
    rows = table[table["status"] == "ok"]
    own = rows[rows["judge_id"].isin(list(experts))]
    for judge, name in ((candidate, "ours"), (reference, "theirs")):
        theirs = rows[(rows["judge_id"] == judge) & (rows["repeat"] == 0)]
        own = own.merge(
            theirs[["item_id", "dimension", "value"]].rename(columns={"value": name}),
            on=["item_id", "dimension"],
        )
    gap = (own["ours"] == own["value"]).astype(float) - (own["theirs"] == own["value"]).astype(
        float
    )
    made = own.assign(gap=gap).groupby(["item_id", "judge_id"])["gap"].mean().reset_index()
    made.columns = pd.Index(["passage_id", "rater_id", "value"])
    return made
