"""A panel of judges as arrays, and clustered resamples of whatever is summed over it.

Tables are those of :func:`cqa_helpers.records.to_table`; a unit is a cell, that is an item and a
dimension. A measure of a panel is a function of sums over units, so a resample of clusters is a
weighted sum over clusters, and all resamples are one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from cqa_helpers.agreement import Chance, Floats, Interval, Seed, interval, limited, resample
from cqa_helpers.pairing import CELL, Clusters, cluster_codes, ok_rows

Codes = NDArray[np.intp]
Progress = Callable[[int, int], None] | None

# Numbers that one chunk of resamples may hold: 8 MB, and a few times that while it is computed.
CHUNK = 2**20


class Panel(NamedTuple):
    """Verdicts as codes, one entry a verdict, of units with enough of them.

    ``unit``, ``stratum``, ``cluster``, ``judge`` and ``value`` are indices: of units, of the
    strata within which chance is taken, and into the names that follow. ``n_single`` counts the
    units that have fewer than two values, one or none.
    """

    unit: Codes
    stratum: Codes
    cluster: Codes
    judge: Codes
    value: Codes
    judges: tuple[str, ...]
    clusters: tuple[str, ...]
    scales: tuple[str, ...]
    values: Floats
    n_units: int
    n_strata: int
    n_items: int
    n_single: int


def panel(
    table: pd.DataFrame,
    judges: Sequence[str] | None = None,
    dimension: str | None = None,
    clusters: Clusters = None,
    chance: Chance = "within-dimension",
    least: int = 2,
) -> Panel:
    """Return these judges' verdicts, by default all judges', on units with ``least`` or more.

    Raises
    ------
    ValueError
        An unknown judge or dimension; a judge with several verdicts on one unit, who would agree
        with themself; a stratum with several scales; an item without a cluster.
    """
    if dimension is not None and dimension not in set(table["dimension"]):
        known = ", ".join(sorted(set(table["dimension"]))) or "none"
        raise ValueError(f"no rows of dimension {dimension!r}; the table has {known}")
    named = sorted(set(table["judge_id"])) if judges is None else list(judges)
    asked = table[table["judge_id"].isin(named)].reset_index(drop=True)
    rows = ok_rows(asked, named)
    if dimension is not None:
        asked = asked[asked["dimension"] == dimension]
        rows = rows[rows["dimension"] == dimension]
    if (twice := rows.duplicated([*CELL, "judge_id"])).any():
        item, where, judge = rows.loc[twice, [*CELL, "judge_id"]].iloc[0]
        raise ValueError(f"{judge} has several verdicts on {item}, {where}: keep one repeat")
    rows = rows.assign(scale=asked.loc[rows.index, "scale"])
    unit = rows.groupby(CELL, sort=False).ngroup().to_numpy(np.intp)
    size = np.bincount(unit, minlength=1)
    n_single = len(asked[CELL].drop_duplicates()) - int((size >= 2).sum())
    enough = size[unit] >= least
    rows, unit = rows[enough], pd.factorize(unit[enough])[0]
    together = chance == "pooled" or dimension is not None
    strata = np.zeros(len(rows), np.intp) if together else pd.factorize(rows["dimension"])[0]
    if (rows["scale"].groupby(strata).nunique() > 1).any():
        raise ValueError(
            f"verdicts on scales {', '.join(sorted(set(rows['scale'])))} cannot be pooled: "
            "name one dimension, or take chance within dimensions"
        )
    cluster, names = cluster_codes(rows, clusters)
    judge, who = pd.factorize(rows["judge_id"], sort=True)
    value, values = pd.factorize(rows["value"].to_numpy(dtype=float), sort=True)
    return Panel(
        unit, strata, cluster, judge, value, tuple(who), names, tuple(sorted(set(rows["scale"]))),
        values, n_units=int(unit.max(initial=-1)) + 1, n_strata=int(strata.max(initial=-1)) + 1,
        n_items=rows["item_id"].nunique(), n_single=n_single,
    )  # fmt: skip


def require_one_scale(of: Panel, what: str) -> None:
    """Refuse a panel whose dimensions have different scales.

    Raises
    ------
    ValueError
        They do; the message says what needs one.
    """
    if len(of.scales) > 1:
        raise ValueError(f"{what} needs one scale, not {', '.join(of.scales)}: name one dimension")


def colleagues(of: Panel) -> pd.DataFrame:
    """Return every verdict beside each other one on its unit, in both orders.

    Returns
    -------
    pandas.DataFrame
        Columns ``unit``, ``stratum``, ``cluster``, and ``judge`` and ``value`` with ``_a`` and
        ``_b``, as codes.
    """
    own = pd.DataFrame({"unit": of.unit, "judge": of.judge, "value": of.value})
    place = own.assign(stratum=of.stratum, cluster=of.cluster)
    both = place.merge(own, on="unit", suffixes=("_a", "_b"))
    return both[both["judge_a"] != both["judge_b"]]


def add_up(codes: Codes, n: int, stats: Floats) -> Floats:
    """Return the sums of rows of ``stats`` with the same code, ``(n, ...)``."""
    width = int(np.prod(stats.shape[1:]))
    where = csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), (n, len(codes)))
    return (where @ stats.reshape(len(codes), width)).reshape(n, *stats.shape[1:])


def bootstrap(
    sums: Floats,
    measure: Callable[[Floats], Floats],
    n_boot: int,
    seed: Seed,
    progress: Progress = None,
) -> Floats:
    """Return a measure on resamples of clusters.

    Parameters
    ----------
    sums
        Each cluster's, ``(clusters, ...)``.
    measure
        Takes sums with the resamples in front, ``(resamples, ...)``, and keeps that axis.
    progress
        Is told the rounds done and their number. Rounds are drawn in chunks, for memory; the
        draws do not depend on the size of the chunks.
    """
    rng = np.random.default_rng(seed)
    flat = sums.reshape(len(sums), int(np.prod(sums.shape[1:])))
    step = max(1, CHUNK // max(1, *flat.shape))
    drawn = []
    for start in range(0, max(n_boot, 1), step):
        times = resample(len(sums), min(step, n_boot - start), rng).astype(float)
        drawn.append(measure((times @ flat).reshape(len(times), *sums.shape[1:])))
        if progress is not None:
            progress(min(start + step, n_boot), n_boot)
    return np.concatenate(drawn)


def estimates(
    sums: Floats,
    measure: Callable[[Floats], Floats],
    n_boot: int,
    seed: Seed,
    level_ci: float = 0.95,
    progress: Progress = None,
) -> list[Interval]:
    """Return the intervals of measures ``(resamples, measures)`` of each cluster's sums.

    Limits are as in :func:`cqa_helpers.agreement.limited`.
    """
    values = measure(sums.sum(0, keepdims=True))[0]
    if not len(sums):
        return [interval(float(v), [], level_ci) for v in values]
    draws = bootstrap(sums, measure, n_boot, seed, progress).T
    return [
        limited(interval(float(v), d, level_ci), len(sums))
        for v, d in zip(values, draws, strict=True)
    ]


def ratio(above: Floats, below: Floats) -> Floats:
    """Return ``above / below``, nan where nothing stands below."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)


def fixed(seed: Seed) -> int:
    """Return a seed that gives the same resamples each time it is used."""
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**63))
    return seed
