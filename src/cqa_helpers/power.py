"""How small a difference between two judges a blind test can see, by raters and passages.

Everything is in log-odds of a higher rating, and about the *difference* of two judges as one
rater sees it on one passage: a passage's and a rater's own level, the same for both judges, is
gone from it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import special, stats

from cqa_helpers.agreement import Floats
from cqa_helpers.sections import Blind

CUTS: Floats = np.array([-2.0, -0.7, 0.7, 2.0])
"""Thresholds of a scale of five points, about evenly used around the middle (our choice)."""
RATERS = (3, 4, 5, 6, 8, 10, 12)
ITEMS = (20, 30, 40, 60, 80, 100)


def minimum_detectable(
    raters: int,
    items: int,
    sd_rater: float,
    sd_passage: float,
    sd_residual: float,
    *,
    raters_a_passage: float | None = None,
    sd_seed: float = 0.0,
    seeds: int = 1,
    power: float = 0.8,
    level: float = 0.95,
) -> float:
    """Return the difference of two judges that a two-sided test finds with the given power.

    The standard error is that of a mean over passages, raters and training seeds, all drawn at
    random; degrees of freedom are Satterthwaite's (1946), power is that of the noncentral t.
    Without two raters and two passages there is no test: infinity.

    Parameters
    ----------
    sd_rater, sd_passage, sd_residual
        Deviations of the difference: between raters, between passages, and of one rater on one
        passage beyond both.
    raters_a_passage
        Raters of each passage, on average; all of them unless given.
    sd_seed, seeds
        Deviation between training seeds, and how many are dealt evenly over the passages; with
        one seed the difference is that seed's, and the deviation does not count.
    """
    each = raters if raters_a_passage is None else raters_a_passage
    if not 0 < each <= raters:
        raise ValueError(f"raters_a_passage is {each}: up to {raters}, the raters there are.")
    if raters < 2 or items < 2:
        return math.inf
    n = items * each
    parts = np.array([sd_rater**2 / raters, sd_passage**2 / items, sd_residual**2 / n])
    # A rater's and a passage's means carry their share of the residual too, a seed's mean also
    # that of its passages.
    means = np.array([parts[0] + parts[2], parts[1] + parts[2], parts[2]])
    free = np.array([raters - 1, items - 1, max(n - raters - items + 1, 1)])
    squared = parts.sum()
    if seeds > 1 and sd_seed > 0:
        squared += sd_seed**2 / seeds
        means = np.append(means, sd_seed**2 / seeds + means[1])
        free = np.append(free, seeds - 1)
    if squared == 0:
        return 0.0
    df = squared**2 / (means**2 / free).sum()
    critical = stats.t.ppf((1 + level) / 2, df)
    return float(special.nctdtrinc(df, 1 - power, critical) * math.sqrt(squared))


def information(sd: float, cuts: Floats = CUTS) -> float:
    """Return what a rating tells of its own log-odds, on average over log-odds of deviation sd.

    Fisher's information of the cumulative logit at known thresholds, Σ p (1 − F − F′)² over
    categories of probability p between F′ and F: 1/3 for infinitely many (McCullagh 1980).
    """
    points, weights = np.polynomial.hermite_e.hermegauss(41)
    up = special.expit(np.append(cuts, np.inf)[:, None] - sd * points)
    below = np.vstack([np.zeros(len(points)), up[:-1]])
    each = ((up - below) * (1 - up - below) ** 2).sum(0)
    return float(weights @ each / weights.sum())


def detectable(
    blind: Blind,
    level: float,
    seeds: int = 1,
    raters: Sequence[int] = RATERS,
    items: Sequence[int] = ITEMS,
) -> pd.DataFrame:
    """Return the smallest difference that four of five studies find, by raters and passages.

    Deviations are those of ``blind.simulation``: between two judges they are √2 times those of
    one, and a rating's own noise is √(2 / information). The declared design, one row of the
    table, gives raters a passage and judges a sheet; where it gives sheets a rater, those stay.

    It is an approximation (our choice): a linear model of the log-odds, with judges that share
    their sheets or are compared as if they did, and variances known up to their degrees of
    freedom. It is a little hopeful: in ten simulated designs near the funded study's, 60 studies
    each, 65 to 85 % (75 % on average) found the difference that 80 % should find
    (``benchmarks/blind.py --only power``). With three seeds and few passages it is rough: more
    raters can there seem to see a little less.

    Parameters
    ----------
    seeds
        Training seeds of the candidate that are dealt over passages.

    Returns
    -------
    DataFrame
        ``raters``, ``items``, ``difference`` (log-odds, infinite where no test can be made),
        ``declared``.

    Raises
    ------
    ValueError
        No ``blind.simulation``: nothing says how raters and passages vary.
    """
    rows = [
        {
            "raters": r,
            "items": i,
            "difference": of_design(blind, level, seeds, r, i),
            "declared": (r, i) == (len(blind.raters), blind.n_items),
        }
        for r, i in itertools.product(
            sorted({*raters, len(blind.raters)}), sorted({*items, blind.n_items})
        )
    ]
    return pd.DataFrame(rows)


def of_design(
    blind: Blind, level: float, seeds: int = 1, raters: int | None = None, items: int | None = None
) -> float:
    """Return one cell of :func:`detectable`; the declared one unless raters or items are given."""
    by = blind.simulation
    if by is None:
        raise ValueError("blind.simulation is null: it says how far raters and passages vary")
    r, i = raters or len(blind.raters), items or blind.n_items
    each: float = r if blind.raters_a_passage is None else min(blind.raters_a_passage, r)
    if blind.sheets_a_rater is not None:
        each = min(blind.sheets_a_rater, i) * r / i
    levels = (by.sd_rater, by.sd_passage, by.sd_passage_judge, by.sd_rater_judge)
    shown = (blind.per_sheet or len(blind.judges)) / len(blind.judges)
    return minimum_detectable(
        r,
        i,
        math.sqrt(2) * by.sd_rater_judge,
        math.sqrt(2) * by.sd_passage_judge,
        math.sqrt(2 / (information(math.hypot(*levels)) * shown)),
        raters_a_passage=each,
        sd_seed=by.sd_seed,
        seeds=seeds if blind.seeds == "spread" else 1,
        level=level,
    )
