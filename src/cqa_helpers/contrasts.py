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

# Resamples at a time: weights of 1,000 passages then take 8 MB.
_BLOCK = 1000


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

    Only cells that both judged enter, repeat by repeat, so that one seed's unreadable answer
    does not cost the others theirs. Where both judges have the same repeats they are paired;
    else the reference's are pooled. With one repeat each it is
    :func:`cqa_helpers.agreement.paired_difference`.

    Raises
    ------
    ValueError
        An unknown judge or expert, or no cell that both judged.
    """
    repeats, own = _by_repeat(table, candidate, experts)
    other_repeats, other = _by_repeat(table, reference, experts)
    if len(repeats) > 1 and repeats == other_repeats:
        partners = other
    else:
        known = set.intersection(*(cells(f) for f in other))
        partners = [_only(pd.concat(other), known)] * len(repeats)
    own = [_only(a, cells(b)) for a, b in zip(own, partners, strict=True)]
    partners = [_only(b, cells(a)) for a, b in zip(own, partners, strict=True)]
    tables = _tabulate_each([*own, *partners], f"{candidate}, {reference}", clusters)
    counts = np.stack([t.counts for t in tables])
    if chance == "pooled":
        counts = counts.sum(2, keepdims=True)
    sides = counts[: len(repeats)], counts[len(repeats) :]
    categories = tables[0].categories
    rng = np.random.default_rng(seed)
    times = resample(counts.shape[1], n_boot, rng)
    picks = _picks(len(repeats), n_boot, rng)
    (value_a, draws_a), (value_b, draws_b) = (
        _draw(side, times, picks, categories) for side in sides
    )
    by_repeat = [stratified_kappa(side.sum(1), categories) for side in sides]
    shared = set.intersection(*(cells(f) for f in own))
    overall = Difference(
        candidate,
        reference,
        interval(value_a - value_b, draws_a - draws_b, level),
        draws_a - draws_b,
        n_pairs=int(sides[0].sum()),
        n_clusters=counts.shape[1],
        n_dropped=len(cells(ok_rows(table, experts)) - shared),
    )
    gaps = {
        r: None if np.isnan(a - b) else float(a - b)
        for r, a, b in zip(repeats, *by_repeat, strict=True)
    }
    return SeedContrast(overall, gaps, interval(value_a, draws_a, level))


def no_contrast(candidate: str, reference: str) -> SeedContrast:
    """Return the contrast of a judge that gave no readable verdict: everything undefined."""
    nothing = Interval(None, None, None)
    overall = Difference(candidate, reference, nothing, np.empty(0), 0, 0, 0)
    return SeedContrast(overall, {}, nothing)


def _only(rows: pd.DataFrame, known: set[tuple[str, str]]) -> pd.DataFrame:
    return rows[[cell in known for cell in zip(rows["item_id"], rows["dimension"], strict=True)]]


def _by_repeat(
    table: pd.DataFrame, judge_id: str, experts: Sequence[str]
) -> tuple[list[int], list[pd.DataFrame]]:
    """Return a judge's repeats and, for each, its verdicts beside the experts'."""
    if judge_id == EXPERTS:
        return [0], [pairs(table, judge_id, experts)]
    mine = table["judge_id"] == judge_id
    repeats = sorted({int(r) for r in table.loc[mine, "repeat"]}) or [0]
    return repeats, [
        pairs(table[~mine | (table["repeat"] == r)], judge_id, experts) for r in repeats
    ]


def _picks(n: int, n_boot: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return how often each repeat is drawn in each resample."""
    return rng.multinomial(n, np.full(n, 1 / n), n_boot)


def _draw(
    counts: NDArray[np.int64],
    times: NDArray[np.int64],
    picks: NDArray[np.int64],
    categories: Sequence[int],
) -> tuple[float, Floats]:
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
    starts = range(0, n_boot, _BLOCK)
    draws = [
        resampled_means(gap, *(resample(n, min(_BLOCK, n_boot - start), rng) for n in gap.shape))
        for start in starts
    ]
    return interval(float(np.nanmean(gap)), np.concatenate(draws), level)


def resampled_means(gap: Floats, passages: NDArray[np.int64], raters: NDArray[np.int64]) -> Floats:
    """Return the mean gap of each resample; nan where it drew no gap that is known.

    Parameters
    ----------
    gap
        Passages by raters, nan where there is none.
    passages, raters
        How often each is drawn in each resample, as from :func:`cqa_helpers.agreement.resample`.
    """
    known = ~np.isnan(gap)
    total = ((passages @ np.where(known, gap, 0.0)) * raters).sum(1)
    # As floats, for matrix products of whole numbers are slow.
    count = ((passages @ known.astype(float)) * raters).sum(1)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


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
    value, draws = _draw(counts, times, _picks(len(counts), n_boot, rng), categories)
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
