"""Does a judge put works in the order in which experts put them?

A work's score is the mean verdict over its cells; a cluster (story, work or seed) is a work. The
measure is Spearman's rank correlation: a judge who says yes more often loses nothing by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cqa_helpers.agreement import FEWEST_CLUSTERS, Floats, Interval, Seed, interval, resample
from cqa_helpers.pairing import CELL, EXPERTS, Clusters, cluster_codes, ok_rows

# A variance that is zero but for rounding.
NO_SPREAD = 1e-12


class Ranking(NamedTuple):
    """How a judge's order of works goes with the experts'.

    ``spearman`` is against the mean of all experts, null for the experts themselves;
    ``spearman_rest`` against the mean of all but one, each left out in turn. Only the latter
    stands on one footing with an expert against the others, since fewer experts make a noisier
    yardstick. Null on fewer than five works, or where a side does not vary. ``n_missing`` counts
    the experts' works without a verdict of the judge.
    """

    judge_id: str
    spearman: Interval
    spearman_rest: Interval
    n_works: int
    n_missing: int


def of_works(
    table: pd.DataFrame,
    judge_id: str,
    experts: Sequence[str],
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
) -> Ranking:
    """Return the rank correlation of a judge's and the experts' scores of works, works resampled.

    Both scores of a work rest on the same cells. The judge ``"experts"`` is each expert against
    the mean of the others. Experts read different works, some only a few, so the one left out is
    a seat, not a person: the first, second, … of an item's experts by name. Where the same experts
    read everything, seats are people. Seats are averaged by how many works they have; a seat
    with fewer than five is left out.

    Raises
    ------
    ValueError
        An unknown judge or expert, or an item without a cluster.
    """
    others = [e for e in experts if e != judge_id]
    said = ok_rows(table, others).astype({"value": float})
    theirs = said.groupby([*CELL, "judge_id"])[["value"]].mean().reset_index()
    theirs["seat"] = pd.factorize(theirs["judge_id"], sort=True)[0]
    theirs["seat"] = theirs.groupby("item_id")["seat"].rank("dense").astype(int)
    if judge_id == EXPERTS:
        rows = theirs.assign(own=theirs["value"])
    else:
        own = ok_rows(table, [judge_id]).astype({"value": float}).groupby(CELL)["value"].mean()
        rows = theirs.join(own.rename("own"), on=CELL).dropna(subset=["own"])
    _, names = cluster_codes(rows, clusters)
    _, all_names = cluster_codes(theirs, clusters)
    times = resample(len(names), n_boot, seed) if names else np.zeros((n_boot, 0), dtype=np.int64)
    seats = [_against_rest(rows, int(k), clusters, names) for k in sorted(set(rows["seat"]))]
    rest = _averaged([s for s in seats if _n_works(s) >= FEWEST_CLUSTERS], times, level)
    whole = Interval(None, None, None)
    if judge_id != EXPERTS and len(names):
        codes, _ = cluster_codes(rows, clusters, names)
        mine, all_experts = (_scores(rows[c], codes, len(names)) for c in ("own", "value"))
        whole = _averaged([(mine, all_experts)], times, level)
    return Ranking(judge_id, whole, rest, len(names), len(all_names) - len(names))


def _against_rest(
    rows: pd.DataFrame, seat: int, clusters: Clusters, names: Sequence[str]
) -> tuple[Floats, Floats]:
    """Return each work's own score, and the mean of the experts in all seats but this one."""
    mine, others = rows[rows["seat"] == seat], rows[rows["seat"] != seat]
    rest = others.groupby(CELL)["value"].mean().rename("rest")
    both = mine.join(rest, on=CELL).dropna(subset=["rest"])
    codes, _ = cluster_codes(both, clusters, names)
    return _scores(both["own"], codes, len(names)), _scores(both["rest"], codes, len(names))


def _scores(values: pd.Series, codes: NDArray[np.intp], n_works: int) -> Floats:
    """Return the mean of each work, nan without a value."""
    size = np.bincount(codes, minlength=n_works)
    total = np.bincount(codes, values.to_numpy(dtype=float), minlength=n_works)
    return np.where(size > 0, total / np.maximum(size, 1), np.nan)


def _n_works(scores: tuple[Floats, Floats]) -> int:
    return int((~np.isnan(scores[0])).sum())


def _averaged(
    sides: Sequence[tuple[Floats, Floats]], times: NDArray[np.int64], level: float
) -> Interval:
    """Return the mean correlation, weighted by works, with limits; nan in one is nan in all."""
    weights = np.array([_n_works(s) for s in sides], dtype=float)
    if weights.size == 0 or weights.min() < FEWEST_CLUSTERS:
        return Interval(None, None, None)
    once = np.ones((1, times.shape[1]))
    value = np.average([_spearman(*s, once) for s in sides], axis=0, weights=weights)
    draws = np.average([_spearman(*s, times) for s in sides], axis=0, weights=weights)
    return interval(float(value[0]), draws, level)


def _spearman(x: Floats, y: Floats, times: NDArray[Any]) -> Floats:
    """Return the rank correlation in each resample, ``times[resample, work]``; nan if undefined."""
    known = ~np.isnan(x + y)
    w = times[:, known].astype(float)
    a, b = _midranks(x[known], w), _midranks(y[known], w)
    n = np.maximum(w.sum(1, keepdims=True), 1)
    a, b = (r - (w * r).sum(1, keepdims=True) / n for r in (a, b))
    var_a, var_b = (w * a * a).sum(1), (w * b * b).sum(1)
    able = (var_a > NO_SPREAD) & (var_b > NO_SPREAD)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(able, (w * a * b).sum(1) / np.sqrt(var_a * var_b), np.nan)


def _midranks(values: Floats, w: Floats) -> Floats:
    """Return the mean rank of each value among ``w`` copies of all, ``(resamples, works)``."""
    known, place = np.unique(np.round(values, 12), return_inverse=True)
    counts = w @ np.eye(len(known))[place]
    return np.asarray((np.cumsum(counts, axis=1) - counts / 2)[:, place])
