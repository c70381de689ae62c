"""Does the same question get the same answer: asked again, asked otherwise, the order swapped?

A cell is an item and a dimension. Only verdicts that have a value are compared; what is lost on
the way is counted. Clusters are resampled; a judge's repeats enter as they are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from cqa_helpers.agreement import Floats, Interval, Seed
from cqa_helpers.pairing import CELL, Clusters, cluster_codes, ok_rows
from cqa_helpers.panels import add_up, estimates, ratio

KEY = [*CELL, "repeat"]


class Repeats(NamedTuple):
    """How alike a judge's repeats are on a cell.

    ``same`` is the share of pairs of repeats with the same verdict; ``spread`` the standard
    deviation of the probability within a cell, averaged over cells (with n - 1, so a mean of few
    repeats each falls a little short). Null where no cell has two. ``n_single`` counts the cells
    with fewer than two verdicts, one or none.
    """

    judge_id: str
    same: Interval
    spread: Interval
    n_cells: int
    n_pairs: int
    n_single: int
    n_clusters: int


class Comparison(NamedTuple):
    """A judge asked as declared and asked with a change, on cells that have a verdict in both.

    ``same`` is the share of cells with equal verdicts; ``shift`` the mean of changed minus
    declared verdicts (the share of yes where verdicts are 0 or 1); ``moved`` the mean absolute
    change of the probability, where both have one. A judge that samples differs from itself
    without any change: set ``same`` beside :func:`repeats`. ``n_lost`` counts the cells without a
    verdict in one asking or both.
    """

    judge_id: str
    same: Interval
    shift: Interval
    moved: Interval
    n_cells: int
    n_lost: int
    n_clusters: int


class Position(NamedTuple):
    """Pairs judged in both orders.

    ``consistent`` is the share of pairs in which the same text wins both times, ``first`` the
    share of all verdicts that go to the text that stands first: .5 for a judge without a liking
    for a place, who may still be inconsistent. ``n_lost`` counts pairs without a verdict in one
    order or both.
    """

    judge_id: str
    consistent: Interval
    first: Interval
    n_cells: int
    n_lost: int
    n_clusters: int


def repeats(
    table: pd.DataFrame,
    judge_id: str,
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
) -> Repeats:
    """Return how often two repeats of a judge agree on a cell, each pair counting alike.

    Raises
    ------
    ValueError
        An unknown judge, a repeat that stands twice, or an item without a cluster.
    """
    rows = _answers(table, judge_id, "table")
    n_asked = len(table.loc[table["judge_id"] == judge_id, CELL].drop_duplicates())
    alike = rows.groupby([*CELL, "value"]).size()
    of_cell = rows.groupby(CELL)
    cells = of_cell.size().rename("n").reset_index()
    cells["pairs"] = cells["n"] * (cells["n"] - 1) / 2
    cells["same"] = (alike * (alike - 1) / 2).groupby(CELL).sum().to_numpy(dtype=float)
    cells["sd"] = of_cell["probability"].std().to_numpy(dtype=float, na_value=np.nan)
    cells = cells[cells["n"] > 1]
    parts = [
        (cells["same"].to_numpy(dtype=float), cells["pairs"].to_numpy(dtype=float)),
        _mean_of(cells["sd"].to_numpy(dtype=float)),
    ]
    (same, spread), n = _shares(cells, parts, clusters, n_boot, seed, level)
    n_pairs = int(cells["pairs"].sum())
    return Repeats(judge_id, same, spread, len(cells), n_pairs, n_asked - len(cells), n)


def compare(
    declared: pd.DataFrame,
    changed: pd.DataFrame,
    judge_id: str,
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
) -> Comparison:
    """Return what a change of the question (options swapped, rubric shuffled) does to a judge.

    Cells are matched repeat by repeat.

    Raises
    ------
    ValueError
        A judge without rows in either table, a cell that stands twice in one asking, or an item
        without a cluster.
    """
    rows, n_lost = _beside(declared, changed, judge_id, ("declared", "changed"))
    a, b = (rows[f"value_{k}"].to_numpy(dtype=float) for k in (0, 1))
    p, q = (rows[f"probability_{k}"].to_numpy(dtype=float, na_value=np.nan) for k in (0, 1))
    parts = [_mean_of((a == b).astype(float)), _mean_of(b - a), _mean_of(np.abs(q - p))]
    (same, shift, moved), n = _shares(rows, parts, clusters, n_boot, seed, level)
    return Comparison(judge_id, same, shift, moved, len(rows), n_lost, n)


def position(
    table_ab: pd.DataFrame,
    table_ba: pd.DataFrame,
    judge_id: str,
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
) -> Position:
    """Return whether a judge of pairs follows the text or the place where it stands.

    Items are pairs and named alike in both tables; the value 1 says that the text shown first is
    better, 0 the second. ``table_ba`` shows each pair the other way round.

    Raises
    ------
    ValueError
        As :func:`compare`; or a value that is neither 0 nor 1.
    """
    rows, n_lost = _beside(table_ab, table_ba, judge_id, ("first order", "second order"))
    a, b = (rows[f"value_{k}"].to_numpy(dtype=float) for k in (0, 1))
    if odd := sorted({*a, *b} - {0.0, 1.0}):
        raise ValueError(
            f"{judge_id}: verdicts on pairs are 1 (the first text is better) or 0, not "
            f"{', '.join(f'{v:g}' for v in odd)}: leave ties out, and count them"
        )
    parts = [_mean_of((a != b).astype(float)), _mean_of((a + b) / 2)]
    (consistent, first), n = _shares(rows, parts, clusters, n_boot, seed, level)
    return Position(judge_id, consistent, first, len(rows), n_lost, n)


def _answers(table: pd.DataFrame, judge_id: str, name: str) -> pd.DataFrame:
    whole = table.reset_index(drop=True)
    rows = ok_rows(whole, [judge_id])
    rows = rows.assign(repeat=whole.loc[rows.index, "repeat"])
    if (twice := rows.duplicated(KEY)).any():
        cell = ", ".join(map(str, rows.loc[twice, KEY].iloc[0]))
        raise ValueError(f"{name}: {int(twice.sum())} cell(s) stand twice, the first {cell}")
    return rows


def _beside(
    one: pd.DataFrame, other: pd.DataFrame, judge_id: str, names: tuple[str, str]
) -> tuple[pd.DataFrame, int]:
    """Return the cells with a value in both tables, and how many of those asked have not."""
    asked: set[tuple[object, ...]] = set()
    for table in (one, other):
        mine = table.loc[table["judge_id"] == judge_id, KEY]
        asked |= set(mine.itertuples(index=False, name=None))
    a, b = (_answers(t, judge_id, name) for t, name in zip((one, other), names, strict=True))
    rows = a.merge(b, on=KEY, suffixes=("_0", "_1"))
    return rows, len(asked) - len(rows)


def _mean_of(values: Floats) -> tuple[Floats, Floats]:
    known = ~np.isnan(values)
    return np.where(known, values, 0.0), known.astype(float)


def _shares(
    rows: pd.DataFrame,
    parts: list[tuple[Floats, Floats]],
    clusters: Clusters,
    n_boot: int,
    seed: Seed,
    level: float,
) -> tuple[list[Interval], int]:
    """Return the ratio of each part's sums with limits, on shared draws, and how many clusters."""
    codes, names = cluster_codes(rows, clusters)
    stats = np.array(parts, dtype=float).transpose(2, 0, 1)
    sums = add_up(codes, len(names), stats) if names else np.zeros((0, len(parts), 2))
    found = estimates(sums, lambda s: ratio(s[..., 0], s[..., 1]), n_boot, seed, level)
    return found, len(names)
