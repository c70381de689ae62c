"""Does a verdict stand when only the words change, and does it follow the reason before it?

Sampling flips verdicts by itself, so a rewording is set against a second draw of the very same
question: only the excess means something. Clusters (works) and repeats (seeds) are resampled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cqa_helpers.agreement import Floats, Interval, Seed, interval, limited, resample
from cqa_helpers.pairing import CELL, Clusters, cluster_codes

KEY = [*CELL, "repeat"]


class Flips(NamedTuple):
    """The share of cells whose verdict differs between two askings of one judge.

    A cell is an item and a dimension, asked of one repeat. ``n_unparsed`` are the cells without a
    readable verdict in one asking or both, ``n_unmatched`` those that were asked once only.
    """

    rate: Interval
    by_repeat: dict[int, float | None]
    n_cells: int
    n_unparsed: int
    n_unmatched: int
    n_clusters: int


class Excess(NamedTuple):
    """Flips under a rewording less flips between two draws, on cells readable in all three.

    No excess where the ``noise`` is near a half says nothing: a judge who guesses cannot be put
    off.
    """

    excess: Interval
    reworded: Interval
    noise: Interval
    by_repeat: dict[int, float | None]
    n_cells: int
    n_unparsed: int
    n_unmatched: int
    n_clusters: int


class Consistency(NamedTuple):
    """The share of verdicts that follow the reason put before them.

    ``balanced`` is the mean of that share over reasons for the high and for a lower verdict: a
    judge who always answers the same stands at exactly a half; null where all argue alike.
    """

    follows: Interval
    balanced: Interval
    by_repeat: dict[int, float | None]
    n_reasons: int
    n_missing: int
    n_clusters: int


class VoiceGap(NamedTuple):
    """Consistency by voice, and the second's share less the first's on cells that have both."""

    first: Consistency
    second: Consistency
    difference: Interval


def flip_rate(
    a: pd.DataFrame,
    b: pd.DataFrame,
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
) -> Flips:
    """Return how often two askings of one judge differ, repeat by repeat on the same cells.

    Tables are those of :func:`cqa_helpers.records.to_table`; both name items alike.

    Raises
    ------
    ValueError
        Several judges in the tables, a cell that stands twice in one, or an item without a
        cluster.
    """
    rows, asked, unmatched = _beside([a, b])
    differ = _differ(rows, 0, 1)
    (rate,), by_repeat, n = _shares([differ], rows, clusters, n_boot, seed, level)
    return Flips(rate, by_repeat[0], len(rows), asked - len(rows), unmatched, n)


def excess_flips(
    a: pd.DataFrame,
    b: pd.DataFrame,
    again: pd.DataFrame,
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
) -> Excess:
    """Return flips from ``a`` to its rewording ``b``, less those from ``a`` to ``again``.

    ``again`` is a second draw of the question that gave ``a``. The reworded question may ask in
    another voice, or of a passage told in other words under its original's id.

    Raises
    ------
    ValueError
        As :func:`flip_rate`.
    """
    rows, asked, unmatched = _beside([a, b, again])
    flipped, noise = _differ(rows, 0, 1), _differ(rows, 0, 2)
    (reworded, by_chance, excess), by_repeat, n = _shares(
        [flipped, noise, flipped - noise], rows, clusters, n_boot, seed, level
    )
    return Excess(
        excess, reworded, by_chance, by_repeat[2], len(rows), asked - len(rows), unmatched, n
    )


def consistency(
    reasons: pd.DataFrame,
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
    positive: int = 1,
) -> Consistency:
    """Return how often a model's verdict is the one that the given reason argues for.

    ``reasons`` has ``item_id``, ``dimension``, ``argued`` (the verdict argued for; ``positive``
    or more is high), ``probability`` (of the high verdict after the reason) and, for several
    seeds, ``repeat``. The verdict is high where the probability is above a half; exactly a half
    counts half. Rows without a probability are counted and not scored.

    Raises
    ------
    ValueError
        An item without a cluster.
    """
    rows, n_missing = _followed(reasons, positive)
    parts = [rows["follows"], rows["follows"].where(rows["high"]),
             rows["follows"].where(~rows["high"])]  # fmt: skip
    (follows, *_), by_repeat, n = _shares(parts, rows, clusters, n_boot, seed, level)
    values, draws, _ = _drawn(parts[1:], rows, clusters, n_boot, seed)
    balanced = limited(interval(float(np.mean(values)), draws.mean(0), level), n)
    return Consistency(follows, balanced, by_repeat[0], len(rows), n_missing, n)


def voice_gap(
    reasons: pd.DataFrame,
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
    positive: int = 1,
) -> VoiceGap:
    """Return :func:`consistency` where reasons keep the first voice and where they are reworded.

    ``reasons`` has a column ``voice`` with ``first`` and ``second`` besides.
    """
    first, second = (
        consistency(reasons[reasons["voice"] == v], clusters, n_boot, seed, level, positive)
        for v in ("first", "second")
    )
    rows, _ = _followed(reasons, positive)
    wide = rows.pivot_table(index=KEY, columns="voice", values="follows").reset_index()
    if not {"first", "second"} <= set(wide.columns):
        return VoiceGap(first, second, Interval(None, None, None))
    wide = wide.dropna(subset=["first", "second"])
    gap = wide["second"] - wide["first"]
    (difference,), _, _ = _shares([gap], wide, clusters, n_boot, seed, level)
    return VoiceGap(first, second, difference)


def _followed(reasons: pd.DataFrame, positive: int) -> tuple[pd.DataFrame, int]:
    known = reasons[reasons["probability"].notna()]
    high = known["argued"].astype(int) >= positive
    p = known["probability"].astype(float)
    follows = (np.sign(p - 0.5) * np.where(high, 1, -1) + 1) / 2
    rows = known.assign(high=high, follows=follows, repeat=known.get("repeat", 0))
    return rows, len(reasons) - len(known)


def _beside(tables: list[pd.DataFrame]) -> tuple[pd.DataFrame, int, int]:
    """Return the cells readable in all askings, how many all asked, and how many not all asked."""
    if len(names := sorted({j for t in tables for j in t["judge_id"]})) > 1:
        raise ValueError(f"flips are of one judge; the tables hold {', '.join(names)}")
    keyed = []
    for k, table in enumerate(tables):
        if (twice := table.duplicated(KEY)).any():
            cell = ", ".join(map(str, table.loc[twice, KEY].iloc[0]))
            raise ValueError(
                f"{int(twice.sum())} cell(s) stand twice in one asking, the first {cell}: give "
                "each draw its own table or repeat"
            )
        keyed.append(table.set_index(KEY)["value"].rename(k))
    asked = pd.concat(keyed, axis=1, join="inner")
    either = pd.concat(keyed, axis=1, join="outer")
    return asked.dropna().reset_index(), len(asked), len(either) - len(asked)


def _differ(rows: pd.DataFrame, one: int, other: int) -> pd.Series:
    return (rows[one] != rows[other]).astype(float)


def _shares(
    parts: list[pd.Series],
    rows: pd.DataFrame,
    clusters: Clusters,
    n_boot: int,
    seed: Seed,
    level: float,
) -> tuple[list[Interval], list[dict[int, float | None]], int]:
    """Return the mean of each part with limits, and by repeat, and the number of clusters."""
    values, draws, n = _drawn(parts, rows, clusters, n_boot, seed)
    found = [limited(interval(v, d, level), n) for v, d in zip(values, draws, strict=True)]
    means = [part.groupby(rows["repeat"]).mean() for part in parts]
    by_repeat = [
        {
            int(r): None if np.isnan(m) else float(m)
            for r, m in zip(s.index, s.tolist(), strict=True)
        }
        for s in means
    ]
    return found, by_repeat, n


def _drawn(
    parts: list[pd.Series], rows: pd.DataFrame, clusters: Clusters, n_boot: int, seed: Seed
) -> tuple[Floats, Floats, int]:
    """Return each part's mean and its resampled means, all parts on the same draws."""
    if rows.empty:
        return np.full(len(parts), np.nan), np.full((len(parts), n_boot), np.nan), 0
    code, names = cluster_codes(rows, clusters)
    repeat, repeats = pd.factorize(rows["repeat"], sort=True)
    rng = np.random.default_rng(seed)
    times = resample(len(names), n_boot, rng).astype(float)
    picks = resample(len(repeats), n_boot, rng).astype(float)
    values, draws = [], []
    for part in parts:
        sums = _sums(part.fillna(0), code, repeat, len(names), len(repeats))
        sizes = _sums(part.notna().astype(float), code, repeat, len(names), len(repeats))
        with np.errstate(invalid="ignore", divide="ignore"):
            values.append(sums.sum() / sizes.sum())
            draws.append(((times @ sums) * picks).sum(1) / ((times @ sizes) * picks).sum(1))
    return np.array(values), np.array(draws), len(names)


def _sums(
    part: pd.Series, code: NDArray[np.intp], repeat: NDArray[np.intp], n: int, k: int
) -> Floats:
    table = np.zeros((n, k))
    np.add.at(table, (code, repeat), part.to_numpy(dtype=float))
    return table
