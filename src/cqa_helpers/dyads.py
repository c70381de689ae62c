"""Estimates from pairs whose members stand in several pairs: drawing them, and their intervals.

Two pairs that share a work are not independent, whichever of their passages it gave. Clusters of
pairs do not exist then; the variance adds up over all pairs that share a work (Aronow, Samii and
Assenova 2015, eq. 3).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from cqa_helpers.agreement import Interval, limited

# Rings that are drawn to keep items of one owner apart; the best is taken.
TRIES = 50


def neighbours(
    kinds: Sequence[Hashable], owners: Sequence[str], each: int, seed: int
) -> list[tuple[int, int]]:
    """Return pairs of items of one kind and of two owners.

    Items of a kind are set in a seeded ring, and each is paired with its ``each`` nearest; with
    fewer where there are not so many others, or where they have the same owner.

    Raises
    ------
    ValueError
        ``each`` is not even, or below 2.
    """
    if each < 2 or each % 2:
        raise ValueError(f"each item in {each} pairs: it must be even, and 2 or more")
    alike: dict[Hashable, list[int]] = defaultdict(list)
    for i, kind in enumerate(kinds):
        alike[kind].append(i)
    names = np.asarray(owners)
    rng = np.random.default_rng(seed)
    drawn: set[tuple[int, int]] = set()
    for members in alike.values():
        steps = range(1, min(each // 2, len(members) - 1) + 1)

        def met(ring: NDArray[np.intp], steps: range = steps) -> int:
            return sum(int((names[ring] == names[np.roll(ring, s)]).sum()) for s in steps)

        ring = min((rng.permutation(members) for _ in range(TRIES)), key=met)
        for step in steps:
            for a, b in zip(ring.tolist(), np.roll(ring, step).tolist(), strict=True):
                if names[a] != names[b]:
                    drawn.add((min(a, b), max(a, b)))
    return sorted(drawn)


def share(
    right: ArrayLike, first: Sequence[str], second: Sequence[str], level: float = 0.95
) -> Interval:
    """Return a share of pairs with limits that hold where pairs share works; a tie is a half.

    Clopper and Pearson's limits at the number of independent pairs that would vary as much (Korn
    and Graubard 1998). Where nothing varies that number is half the works: so many pairs can have
    none in common (our choice). No limits with fewer than five works.

    Parameters
    ----------
    right
        0, ½ or 1 for each pair.
    first, second
        The works of each pair.
    """
    y = np.asarray(right, dtype=float)
    works = len({*first, *second})
    if len(y) == 0:
        return Interval(None, None, None)
    if works < 2:
        return Interval(float(y.mean()), None, None)
    p, variance = float(y.mean()), _variance(y, first, second)
    if 0 < p < 1 and variance > 0:
        n = min(p * (1 - p) / variance, len(y))
        z, t = (d.ppf((1 + level) / 2) for d in (stats.norm(), stats.t(works - 1)))
        n *= float(z / t) ** 2
    else:
        n = works // 2
    tail, k = (1 - level) / 2, n * p
    low = float(stats.beta.ppf(tail, k, n - k + 1)) if p > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, k + 1, n - k)) if p < 1 else 1.0
    return limited(Interval(p, low, high), works)


def mean(
    values: ArrayLike, first: Sequence[str], second: Sequence[str], level: float = 0.95
) -> Interval:
    """Return a mean over pairs with limits from t at one less than the number of works.

    No limits with fewer than five works, or where nothing varies.
    """
    y = np.asarray(values, dtype=float)
    works = len({*first, *second})
    if len(y) == 0:
        return Interval(None, None, None)
    value = float(y.mean())
    if works < 2 or np.ptp(y) == 0:
        return Interval(value, None, None)
    half = float(stats.t.ppf((1 + level) / 2, works - 1))
    half *= math.sqrt(_variance(y, first, second))
    return limited(Interval(value, value - half, value + half), works)


def _variance(y: NDArray[np.float64], first: Sequence[str], second: Sequence[str]) -> float:
    """Return the variance of the mean over pairs, never less than for independent pairs."""
    away = y - y.mean()
    by_work: dict[str, float] = defaultdict(float)
    by_both: dict[tuple[str, str], float] = defaultdict(float)
    for a, b, e in zip(first, second, away.tolist(), strict=True):
        by_work[a] += e
        if a != b:
            by_work[b] += e
            by_both[min(a, b), max(a, b)] += e
    works = len(by_work)
    # Pairs of the same two works meet under both, and count once.
    whole = sum(s * s for s in by_work.values()) - sum(s * s for s in by_both.values())
    alone = float((away**2).sum())
    return max(whole, alone) / len(y) ** 2 * works / (works - 1)
