"""Least-squares slopes within dimensions, from sums by cluster, so that resamples are sums anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cqa_helpers.agreement import Floats
from cqa_helpers.pairing import Clusters, cluster_codes
from cqa_helpers.panels import add_up

# A variance, or the least eigenvalue of correlations, that is zero but for rounding.
NONE_LEFT = 1e-9


def moments(
    rows: pd.DataFrame, columns: Sequence[str], features: pd.DataFrame | None, clusters: Clusters
) -> tuple[Floats, int]:
    """Return sums of products of 1, the columns and the features, and the number of clusters.

    ``(clusters, dimensions, 1 + columns, 1 + columns)``.
    """
    codes, names = cluster_codes(rows, clusters)
    stratum, dimensions = pd.factorize(rows["dimension"])
    parts = [np.ones((len(rows), 1)), rows[list(columns)].to_numpy(dtype=float)]
    if features is not None:
        parts.append(features.loc[rows["item_id"]].to_numpy(dtype=float))
    v = np.concatenate(parts, axis=1)
    n, k = len(names) * len(dimensions), v.shape[1]
    place = (codes * len(dimensions) + stratum).astype(np.intp)
    sums = add_up(place, n, v[:, :, None] * v[:, None, :]) if n else np.zeros((0, k, k))
    return sums.reshape(len(names), len(dimensions), k, k), len(names)


def within(sums: Floats) -> Floats:
    """Return covariances of the columns within dimensions from sums ``(..., dimensions, k, k)``."""
    n, s = sums[..., 0, 0], sums[..., 0, 1:]
    between = s[..., :, None] * s[..., None, :] / np.maximum(n, 1)[..., None, None]
    total = np.maximum(n.sum(-1), 1)[..., None, None]
    return np.asarray((sums[..., 1:, 1:] - between).sum(-3) / total)


def varying(sums: Floats, columns: Sequence[int]) -> list[int]:
    """Return those of the columns that vary within dimensions."""
    spread = np.diagonal(within(sums.sum(0)))
    return [c for c in columns if spread[c] > NONE_LEFT]


def fit(within: Floats, y: int, x: Sequence[int]) -> Floats:
    """Return least-squares slopes of column y on columns x, ``(resamples, x)``.

    They are nan where y or an x does not vary, or the x determine one another.
    """
    spread = np.sqrt(np.maximum(np.diagonal(within, axis1=-2, axis2=-1), 0))
    able = (spread[:, [y, *x]] ** 2 > NONE_LEFT).all(-1)
    unit = np.where(spread > 0, spread, 1)
    correlation = within / (unit[:, :, None] * unit[:, None, :])
    system = correlation[:, x][:, :, x]
    able &= np.linalg.eigvalsh(system).min(-1) > NONE_LEFT
    system[~able] = np.eye(len(x))
    solved = np.linalg.solve(system, correlation[:, x, y][:, :, None])[:, :, 0]
    found = solved * unit[:, [y]] / unit[:, x]
    return np.where(able[:, None], found, np.nan)
