"""Which verdicts are compared: each judge's beside each expert's on the same cell.

A cell is an item and a dimension. Tables are those of :func:`cqa_helpers.records.to_table`; only
rows with status ``ok`` have a value to compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

EXPERTS = "experts"
CELL = ["item_id", "dimension"]
Clusters = Mapping[str, str] | None


class PairTables(NamedTuple):
    """Pairs of verdicts: ``counts[cluster, dimension, judge's value, expert's value]``."""

    counts: NDArray[np.int64]
    clusters: tuple[str, ...]
    dimensions: tuple[str, ...]
    categories: tuple[int, ...]


def ok_rows(table: pd.DataFrame, judge_ids: Sequence[str]) -> pd.DataFrame:
    """Return the verdicts of these judges that have a value.

    Raises
    ------
    ValueError
        A judge without rows, or none named.
    """
    known = set(table["judge_id"])
    if unknown := sorted(set(judge_ids) - known):
        raise ValueError(
            f"no rows of {', '.join(unknown)}; the table has {', '.join(sorted(known)) or 'none'}"
        )
    if not judge_ids:
        raise ValueError("no judge is named")
    rows = table[table["judge_id"].isin(judge_ids) & (table["status"] == "ok")]
    return rows[[*CELL, "judge_id", "value", "probability"]]


def pairs(table: pd.DataFrame, judge_id: str, experts: Sequence[str]) -> pd.DataFrame:
    """Return each of a judge's verdicts beside each expert's on the same item and dimension.

    The yardstick is one colleague, not a majority. The judge ``"experts"`` stands for each expert
    against each other, in both orders; an expert as a judge is not compared with themself.
    Repeats of a judge enter as they are.

    Returns
    -------
    pandas.DataFrame
        Columns ``item_id``, ``dimension``, ``value``, ``probability`` and ``expert_value``.

    Raises
    ------
    ValueError
        An unknown judge or expert.
    """
    theirs = ok_rows(table, experts)
    own = theirs if judge_id == EXPERTS else ok_rows(table, [judge_id])
    both = own.merge(theirs, on=CELL, suffixes=("", "_expert"))
    both = both[both["judge_id"] != both["judge_id_expert"]]
    both = both.rename(columns={"value_expert": "expert_value"})
    return both[[*CELL, "value", "probability", "expert_value"]].reset_index(drop=True)


def cells(rows: pd.DataFrame) -> set[tuple[str, str]]:
    """Return the item and dimension of all rows, each once."""
    return set(zip(rows["item_id"], rows["dimension"], strict=True))


def cluster_codes(
    rows: pd.DataFrame, clusters: Clusters, names: Sequence[str] | None = None
) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Return the cluster of each row as an index into the names, and the names in order.

    Raises
    ------
    ValueError
        An item has no cluster.
    """
    items = rows["item_id"]
    of_row = items if clusters is None else items.map(dict(clusters))
    if of_row.isna().any():
        lost = sorted(set(items[of_row.isna()]))
        raise ValueError(f"{len(lost)} item(s) without a cluster: {', '.join(lost[:5])}")
    known = tuple(sorted(set(of_row))) if names is None else tuple(names)
    return pd.Index(known).get_indexer(pd.Index(of_row)), known


def pair_tables(
    table: pd.DataFrame,
    judge_ids: Sequence[str],
    experts: Sequence[str],
    clusters: Clusters = None,
) -> list[PairTables]:
    """Return each judge's :func:`pairs`, on the cells that all of them judged, as counts.

    The tables share clusters and categories, so that one draw of clusters serves all judges.

    Raises
    ------
    ValueError
        An unknown judge or expert, no cell in common, or an item without a cluster.
    """
    return tabulate([pairs(table, j, experts) for j in judge_ids], judge_ids, clusters)


def tabulate(
    rows: list[pd.DataFrame], judge_ids: Sequence[str], clusters: Clusters
) -> list[PairTables]:
    """Count rows of :func:`pairs`, one frame a judge, on the cells that all the frames have.

    Raises
    ------
    ValueError
        No cell in common, or an item without a cluster.
    """
    shared = set.intersection(*(cells(r) for r in rows))
    if not shared:
        raise ValueError(f"{', '.join(judge_ids)}: no verdict on a cell that the experts judged")
    kept = [
        r[[cell in shared for cell in zip(r["item_id"], r["dimension"], strict=True)]] for r in rows
    ]
    _, names = cluster_codes(pd.concat(kept), clusters)
    dimensions = pd.Index(sorted({d for _, d in shared}))
    scale = pd.Index(sorted({int(v) for r in kept for v in (*r["value"], *r["expert_value"])}))
    tables = []
    for r in kept:
        counts = np.zeros((len(names), len(dimensions), len(scale), len(scale)), dtype=np.int64)
        place = (
            cluster_codes(r, clusters, names)[0],
            dimensions.get_indexer(pd.Index(r["dimension"])),
            scale.get_indexer(pd.Index(r["value"].astype(int))),
            scale.get_indexer(pd.Index(r["expert_value"].astype(int))),
        )
        np.add.at(counts, place, 1)
        tables.append(PairTables(counts, names, tuple(dimensions), tuple(scale)))
    return tables
