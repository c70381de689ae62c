"""Whether a judge's probabilities rank and match what experts say: AUC, Brier, reliability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from cqa_helpers.agreement import Floats, Interval, Seed, interval, resample
from cqa_helpers.pairing import Clusters, cells, cluster_codes, ok_rows, pairs


class Auc(NamedTuple):
    """Mean AUC over dimensions, and each dimension's own; ``draws`` are the bootstrap means.

    ``n_missing`` counts the cells of experts for which the judge has no score.
    """

    judge_id: str
    mean: Interval
    by_dimension: dict[str, float | None]
    n_pairs: int
    n_clusters: int
    n_missing: int
    draws: Floats


class Bin(NamedTuple):
    """Judgments of like probability: their mean, the share of yes among them, their number."""

    mean_probability: float
    share: float
    n: int


def auc(values: ArrayLike, scores: ArrayLike) -> float | None:
    """Return P(score of a yes > score of a no), ties half; null where one class is absent.

    ``values`` are 0 or 1.
    """
    yes = np.asarray(values, dtype=float) > 0
    n_yes, n_no = int(yes.sum()), int((~yes).sum())
    if n_yes == 0 or n_no == 0:
        return None
    ranks = rankdata(np.asarray(scores, dtype=float))
    return float((ranks[yes].sum() - n_yes * (n_yes + 1) / 2) / (n_yes * n_no))


def mean_auc(
    table: pd.DataFrame,
    judge_id: str,
    experts: Sequence[str],
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
    score: Literal["probability", "value"] = "probability",
    positive: int = 1,
    among: Sequence[str] | None = None,
) -> Auc:
    """Return how well a judge's scores rank single experts' verdicts, averaged over dimensions.

    Each score is paired with each expert's verdict on the cell; an expert's verdict of
    ``positive`` or more counts as yes. A dimension where one class is absent is left out of the
    mean, in the whole and in each resample of clusters. ``among`` names the clusters to draw from
    (default: those with a score), so that several tables can share their draws.

    Raises
    ------
    ValueError
        An unknown judge or expert, an item without a cluster, or a judge without such scores.
    """
    rows = pairs(table, judge_id, experts)
    rows = rows[rows[score].notna()]
    if rows.empty:
        raise ValueError(f"{judge_id}: no {score} on a cell that the experts judged")
    codes, names = cluster_codes(rows, clusters, among)
    times = resample(len(names), n_boot, seed)
    whole, drawn = {}, []
    for dimension in sorted(set(rows["dimension"])):
        here = (rows["dimension"] == dimension).to_numpy()
        scores, place = np.unique(rows.loc[here, score].astype(float), return_inverse=True)
        yes = (rows.loc[here, "expert_value"] >= positive).to_numpy(dtype=int)
        counts = np.zeros((len(names), 2, len(scores)))
        np.add.at(counts, (codes[here], yes, place), 1)
        whole[dimension] = float(_auc(counts.sum(0)))
        drawn.append(_auc(np.tensordot(times, counts, 1)))
    draws = _mean(np.array(drawn))
    return Auc(
        judge_id,
        interval(float(_mean(np.array([*whole.values()]))), draws, level),
        {d: None if np.isnan(v) else v for d, v in whole.items()},
        n_pairs=len(rows),
        n_clusters=len(names),
        n_missing=len(cells(ok_rows(table, experts)) - cells(rows)),
        draws=draws,
    )


def brier(values: ArrayLike, probabilities: ArrayLike) -> float | None:
    """Return the mean squared distance of probabilities from 0 or 1; null where there are none.

    Brier 1950, in its form for two classes: 0 is best, 0.25 is saying one half always.
    """
    y, p = _both(values, probabilities)
    return None if y.size == 0 else float(np.mean((p - y) ** 2))


def reliability_curve(
    values: ArrayLike, probabilities: ArrayLike, n_bins: int = 10
) -> tuple[Bin, ...]:
    """Return bins of about equal number, from low to high probability.

    Equal probabilities share a bin, so there may be fewer bins than asked for.
    """
    y, p = _both(values, probabilities)
    if y.size == 0:
        return ()
    place = np.floor((rankdata(p) - 0.5) / y.size * n_bins).astype(int)
    return tuple(
        Bin(float(p[place == k].mean()), float(y[place == k].mean()), int((place == k).sum()))
        for k in np.unique(place)
    )


def ece(values: ArrayLike, probabilities: ArrayLike, n_bins: int = 10) -> float | None:
    """Return the expected calibration error over equal-mass bins; null where there is nothing.

    The mean distance of a bin's share of yes from its mean probability, weighted by size
    (Naeini et al. 2015; equal mass instead of equal width is our choice).
    """
    bins = reliability_curve(values, probabilities, n_bins)
    total = sum(b.n for b in bins)
    if total == 0:
        return None
    return sum(b.n * abs(b.share - b.mean_probability) for b in bins) / total


def _both(values: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    y, p = np.asarray(values, dtype=float), np.asarray(probabilities, dtype=float)
    if y.shape != p.shape:
        raise ValueError(f"{y.size} values and {p.size} probabilities do not belong together")
    if np.isnan(y).any() or np.isnan(p).any():
        raise ValueError("a value or probability is missing: leave out, and count, what is not ok")
    return y, p


def _auc(counts: Floats) -> Floats:
    """AUC of counts ``(..., no and yes, ascending scores)``, nan where one class is absent."""
    no, yes = counts[..., 0, :], counts[..., 1, :]
    beaten = np.cumsum(no, axis=-1) - no / 2
    with np.errstate(invalid="ignore"):
        return np.asarray((yes * beaten).sum(-1) / (yes.sum(-1) * no.sum(-1)))


def _mean(by_dimension: Floats) -> Floats:
    """Mean over the first axis of what is defined, nan where nothing is."""
    defined = ~np.isnan(by_dimension)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, by_dimension, 0).sum(0) / defined.sum(0))
