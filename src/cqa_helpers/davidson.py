"""Bradley and Terry's model in Davidson's form, with ties, fitted to many tables at once.

Judge i wins with odds π_i : π_j : ν√(π_i π_j) against losing and tying (Davidson 1970). ``choix``
has no ties. ``evalica`` fits ties (Newman 2023) but has no errors, no weights and no signs of
separation, so that each bootstrap round would be a call, and a judge that always wins a silent
large number. The model is a logit with three outcomes and few parameters: Newton's steps fit all
bootstrap rounds together, without a dependency.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.csgraph import connected_components
from scipy.special import log_softmax

from cqa_helpers.agreement import Floats
from cqa_helpers.effects import recedes

# A log strength beyond this makes losing a one in a million: infinite, as far as data can say.
FARTHEST = 15.0
_STEP = 1e-9
_MAX_STEPS = 60

Pairs = Sequence[tuple[int, int]]


class Davidson(NamedTuple):
    """Log strengths that sum to zero, ν (zero without ties), and the likelihood.

    ``covariance`` is that of ``strengths``, from the information, as if pairs were independent.
    """

    strengths: Floats
    tie: float
    loglik: float
    covariance: Floats


def fit(counts: ArrayLike, pairs: Pairs) -> Davidson:
    """Return the maximum likelihood fit to counts of won, lost and tied, ``(pairs, 3)``.

    ``pairs`` are the numbers of the judges compared; won is won by the first.

    Raises
    ------
    ValueError
        Nothing is compared, judges are not connected by comparisons, or the outcomes are
        separated so that a strength is infinite.
    """
    table = np.asarray(counts, dtype=float)
    if table.ndim != 2 or table.shape != (len(pairs), 3) or not table.sum() > 0:
        raise ValueError(f"counts of shape {table.shape} for {len(pairs)} pair(s), or all zero")
    m = max(max(p) for p in pairs) + 1
    if why := trouble(table, pairs, m):
        raise ValueError(why)
    x, curve = newton(table[None], pairs, m)
    log, _, _ = _slopes(x, table[None], _outcomes(pairs, m, bool(table[:, 2].any())))
    to_zero = np.vstack([np.zeros(m - 1), np.eye(m - 1)]) - 1 / m
    covariance = to_zero @ np.linalg.inv(curve[0])[: m - 1, : m - 1] @ to_zero.T
    tie = float(np.exp(x[0, m - 1])) if x.shape[1] == m else 0.0
    return Davidson(centred(x, m)[0], tie, float(log[0]), covariance)


def _outcomes(pairs: Pairs, m: int, ties: bool) -> Floats:
    """Return each outcome's log odds as a linear form, ``(pairs, 2 or 3, parameters)``.

    Parameters are the log strengths of all judges but the first, and log ν.
    """
    strength = np.eye(m)
    forms = np.zeros((len(pairs), 3, m + 1))
    for k, (i, j) in enumerate(pairs):
        forms[k, 0, :m], forms[k, 1, :m] = strength[i], strength[j]
        forms[k, 2, :m], forms[k, 2, m] = (strength[i] + strength[j]) / 2, 1.0
    return forms[:, :, 1:] if ties else forms[:, :2, 1:m]


def _slopes(x: Floats, counts: Floats, forms: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the log-likelihood, its gradient and the information of each table of counts."""
    used = counts[:, :, : forms.shape[1]]
    logs = log_softmax(np.einsum("bk,pok->bpo", x, forms), axis=2)
    expected = np.exp(logs) * used.sum(2, keepdims=True)
    gradient = np.einsum("bpo,pok->bk", used - expected, forms)
    mean = np.einsum("bpo,pok->bpk", np.exp(logs), forms)
    information = np.einsum("bpo,pok,pol->bkl", expected, forms, forms)
    information -= np.einsum("bp,bpk,bpl->bkl", used.sum(2), mean, mean)
    return (used * logs).sum((1, 2)), gradient, information


def newton(counts: Floats, pairs: Pairs, m: int, ties: bool | None = None) -> tuple[Floats, Floats]:
    """Return each table's estimates and information; one that runs away ends far out or nan."""
    forms = _outcomes(pairs, m, bool(counts[:, :, 2].any()) if ties is None else ties)
    x = np.zeros((len(counts), forms.shape[2]))
    height, gradient, information = _slopes(x, counts, forms)
    for _ in range(_MAX_STEPS):
        # A table without some comparison has flat directions: the ridge keeps steps finite there.
        step = np.linalg.solve(information + 1e-12 * np.eye(x.shape[1]), gradient[:, :, None])[
            :, :, 0
        ]
        step = np.clip(step, -2, 2)
        new = x + step
        there = _slopes(new, counts, forms)
        worse = there[0] < height - 1e-9
        new[worse] = x[worse] + step[worse] / 4
        height, gradient, information = _slopes(new, counts, forms)
        x = new
        if not (np.abs(step)[(np.abs(x) < FARTHEST).all(1)] > _STEP).any():
            break
    return x, information


def centred(x: Floats, m: int) -> Floats:
    """Return log strengths of all judges, sum zero."""
    whole = np.column_stack([np.zeros(len(x)), x[:, : m - 1]])
    return np.asarray(whole - whole.mean(1, keepdims=True))


def trouble(counts: Floats, pairs: Pairs, m: int) -> str | None:
    """Return why strengths are not to be had, if so."""
    compared = np.zeros((m, m))
    for (i, j), total in zip(pairs, counts.sum(1), strict=True):
        compared[i, j] = total
    if connected_components(compared, directed=False)[0] > 1:
        return "judges fall into groups that were never compared with each other"
    forms = _outcomes(pairs, m, bool(counts[:, 2].any()))
    demands = [
        forms[k, o] - forms[k, other]
        for k, o in zip(*np.nonzero(counts), strict=True)
        for other in range(forms.shape[1])
        if other != o
    ]
    if recedes(np.array(demands)):
        return "some judges never lose to others, or always tie: strengths are infinite"
    return None
