"""The search behind a design: who meets what, under which label, and when.

Raters, passages and judges are numbers here. Sets of judges and orders of labels are annealed:
one sheet at a time draws an option by how near to equal it brings the counts, ever more strictly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

Ints = NDArray[np.int64]
# More orders of a sheet, or sets of judges, than these are not tried: a sample serves as well.
MOST_OPTIONS = 120
HEAT = (*np.geomspace(6, 0.3, 18), *[0.0] * 6)
SWAPS = 2000


def incidence(
    shape: tuple[int, int],
    total: int,
    barred: Collection[tuple[int, int]],
    rng: np.random.Generator,
) -> NDArray[np.bool_] | None:
    """Return raters × passages with equal counts both ways, or None where barred pairs forbid it.

    A transport problem: its corners are whole numbers, and a random cost draws one of them. Then
    raters are exchanged until each two share as many passages as any other two.
    """
    n_raters, n_passages = shape
    rows, columns = np.divmod(np.arange(n_raters * n_passages), n_passages)
    one = np.ones(len(rows))
    sums = sparse.vstack(
        [
            sparse.csr_matrix((one, (rows, np.arange(len(rows))))),
            sparse.csr_matrix((one, (columns, np.arange(len(rows))))),
        ]
    )
    least = np.repeat([total // n_raters, total // n_passages], [n_raters, n_passages])
    most = np.repeat([-(-total // n_raters), -(-total // n_passages)], [n_raters, n_passages])
    upper = np.ones(len(rows))
    for r, p in barred:
        upper[r * n_passages + p] = 0
    found = linprog(
        rng.random(len(rows)),
        A_ub=sparse.vstack([sums, -sums]),
        b_ub=np.concatenate([most, -least]),
        A_eq=sparse.csr_matrix(one[None, :]),
        b_eq=[total],
        bounds=np.column_stack([np.zeros(len(rows)), upper]),
        method="highs-ds",
    )
    if found.x is None:
        return None
    given = np.asarray(found.x).reshape(shape) > 0.5
    return _evened(given, upper.reshape(shape) > 0, rng)


def _evened(
    given: NDArray[np.bool_], allowed: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Exchange passages between raters while that brings shared counts nearer to equal."""
    given = given.copy()
    n_raters = len(given)
    for _ in range(SWAPS * 5):
        shared = given.astype(np.int64) @ given.T
        off = shared[~np.eye(n_raters, dtype=bool)]
        if off.size == 0 or np.ptp(off) <= 1:
            break
        for _ in range(200):
            a, b = rng.choice(n_raters, 2, replace=False)
            first = np.flatnonzero(given[a] & ~given[b] & allowed[b])
            second = np.flatnonzero(given[b] & ~given[a] & allowed[a])
            if not len(first) or not len(second):
                continue
            p, q = rng.choice(first), rng.choice(second)
            others = np.ones(n_raters, dtype=bool)
            others[[a, b]] = False
            # One exchange moves a's and b's counts with each third rater by one either way.
            moved = given[others, q].astype(np.int64) - given[others, p].astype(np.int64)
            change = (2 * moved * (shared[a, others] - shared[b, others]) + 2 * moved**2).sum()
            if change <= 0:
                given[a, [p, q]] = False, True
                given[b, [p, q]] = True, False
                if change < 0:
                    break
                shared = given.astype(np.int64) @ given.T
        else:
            break
    return given


def blocks(
    where: Ints, n_judges: int, size: int, shape: tuple[int, int], rng: np.random.Generator
) -> Ints:
    """Return the judges on each sheet (sheets × size, ascending); ``where`` is (rater, passage).

    Each two judges meet equally often first; then judges are even within a passage and a rater.
    """
    sets = _sets(n_judges, size, rng)
    if len(sets) == 1:
        return np.repeat(sets, len(where), axis=0)
    has = np.zeros((len(sets), n_judges), dtype=np.int64)
    np.put_along_axis(has, sets, 1, axis=1)
    meets = np.einsum("si,sj->sij", has, has).astype(np.int64)
    meets[:, range(n_judges), range(n_judges)] *= 2
    rater, passage = where.T
    best: tuple[int, Ints] | None = None
    for _ in range(3):
        chosen = rng.integers(0, len(sets), len(where))
        pairs = meets[chosen].sum(0)
        by_rater, by_passage = np.zeros((2, max(shape), n_judges), dtype=np.int64)
        np.add.at(by_rater, rater, has[chosen])
        np.add.at(by_passage, passage, has[chosen])
        for heat in HEAT:
            for s in rng.permutation(len(where)):
                old, r, p = chosen[s], rater[s], passage[s]
                pairs -= meets[old]
                by_rater[r] -= has[old]
                by_passage[p] -= has[old]
                cost = np.tensordot(meets, pairs, 2) + has @ (by_rater[r] + 5 * by_passage[p])
                new = _pick(cost, heat, rng)
                chosen[s] = new
                pairs += meets[new]
                by_rater[r] += has[new]
                by_passage[p] += has[new]
        spread = int(np.ptp(pairs[np.triu_indices(n_judges, 1)])) * 1000
        spread += int(np.ptp(by_passage[: shape[1]], axis=1).max())
        if best is None or spread < best[0]:
            best = spread, sets[chosen]
    assert best is not None
    return best[1]


def orders(
    where: Ints, sets: Ints, n_judges: int, shape: tuple[int, int], rng: np.random.Generator
) -> Ints:
    """Return each sheet's judges in the order of their labels, balanced by rater and over all."""
    size = sets.shape[1]
    ways = _ways(size, rng)
    rater, passage = where.T
    by_rater = np.zeros((shape[0], n_judges, size), dtype=np.int64)
    by_passage = np.zeros((shape[1], n_judges, size), dtype=np.int64)
    chosen = rng.integers(0, len(ways), len(where))
    at = np.arange(size)

    def add(s: int, sign: int) -> None:
        order = sets[s][ways[chosen[s]]]
        by_rater[rater[s], order, at] += sign
        by_passage[passage[s], order, at] += sign

    for s in range(len(where)):
        add(s, 1)
    for heat in HEAT:
        for s in rng.permutation(len(where)):
            add(s, -1)
            tables = 3 * by_rater[rater[s]] + by_rater.sum(0) + by_passage[passage[s]]
            cost = tables[sets[s][ways], at].sum(1)
            chosen[s] = _pick(cost, heat, rng)
            add(s, 1)
    return np.take_along_axis(sets, ways[chosen], axis=1)


def sequences(
    where: Ints, shown: Ints, n_judges: int, shape: tuple[int, int], rng: np.random.Generator
) -> list[Ints]:
    """Return each rater's sheets in order, no judge or passage early more often than late."""
    size = shown.shape[1]
    kinds = np.zeros((len(where), n_judges + n_judges * size), dtype=np.int64)
    for at in range(size):
        np.put_along_axis(kinds, shown[:, [at]], 1, axis=1)
        np.put_along_axis(kinds, n_judges + shown[:, [at]] * size + at, 1, axis=1)
    # A judge early or late weighs more than a judge early or late under one label.
    weight = np.repeat([4, 1], [n_judges, n_judges * size])
    lead = np.zeros(kinds.shape[1], dtype=np.int64)
    passages = np.zeros(shape[1], dtype=np.int64)
    made = []
    for r in range(shape[0]):
        order = rng.permutation(np.flatnonzero(where[:, 0] == r))
        half = len(order) // 2
        late = len(order) - half
        own = kinds[order[:half]].sum(0) - kinds[order[late:]].sum(0)
        np.add.at(passages, where[order[:half], 1], 1)
        np.add.at(passages, where[order[late:], 1], -1)
        tries = min(SWAPS, 30 * len(order)) if half else 0
        first = rng.integers(0, max(half, 1), tries)
        last = rng.integers(late, len(order), tries) if half else first
        for i, k in zip(first, last, strict=True):
            a, b = order[i], order[k]
            step = 2 * (kinds[b] - kinds[a])
            p, q = where[a, 1], where[b, 1]
            moved = weight * step
            change = 3 * (moved @ (2 * own + step)) + moved @ (2 * (own + lead) + step)
            change += 4 * ((1 - passages[p]) + (1 + passages[q]))
            if change < 0:
                order[i], order[k] = b, a
                own += step
                passages[p] -= 2
                passages[q] += 2
        lead += own
        made.append(order)
    return made


def _sets(n: int, size: int, rng: np.random.Generator) -> Ints:
    """Return the sets of judges that a sheet may hold.

    The shifts of a perfect difference set where there is one: used equally often, each two judges
    meet equally often (Bose 1939). Else all sets, or a sample of them.
    """
    if size < n and size * (size - 1) % (n - 1) == 0 and math.comb(n - 1, size - 1) <= 20_000:
        for rest in itertools.combinations(range(1, n), size - 1):
            base = np.array([0, *rest])
            gaps = np.bincount((base[:, None] - base[None, :]).ravel() % n, minlength=n)[1:]
            if np.ptp(gaps) == 0:
                return np.sort((base + np.arange(n)[:, None]) % n, axis=1)
    if math.comb(n, size) <= MOST_OPTIONS:
        return np.array(list(itertools.combinations(range(n), size)))
    drawn = {tuple(sorted(rng.choice(n, size, replace=False))) for _ in range(MOST_OPTIONS * 4)}
    return np.array(sorted(drawn))


def _ways(size: int, rng: np.random.Generator) -> Ints:
    """Return orders of a sheet: all, or shifts of some, which put each under each label once."""
    if math.factorial(size) <= MOST_OPTIONS:
        return np.array(list(itertools.permutations(range(size))))
    drawn = [rng.permutation(size) for _ in range(MOST_OPTIONS // size)]
    return np.array([np.roll(order, k) for order in drawn for k in range(size)])


def _pick(cost: Ints, heat: float, rng: np.random.Generator) -> int:
    if heat > 0:
        # The Gumbel-max draw: an option's chance falls with its cost over the heat.
        return int(np.argmin(cost - heat * rng.gumbel(size=len(cost))))
    return int(rng.choice(np.flatnonzero(cost == cost.min())))
