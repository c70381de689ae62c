"""How far judges agree with experts: kappa, with clustered intervals.

Tables are those of :func:`cqa_helpers.records.to_table`. Only rows with status ``ok`` enter a
measure; what is missing is counted beside it. A measure that is undefined is null, never zero.
All intervals are percentile bootstraps that resample whole clusters (stories, works or seeds),
because verdicts on one story are not independent (our choice).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cqa_helpers.pairing import Clusters, PairTables, cells, ok_rows, pairs, tabulate

# With fewer clusters the resamples are so few and so alike that limits would deceive; one cluster
# would even look certain (our choice).
FEWEST_CLUSTERS = 5
# Above this share of undefined resamples, limits would describe the defined ones alone.
UNDEFINED_SHARE = 0.05

Floats = NDArray[np.float64]
Weights = Literal["unweighted", "linear", "quadratic"]
Chance = Literal["within-dimension", "pooled"]
Seed = int | np.random.Generator


class Interval(NamedTuple):
    """An estimate with its limits; null where it is undefined."""

    value: float | None
    low: float | None
    high: float | None

    def as_dict(self) -> dict[str, float | None]:
        """Return the three numbers by name."""
        return self._asdict()


class Agreement(NamedTuple):
    """A judge against single experts.

    ``raw`` is the share of pairs that agree, ``n_missing`` the cells (item and dimension) that
    the experts judged and the judge did not.
    """

    judge_id: str
    kappa: Interval
    raw: float | None
    n_pairs: int
    n_items: int
    n_clusters: int
    n_missing: int


class Difference(NamedTuple):
    """The first judge's kappa minus the second's, on cells that both judged.

    ``draws`` are the bootstrap differences, ``n_dropped`` the cells that one or both lack.
    """

    judge_a: str
    judge_b: str
    difference: Interval
    draws: Floats
    n_pairs: int
    n_clusters: int
    n_dropped: int


def kappa(
    counts: ArrayLike, categories: Sequence[int] | None = None, weights: Weights = "unweighted"
) -> Floats:
    """Return Cohen's kappa of each table in ``(..., K, K)``, nan where chance leaves no room.

    Cohen 1960, and with weights Cohen 1968. Distances are those of ``categories``.
    """
    return stratified_kappa(np.asarray(counts)[..., None, :, :], categories, weights)


def stratified_kappa(
    counts: ArrayLike, categories: Sequence[int] | None = None, weights: Weights = "unweighted"
) -> Floats:
    """Return kappa of tables in ``(..., strata, K, K)`` with chance taken within each stratum.

    One minus observed over expected disagreement, both summed over strata: the mean of the
    strata's kappas, weighted by the disagreement that chance would give there (our choice).
    """
    table = np.asarray(counts, dtype=float)
    k = table.shape[-1]
    scale = np.arange(k) if categories is None else np.asarray(categories)
    distance = np.abs(scale[:, None] - scale[None, :]).astype(float)
    if weights == "unweighted":
        distance = (distance > 0).astype(float)
    elif weights == "quadratic":
        distance **= 2
    observed = (table * distance).sum((-3, -2, -1))
    size = table.sum((-2, -1))
    by_chance = (table.sum(-1) @ distance * table.sum(-2)).sum(-1)
    expected = (by_chance / np.where(size > 0, size, 1)).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected > 0, 1 - observed / expected, np.nan)


def resample(n_clusters: int, n_boot: int, seed: Seed) -> NDArray[np.int64]:
    """Return how often each cluster is drawn in each resample, ``(n_boot, n_clusters)``."""
    even = np.full(n_clusters, 1 / n_clusters)
    return np.random.default_rng(seed).multinomial(n_clusters, even, size=n_boot)


def interval(value: float, draws: ArrayLike, level: float = 0.95) -> Interval:
    """Return an estimate with percentile limits.

    No limits are given where more than 5 % of the draws are undefined (our choice).
    """
    draws = np.asarray(draws, dtype=float)
    if np.isnan(value):
        return Interval(None, None, None)
    defined = draws[~np.isnan(draws)]
    if defined.size == 0 or 1 - defined.size / draws.size > UNDEFINED_SHARE:
        return Interval(float(value), None, None)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))


def limited(found: Interval, n_clusters: int) -> Interval:
    """Return an interval that has limits only where enough clusters carry it."""
    return found if n_clusters >= FEWEST_CLUSTERS else Interval(found.value, None, None)


def kappa_against_experts(
    table: pd.DataFrame,
    judge_id: str,
    experts: Sequence[str],
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
    weights: Weights = "unweighted",
    chance: Chance = "within-dimension",
) -> Agreement:
    """Return a judge's kappa against single experts over pooled :func:`pairs`.

    Parameters
    ----------
    clusters
        Item to cluster (its work, say); without it, every item is its own.
    n_boot, seed, level
        Resamples of clusters, their seed or generator, and the interval's level.
    chance
        Within each dimension, or over all pooled. Pooled chance rewards a judge for knowing which
        dimensions get more yes, without reading a passage: a blind majority answer per dimension
        then stands above zero. Within dimensions a constant answer gets exactly zero, and
        any other that ignores the passage gets zero on average.

    Raises
    ------
    ValueError
        As :func:`pair_tables`.
    """
    rows = pairs(table, judge_id, experts)
    (tables,) = tabulate([rows], [judge_id], clusters)
    total = tables.counts.sum((0, 1))
    times = resample(len(tables.clusters), n_boot, seed)
    value, draws = _kappas(tables, times, weights, chance)
    return Agreement(
        judge_id,
        limited(interval(value, draws, level), len(tables.clusters)),
        raw=float(np.trace(total) / total.sum()),
        n_pairs=len(rows),
        n_items=rows["item_id"].nunique(),
        n_clusters=len(tables.clusters),
        n_missing=len(cells(ok_rows(table, experts)) - cells(rows)),
    )


def paired_difference(
    table: pd.DataFrame,
    judge_a: str,
    judge_b: str,
    experts: Sequence[str],
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
    weights: Weights = "unweighted",
    chance: Chance = "within-dimension",
) -> Difference:
    """Return how much higher one judge's kappa is, both on the same resampled clusters.

    Only cells that both judged enter, so that neither gains by keeping silent on hard ones.

    Raises
    ------
    ValueError
        As :func:`pair_tables`.
    """
    both = [pairs(table, judge, experts) for judge in (judge_a, judge_b)]
    tables = tabulate(both, [judge_a, judge_b], clusters)
    times = resample(len(tables[0].clusters), n_boot, seed)
    (value_a, draws_a), (value_b, draws_b) = (_kappas(t, times, weights, chance) for t in tables)
    return Difference(
        judge_a,
        judge_b,
        limited(interval(value_a - value_b, draws_a - draws_b, level), len(tables[0].clusters)),
        draws_a - draws_b,
        n_pairs=int(tables[0].counts.sum()),
        n_clusters=len(tables[0].clusters),
        n_dropped=len(cells(ok_rows(table, experts)) - (cells(both[0]) & cells(both[1]))),
    )


def _kappas(
    tables: PairTables, times: NDArray[np.int64], weights: Weights, chance: Chance
) -> tuple[float, Floats]:
    counts = tables.counts
    if chance == "pooled":
        counts = counts.sum(1, keepdims=True)
    whole = stratified_kappa(counts.sum(0), tables.categories, weights)
    drawn = stratified_kappa(np.tensordot(times, counts, 1), tables.categories, weights)
    return float(whole), drawn
