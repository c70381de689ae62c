"""How far a panel of judges can be relied on: Krippendorff's alpha and Fleiss' kappa.

Only rows with status ``ok`` are values. A unit (item and dimension) with fewer than two of them
says nothing about agreement: it is counted, never filled in. Intervals draw whole clusters, as in
:mod:`cqa_helpers.agreement`, and need five; a measure that is undefined is null.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import norm

from cqa_helpers import panels
from cqa_helpers.agreement import UNDEFINED_SHARE, Chance, Floats, Interval, Seed
from cqa_helpers.pairing import Clusters
from cqa_helpers.panels import Panel, Progress, add_up, estimates, fixed, panel, ratio

Level = Literal["nominal", "ordinal", "interval"]
COUNTS = ("n_items", "n_judges", "n_values", "n_single", "n_clusters")


class Alpha(NamedTuple):
    """Krippendorff's alpha and what it rests on.

    Counts are of units with two values or more; ``n_single`` are the other units.
    """

    alpha: Interval
    n_items: int
    n_judges: int
    n_values: int
    n_single: int
    n_clusters: int


class Fleiss(NamedTuple):
    """Fleiss' kappa and what it rests on, as in :class:`Alpha`."""

    kappa: Interval
    n_items: int
    n_judges: int
    n_values: int
    n_single: int
    n_clusters: int


def coincidences(of: Panel) -> Floats:
    """Return each cluster's sums over units, ``(clusters, strata, K * K + 2)``.

    The first K² columns are Krippendorff's coincidences: each ordered pair of values in a unit
    of m values counts 1/(m − 1). Then the parts of Fleiss' kappa: Σ n(m − n)/m over the values,
    n being how often each was given, and m − 1.
    """
    k, shape = len(of.values), (of.n_units, len(of.values))
    n = np.bincount(of.unit * k + of.value, minlength=math.prod(shape)).reshape(shape).astype(float)
    m = n.sum(1, keepdims=True)
    ordered = (n[:, :, None] * n[:, None, :] - n[:, :, None] * np.eye(k)) / (m - 1)[:, :, None]
    split = (n * (m - n) / m).sum(1, keepdims=True)
    place = np.zeros(of.n_units, np.intp)
    place[of.unit] = of.cluster * of.n_strata + of.stratum
    stats = np.concatenate([ordered.reshape(of.n_units, k * k), split, m - 1], axis=1)
    size = (len(of.clusters), of.n_strata)
    return add_up(place, math.prod(size), stats).reshape(*size, k * k + 2)


def alpha_of(sums: Floats, values: Floats, level: Level = "nominal") -> Floats:
    """Return alpha from sums of :func:`coincidences`, ``(..., strata, K * K + 2)``.

    Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability". The ordinal distance comes
    from the values in the sums themselves, so that each resample has its own. Strata are joined
    as in :func:`cqa_helpers.agreement.stratified_kappa` (our choice); so that they compare,
    ordinal distances are shares of a stratum's values, which leaves a single stratum's alpha as
    it is.
    """
    table = _table(sums, len(values))
    given = table.sum(-1)
    n = given.sum(-1)
    if level == "nominal":
        distance = 1 - np.eye(len(values))
    else:
        at = values
        if level == "ordinal":
            at = (np.cumsum(given, -1) - given / 2) / np.where(n > 0, n, 1)[..., None]
        distance = (at[..., :, None] - at[..., None, :]) ** 2
    observed = (table * distance).sum((-3, -2, -1))
    by_chance = (given[..., :, None] * given[..., None, :] * distance).sum((-2, -1))
    # A stratum without values adds nothing; any other has two or more.
    return 1 - ratio(observed, (by_chance / np.maximum(n - 1, 1)).sum(-1))


def fleiss_of(sums: Floats, k: int) -> Floats:
    """Return Fleiss' kappa from sums of :func:`coincidences` over ``k`` values."""
    given = _table(sums, k).sum(-1)
    n = given.sum(-1, keepdims=True)
    by_chance = 1 - ((given / np.where(n > 0, n, 1)) ** 2).sum(-1)
    return 1 - ratio(sums[..., -2].sum(-1), (sums[..., -1] * by_chance).sum(-1))


def krippendorff_alpha(
    table: pd.DataFrame,
    level: Level = "nominal",
    dimension: str | None = None,
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level_ci: float = 0.95,
    judges: Sequence[str] | None = None,
    chance: Chance = "within-dimension",
    progress: Progress = None,
) -> Alpha:
    """Return Krippendorff's alpha of a panel, on one dimension or over all of them.

    ``level`` is that of measurement, ``level_ci`` the interval's; what is not named here is as in
    :func:`cqa_helpers.agreement.kappa_against_experts`.

    Parameters
    ----------
    judges
        The panel; by default everyone in the table.
    chance
        Within each dimension, or over all pooled; Krippendorff's own is ``pooled``, and on one
        dimension the two are the same.
    progress
        As in :func:`cqa_helpers.panels.bootstrap`.

    Raises
    ------
    ValueError
        As :func:`cqa_helpers.panels.panel`; or ``level`` is ``interval`` and scales differ.
    """
    of = panel(table, judges, dimension, clusters, chance)
    if level == "interval":
        panels.require_one_scale(of, "interval alpha")
    (found,) = estimates(
        coincidences(of), lambda s: alpha_of(s, of.values, level)[:, None],
        n_boot, seed, level_ci, progress,
    )  # fmt: skip
    return Alpha(found, *_counts(of))


def fleiss(
    table: pd.DataFrame,
    dimension: str | None = None,
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level_ci: float = 0.95,
    judges: Sequence[str] | None = None,
    chance: Chance = "within-dimension",
    progress: Progress = None,
) -> Fleiss:
    """Return Fleiss' kappa with an interval; units may have different numbers of verdicts.

    One minus Σ_u Σ_c n_uc (m_u − n_uc) / m_u over Σ_u (m_u − 1) · Σ_c p_c (1 − p_c), where n_uc
    of the m_u verdicts on unit u are c, and p_c is the share of c among all. For two values this
    is Fleiss and Cuzick 1979 (*Applied Psychological Measurement* 3, 537–542); to add over more
    values is our choice. Where all units have as many verdicts it is Fleiss 1971. Units with one
    verdict are left out. Parameters as in :func:`krippendorff_alpha`.

    Raises
    ------
    ValueError
        As :func:`cqa_helpers.panels.panel`.
    """
    of = panel(table, judges, dimension, clusters, chance)
    (found,) = estimates(
        coincidences(of), lambda s: fleiss_of(s, len(of.values))[:, None],
        n_boot, seed, level_ci, progress,
    )  # fmt: skip
    return Fleiss(found, *_counts(of))


def by_dimension(
    table: pd.DataFrame,
    dimensions: Sequence[str] | None = None,
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level_ci: float = 0.95,
    judges: Sequence[str] | None = None,
    progress: Progress = None,
) -> pd.DataFrame:
    """Return one row a dimension: agreement, prevalence, and what they rest on.

    ``progress`` is told the dimensions done and their number.

    Returns
    -------
    pandas.DataFrame
        ``dimension``, ``scale``; ``alpha_nominal``, ``alpha_ordinal`` (null on scales of two
        values), ``fleiss``, ``prevalence`` (share of verdicts at the scale's highest value) and
        ``mean`` (of the values, in units of the scale), each with ``_low`` and ``_high``; the
        counts of :class:`Alpha`; ``n_verdicts`` with a value and ``n_missing`` without.

    Raises
    ------
    ValueError
        As :func:`cqa_helpers.panels.panel`.
    """
    ids = sorted(set(table["dimension"])) if dimensions is None else list(dimensions)
    same, rows = fixed(seed), []
    for done, dimension in enumerate(ids, start=1):
        rows.append(_dimension(table, dimension, clusters, n_boot, same, level_ci, judges))
        if progress is not None:
            progress(done, len(ids))
    return pd.DataFrame(rows)


def clusters_for(
    half_widths: Sequence[float],
    observed: Interval | ArrayLike,
    n_clusters: int,
    level_ci: float = 0.95,
) -> dict[float, int | None]:
    """Return how many clusters would give intervals of these half-widths: an extrapolation.

    It takes the observed bootstrap standard error to fall with the square root of the number of
    clusters (works, or items where each is its own), which supposes more of the same: works,
    judges a cell and cells a work. Null where the observation has no spread to go by.

    Parameters
    ----------
    half_widths
        Wanted, in units of the measure.
    observed
        Bootstrap draws, or an interval of level ``level_ci``, found on ``n_clusters``.

    Raises
    ------
    ValueError
        A half-width that is not positive, or fewer than two clusters.
    """
    if n_clusters < 2 or any(h <= 0 for h in half_widths):
        raise ValueError(
            f"expected half-widths above 0 and 2 clusters or more, not {list(half_widths)} and "
            f"{n_clusters}"
        )
    z = float(norm.ppf((1 + level_ci) / 2))
    if isinstance(observed, Interval):
        low, high = observed.low, observed.high
        error = math.nan if low is None or high is None else (high - low) / (2 * z)
    else:
        draws = np.asarray(observed, dtype=float)
        defined = draws[~np.isnan(draws)]
        few = defined.size < 2 or 1 - defined.size / draws.size > UNDEFINED_SHARE
        error = math.nan if few else float(defined.std(ddof=1))
    if not error > 0:
        return dict.fromkeys(half_widths)
    return {h: math.ceil(n_clusters * (z * error / h) ** 2) for h in half_widths}


def _table(sums: Floats, k: int) -> Floats:
    return sums[..., : k * k].reshape(*sums.shape[:-1], k, k)


def _counts(of: Panel) -> tuple[int, int, int, int, int]:
    return of.n_items, len(of.judges), len(of.value), of.n_single, len(of.clusters)


def _dimension(
    table: pd.DataFrame,
    dimension: str,
    clusters: Clusters,
    n_boot: int,
    seed: int,
    level_ci: float,
    judges: Sequence[str] | None,
) -> dict[str, object]:
    of = panel(table, judges, dimension, clusters)
    every = panel(table, judges, dimension, clusters, least=1)
    asked = table[table["dimension"] == dimension]
    scale = str(asked["scale"].iloc[0])
    low, high = map(int, scale.split("-"))

    def agreement(s: Floats) -> Floats:
        ordinal = alpha_of(s, of.values, "ordinal")
        if high - low < 2:
            ordinal = np.full_like(ordinal, np.nan)
        return np.stack([alpha_of(s, of.values), ordinal, fleiss_of(s, len(of.values))], axis=-1)

    said = every.values[every.value]
    stats = np.stack([said == high, said, np.ones_like(said)], axis=-1).astype(float)
    sums = add_up(every.cluster, len(every.clusters), stats)
    found = estimates(coincidences(of), agreement, n_boot, seed, level_ci)
    found += estimates(sums, lambda s: ratio(s[:, :2], s[:, 2:]), n_boot, seed, level_ci)
    row: dict[str, object] = {"dimension": dimension, "scale": scale}
    names = ("alpha_nominal", "alpha_ordinal", "fleiss", "prevalence", "mean")
    for name, one in zip(names, found, strict=True):
        row |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    row |= dict(zip(COUNTS, _counts(of), strict=True))
    if judges is not None:
        asked = asked[asked["judge_id"].isin(judges)]
    return row | {"n_verdicts": len(said), "n_missing": len(asked) - len(said)}
