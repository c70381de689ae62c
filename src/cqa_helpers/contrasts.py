"""Differences between judges whose seeds vary: stories and seeds are both drawn anew.

A model tuned with several seeds is one judge with repeats. Resampling stories alone would say how
sure we are about *these* seeds; the study asks about tuning, so seeds are resampled with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cqa_helpers.agreement import (
    Chance,
    Difference,
    Floats,
    Interval,
    Seed,
    interval,
    resample,
    stratified_kappa,
)
from cqa_helpers.pairing import (
    CELL,
    EXPERTS,
    Clusters,
    PairTables,
    cells,
    ok_rows,
    pairs,
    tabulate,
)


class SeedContrast(NamedTuple):
    """A difference over all seeds, and each seed's own; ``candidate`` is the judge's own kappa."""

    overall: Difference
    by_repeat: dict[int, float | None]
    candidate: Interval


def consensus(table: pd.DataFrame, experts: Sequence[str]) -> pd.DataFrame:
    """Return the experts' majority on each cell as rows of one judge, ``"consensus"``.

    Cells where they are evenly divided are left out.
    """
    rows = ok_rows(table, experts)
    counted = rows.groupby([*CELL, "value"]).size().rename("votes").reset_index()
    top = counted.groupby(CELL)["votes"].transform("max") == counted["votes"]
    best = counted[top]
    best = best[~best.duplicated(CELL, keep=False)]
    return best.assign(
        judge_id="consensus", repeat=0, scale="0-1", reason="", status="ok", meta="{}",
        probability=pd.array([pd.NA] * len(best), dtype="Float64"),
    )[list(table.columns)]  # fmt: skip


def seed_contrast(
    table: pd.DataFrame,
    candidate: str,
    reference: str,
    experts: Sequence[str],
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
    chance: Chance = "within-dimension",
) -> SeedContrast:
    """Return candidate minus reference in kappa, clusters and each judge's repeats resampled.

    Only cells that both judged enter. With one repeat each it is
    :func:`cqa_helpers.agreement.paired_difference`.

    Raises
    ------
    ValueError
        An unknown judge or expert, or no cell that both judged.
    """
    own_repeats, own_frames = _by_repeat(table, candidate, experts)
    _, other_frames = _by_repeat(table, reference, experts)
    frames = [*own_frames, *other_frames]
    tables = tabulate(frames, [candidate, reference], clusters)
    stacked = [
        np.stack([t.counts for t in tables[: len(own_repeats)]]),
        np.stack([t.counts for t in tables[len(own_repeats) :]]),
    ]
    if chance == "pooled":
        stacked = [s.sum(2, keepdims=True) for s in stacked]
    rng = np.random.default_rng(seed)
    times = resample(len(tables[0].clusters), n_boot, rng)
    categories = tables[0].categories
    (value_a, draws_a), (value_b, draws_b) = (
        _draw(counts, times, categories, rng) for counts in stacked
    )
    own = stratified_kappa(stacked[0].sum(1), categories)
    other = float(stratified_kappa(stacked[1].sum((0, 1)), categories))
    shared = set.intersection(*(cells(f) for f in frames))
    overall = Difference(
        candidate,
        reference,
        interval(value_a - value_b, draws_a - draws_b, level),
        draws_a - draws_b,
        n_pairs=int(stacked[0].sum()),
        n_clusters=len(tables[0].clusters),
        n_dropped=len(cells(ok_rows(table, experts)) - shared),
    )
    by_repeat = {
        r: None if np.isnan(k) else float(k) - other for r, k in zip(own_repeats, own, strict=True)
    }
    return SeedContrast(overall, by_repeat, interval(value_a, draws_a, level))


def _by_repeat(
    table: pd.DataFrame, judge_id: str, experts: Sequence[str]
) -> tuple[list[int], list[pd.DataFrame]]:
    """Return a judge's repeats and, for each, its verdicts beside the experts'."""
    if judge_id == EXPERTS:
        return [0], [pairs(table, judge_id, experts)]
    mine = table["judge_id"] == judge_id
    usable = table[mine & (table["status"] == "ok")]
    repeats = sorted({int(r) for r in usable["repeat"]}) or [0]
    return repeats, [
        pairs(table[~mine | (table["repeat"] == r)], judge_id, experts) for r in repeats
    ]


def _draw(
    counts: NDArray[np.int64],
    times: NDArray[np.int64],
    categories: Sequence[int],
    rng: np.random.Generator,
) -> tuple[float, Floats]:
    n = len(counts)
    picks = rng.multinomial(n, np.full(n, 1 / n), len(times))
    by_repeat = np.stack([np.tensordot(times, c, 1) for c in counts], axis=1)
    drawn = (by_repeat * picks[:, :, None, None, None]).sum(1)
    whole = stratified_kappa(counts.sum((0, 1)), categories)
    return float(whole), stratified_kappa(drawn, categories)


def rating_contrast(
    ratings: pd.DataFrame,
    candidate: str,
    reference: str,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
) -> Interval:
    """Return candidate minus reference in mean rating, passages and raters both resampled.

    ``ratings`` has columns ``judge_id``, ``passage_id``, ``rater_id`` and ``value``; each rater's
    own mean is taken out first, so that severity does not widen the interval.
    """
    rows = ratings.dropna(subset=["value"]).copy()
    rows["centred"] = rows["value"] - rows.groupby("rater_id")["value"].transform("mean")
    wide = rows.pivot_table(
        index=["passage_id", "rater_id"], columns="judge_id", values="centred", aggfunc="mean"
    )
    gap = (wide[candidate] - wide[reference]).dropna().unstack("rater_id").to_numpy(dtype=float)
    if gap.size == 0 or np.isnan(gap).all():
        return Interval(None, None, None)
    rng = np.random.default_rng(seed)
    p, r = gap.shape
    draws = np.array([
        np.nanmean(gap[np.ix_(rng.integers(0, p, p), rng.integers(0, r, r))])
        for _ in range(n_boot)
    ])  # fmt: skip
    return interval(float(np.nanmean(gap)), draws, level)


class OwnKappa(NamedTuple):
    """A judge's kappa over all its repeats, and each repeat's own."""

    kappa: Interval
    by_repeat: dict[int, float | None]


def own_kappa(
    table: pd.DataFrame,
    judge_id: str,
    experts: Sequence[str],
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
    chance: Chance = "within-dimension",
) -> OwnKappa:
    """Return a judge's kappa against single experts, clusters and repeats resampled.

    With one repeat it is :func:`cqa_helpers.agreement.kappa_against_experts`.
    """
    repeats, frames = _by_repeat(table, judge_id, experts)
    tables = _tabulate_each(frames, judge_id, clusters)
    counts = np.stack([t.counts for t in tables])
    if chance == "pooled":
        counts = counts.sum(2, keepdims=True)
    rng = np.random.default_rng(seed)
    times = resample(counts.shape[1], n_boot, rng)
    categories = tables[0].categories
    value, draws = _draw(counts, times, categories, rng)
    own = stratified_kappa(counts.sum(1), categories)
    return OwnKappa(
        interval(value, draws, level),
        {r: None if np.isnan(k) else float(k) for r, k in zip(repeats, own, strict=True)},
    )


def _tabulate_each(
    frames: list[pd.DataFrame], judge_id: str, clusters: Clusters
) -> list[PairTables]:
    """Count each repeat on all of its own cells, over clusters that all repeats share."""
    marked = [
        f.assign(dimension=[f"{d}\x00{k}" for d in f["dimension"]]) for k, f in enumerate(frames)
    ]
    whole = tabulate([pd.concat(marked)], [judge_id], clusters)[0]
    own = [[i for i, d in enumerate(whole.dimensions) if d.endswith(f"\x00{k}")]
           for k in range(len(frames))]  # fmt: skip
    names = sorted({d.split("\x00")[0] for d in whole.dimensions})
    tables = []
    for mine in own:
        counts = np.zeros((len(whole.clusters), len(names), *whole.counts.shape[2:]), dtype=int)
        for i in mine:
            counts[:, names.index(whole.dimensions[i].split("\x00")[0])] = whole.counts[:, i]
        tables.append(PairTables(counts, whole.clusters, tuple(names), whole.categories))
    return tables
