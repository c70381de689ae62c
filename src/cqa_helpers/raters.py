"""The single judges of a panel: two by two, with one left out, and how harsh each is.

Only cells (item and dimension) that judges share say anything about them beside each other; who
judged more, or easier ones, gains nothing by it. Intervals draw whole clusters, as in
:mod:`cqa_helpers.agreement`; judges who share few clusters get an estimate without limits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cqa_helpers.agreement import (
    Chance,
    Floats,
    Interval,
    Seed,
    Weights,
    interval,
    limited,
    stratified_kappa,
)
from cqa_helpers.pairing import Clusters
from cqa_helpers.panels import (
    Panel,
    Progress,
    bootstrap,
    colleagues,
    estimates,
    fixed,
    panel,
    ratio,
    require_one_scale,
)
from cqa_helpers.reliability import Level, alpha_of, coincidences

# Below this, limits from a bootstrap of the shared cells would mean nothing (our choice).
FEWEST_CELLS = 10
# Judges of whom some never meet, even through others, have no common zero.
UNCONNECTED = 1e-9
NOTHING = Interval(None, None, None)


def pairwise_kappa(
    table: pd.DataFrame,
    judges: Sequence[str] | None = None,
    dimension: str | None = None,
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level_ci: float = 0.95,
    weights: Weights = "unweighted",
    chance: Chance = "within-dimension",
    least: int = FEWEST_CELLS,
    progress: Progress = None,
) -> pd.DataFrame:
    """Return Cohen's kappa of each two judges on the cells that both judged.

    Parameters as in :func:`cqa_helpers.agreement.kappa_against_experts`; ``progress`` is told
    the pairs done and their number.

    Returns
    -------
    pandas.DataFrame
        ``judge_a``, ``judge_b``; ``kappa``, ``low`` and ``high``, null on fewer than ``least``
        shared cells or where nothing varies; ``raw``, the share of cells on which they agree;
        ``n_cells`` and ``n_clusters``.

    Raises
    ------
    ValueError
        As :func:`cqa_helpers.panels.panel`; or ``weights`` are given and scales differ.
    """
    of = panel(table, judges, dimension, clusters, chance)
    if weights != "unweighted":
        require_one_scale(of, "weighted kappa")
    names = _names(table, judges)
    code = {name: i for i, name in enumerate(of.judges)}
    both = dict(list(colleagues(of).groupby(["judge_a", "judge_b"])))
    same, rows = fixed(seed), []
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    for done, (a, b) in enumerate(pairs, start=1):
        shared = both.get((code.get(a, -1), code.get(b, -1)))
        row = _compare(shared, of, weights, n_boot, same, level_ci, least)
        rows.append({"judge_a": a, "judge_b": b} | row)
        if progress is not None:
            progress(done, len(pairs))
    columns = ["judge_a", "judge_b", "kappa", "low", "high", "raw", "n_cells", "n_clusters"]
    return pd.DataFrame(rows)[columns] if rows else pd.DataFrame(columns=columns)


def leave_one_out(
    table: pd.DataFrame,
    judges: Sequence[str] | None = None,
    dimension: str | None = None,
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level_ci: float = 0.95,
    level: Level = "nominal",
    weights: Weights = "unweighted",
    chance: Chance = "within-dimension",
    progress: Progress = None,
) -> pd.DataFrame:
    """Return each judge against the others, and how the panel fares without them.

    ``progress`` is told the judges done and their number.

    Returns
    -------
    pandas.DataFrame
        ``judge_id``; ``kappa`` with every other judge, over pairs of verdicts as in
        :func:`cqa_helpers.agreement.kappa_against_experts`; ``alpha_without``, Krippendorff's
        alpha of the others; ``change``, that minus the alpha of all, on the same resamples:
        above zero, the others agree better among themselves. Each with ``_low`` and ``_high``.
        Then ``n_pairs``, ``n_cells`` and ``n_clusters`` that the kappa rests on.

    Raises
    ------
    ValueError
        As :func:`cqa_helpers.panels.panel`; or scales differ and ``level`` or ``weights`` need
        one.
    """
    of = panel(table, judges, dimension, clusters, chance)
    if level == "interval" or weights != "unweighted":
        require_one_scale(of, "interval alpha or weighted kappa")
    names = _names(table, judges)
    code = {name: i for i, name in enumerate(of.judges)}
    both = dict(list(colleagues(of).groupby("judge_a")))
    same, rows = fixed(seed), []
    sums = coincidences(of)
    whole, whole_draws = _alpha(sums, of, level, n_boot, same)
    for done, name in enumerate(names, start=1):
        own = _compare(both.get(code.get(name, -1)), of, weights, n_boot, same, level_ci, 1)
        others = [other for other in names if other != name]
        without = NOTHING
        change = NOTHING
        if len(others) > 1:
            rest = panel(table, others, dimension, clusters, chance)
            # The same clusters in the same places as for the whole panel: the draws are paired.
            left = coincidences(rest)
            sums = np.zeros((len(of.clusters), *left.shape[1:]))
            sums[pd.Index(of.clusters).get_indexer(pd.Index(rest.clusters))] = left
            value, draws = _alpha(sums, rest, level, n_boot, same)
            carry = len(rest.clusters)
            without = limited(interval(value, draws, level_ci), carry)
            change = limited(interval(value - whole, draws - whole_draws, level_ci), carry)
        rows.append({
            "judge_id": name,
            "kappa": own["kappa"], "kappa_low": own["low"], "kappa_high": own["high"],
            **_spread("alpha_without", without), **_spread("change", change),
            **{n: own[n] for n in ("n_pairs", "n_cells", "n_clusters")},
        })  # fmt: skip
        if progress is not None:
            progress(done, len(names))
    return pd.DataFrame(rows)


def harshness(
    table: pd.DataFrame,
    judges: Sequence[str] | None = None,
    dimension: str | None = None,
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level_ci: float = 0.95,
    progress: Progress = None,
) -> pd.DataFrame:
    """Return how far each judge's values stand above the others' on the same cells.

    ``difference`` is the mean over co-judged cells of a judge's value minus the mean of the
    others' there. Where panels are uneven it also tells whom a judge sat with: a fair judge
    beside harsh ones looks mild. ``adjusted`` takes that out: the judges' effects, with mean
    zero, in a least-squares model of cell plus judge (our choice); null if some judges never
    meet, even through others. Both in units of the scale, below zero for a harsh judge.

    Returns
    -------
    pandas.DataFrame
        ``judge_id``, ``difference`` and ``adjusted``, each with ``_low`` and ``_high``,
        ``n_cells`` and ``n_clusters`` co-judged.

    Raises
    ------
    ValueError
        As :func:`cqa_helpers.panels.panel`; or scales differ.
    """
    of = panel(table, judges, dimension, clusters)
    require_one_scale(of, "harshness")
    n, sums = len(of.judges), _centred(of)
    code = {name: i for i, name in enumerate(of.judges)}
    found = estimates(
        sums,
        lambda s: np.concatenate([ratio(s[:, 0], s[:, 1]), _effects(s)], axis=1),
        n_boot, seed, level_ci, progress,
    )  # fmt: skip
    rows = []
    for name in _names(table, judges):
        i = code.get(name)
        cells = np.zeros(0) if i is None else sums[:, 1, i]
        own = int((cells > 0).sum())
        rows.append({
            "judge_id": name,
            **_spread("difference", NOTHING if i is None else limited(found[i], own)),
            **_spread("adjusted", NOTHING if i is None else limited(found[n + i], own)),
            "n_cells": int(cells.sum()), "n_clusters": own,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _names(table: pd.DataFrame, judges: Sequence[str] | None) -> list[str]:
    return sorted(set(table["judge_id"])) if judges is None else list(judges)


def _spread(name: str, one: Interval) -> dict[str, float | None]:
    return {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}


def _compare(
    rows: pd.DataFrame | None,
    of: Panel,
    weights: Weights,
    n_boot: int,
    seed: int,
    level_ci: float,
    least: int,
) -> dict[str, float | int | None]:
    """Return kappa over rows of :func:`colleagues`, drawing the clusters that stand in them."""
    if rows is None:
        rows = pd.DataFrame(columns=["unit", "cluster", "stratum", "value_a", "value_b"], dtype=int)
    there, cluster = np.unique(rows["cluster"], return_inverse=True)
    shape = (len(there), of.n_strata, len(of.values), len(of.values))
    place = (cluster, *(rows[c].to_numpy() for c in ("stratum", "value_a", "value_b")))
    counts = np.zeros(shape)
    np.add.at(counts, place, 1)
    n_cells = rows["unit"].nunique()
    found, scale = NOTHING, [int(v) for v in of.values]
    if n_cells >= max(least, 1):
        (found,) = estimates(
            counts, lambda s: stratified_kappa(s, scale, weights)[:, None],
            n_boot, seed, level_ci,
        )  # fmt: skip
    return {
        "kappa": found.value, "low": found.low, "high": found.high,
        "raw": float((rows["value_a"] == rows["value_b"]).mean()) if n_cells else None,
        "n_pairs": len(rows), "n_cells": n_cells, "n_clusters": len(there),
    }  # fmt: skip


def _alpha(sums: Floats, of: Panel, level: Level, n_boot: int, seed: int) -> tuple[float, Floats]:
    value = float(alpha_of(sums.sum(0), of.values, level))
    if not len(sums):
        return value, np.empty(0)
    return value, bootstrap(sums, lambda s: alpha_of(s, of.values, level), n_boot, seed)


def _centred(of: Panel) -> Floats:
    """Return each cluster's sums ``(clusters, 3 + judges, judges)``.

    First each judge's differences from the others, then cells, then differences from the cell's
    mean; below them the normal equations of the judges' effects with the cells' taken out.
    """
    n, size = len(of.judges), np.bincount(of.unit, minlength=1).astype(float)
    said, m = of.values[of.value], size[of.unit]
    total = np.bincount(of.unit, said, minlength=len(size))[of.unit]
    sums = np.zeros((len(of.clusters), 3 + n, n))
    columns = (m * said - total) / (m - 1), np.ones(len(said)), said - total / m
    for i, column in enumerate(columns):
        np.add.at(sums[:, i], (of.cluster, of.judge), column)
    np.add.at(sums, (of.cluster, 3 + of.judge, of.judge), 1 - 1 / m)
    both = colleagues(of)
    a, b = (both[c].to_numpy() for c in ("judge_a", "judge_b"))
    np.add.at(sums, (both["cluster"].to_numpy(), 3 + a, b), -1 / size[both["unit"].to_numpy()])
    return sums


def _effects(sums: Floats) -> Floats:
    """Return the judges' effects from sums of :func:`_centred`; nan who is not in a resample."""
    present = (sums[:, 1] > 0).astype(float)
    most = sums[:, 1].max(-1, initial=1)
    absent = np.eye(present.shape[1]) * (1 - present)[:, :, None]
    zero_mean = present[:, :, None] * present[:, None, :]
    system = sums[:, 3:] / most[:, None, None] + zero_mean + absent
    connected = np.linalg.eigvalsh(system).min(-1, initial=1) > UNCONNECTED
    system[~connected] = np.eye(present.shape[1])
    solved = np.linalg.solve(system, (sums[:, 2] / most[:, None])[:, :, None])[:, :, 0]
    return np.where(connected[:, None] & (present > 0), solved, np.nan)
