"""Crossed random intercepts as vectors and a Hessian that is cheap to solve.

Each term's own block of the Hessian I + ΛZᵀWZΛ is diagonal, since a rating has one level of it.
So the term with the most levels is eliminated at no cost, and what is left is as large as the
other terms together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from cqa_helpers.agreement import Floats

Codes = NDArray[np.int64]
Effects = tuple[Floats, Floats]


class Blocks:
    """The Hessian's factors: its diagonal block, that block's ratio to the rest, the rest."""

    def __init__(self, diagonal: Floats, cross: Floats, rest: Floats) -> None:
        self.diagonal = diagonal
        self.ratio = cross / diagonal[:, None]
        left = rest - cross.T @ self.ratio
        self.factor = linalg.cho_factor(left, check_finite=False) if left.size else None

    def solve(self, first: Floats, rest: Floats) -> Effects:
        """Return the Hessian's inverse times a vector, in the same two parts."""
        if self.factor is None:
            return first / self.diagonal, rest
        x = linalg.cho_solve(self.factor, rest - self.ratio.T @ first, check_finite=False)
        return first / self.diagonal - self.ratio @ x, x

    def inverse(self) -> Floats:
        """Return the inverse's block of the rest."""
        return np.asarray(
            linalg.cho_solve(self.factor, np.eye(self.ratio.shape[1]), check_finite=False)
            if self.factor is not None
            else np.empty((0, 0))
        )

    def log_determinant(self) -> float:
        """Return the log of the Hessian's determinant."""
        rest = 0.0 if self.factor is None else 2 * np.log(np.diag(self.factor[0])).sum()
        return float(np.log(self.diagonal).sum() + rest)


class Crossed:
    """Random terms, the largest first; an effect of each is a pair (the first's, the others').

    Parameters
    ----------
    groups
        Each term's level of each rating, 0 to its number of levels − 1, or −1 where the term does
        not bear on it. ``order`` says which of them comes when here; ``sd`` below is in that
        order.
    """

    def __init__(self, groups: Sequence[Codes]) -> None:
        sizes = [int(g.max()) + 1 for g in groups]
        self.order = sorted(range(len(groups)), key=lambda t: -sizes[t])
        self.n_first = sizes[self.order[0]]
        starts = np.cumsum([0, *(sizes[t] for t in self.order[1:])])
        self.n_rest = int(starts[-1])
        # Whether each term bears on each rating; a level that stands in where it does not is 0.
        self.there = [(groups[t] >= 0).astype(float) for t in self.order]
        levels = [np.maximum(groups[t], 0) for t in self.order]
        self.first = levels[0]
        self.others = [g + s for g, s in zip(levels[1:], starts[:-1], strict=True)]

    def spread(self, first: Floats, rest: Floats) -> list[Floats]:
        """Return each term's effect on each rating."""
        values = [first[self.first], *(rest[g] for g in self.others)]
        return [v * here for v, here in zip(values, self.there, strict=True)]

    def gathered(self, values: Floats, sd: Floats) -> Effects:
        """Return values summed over each level, times the level's standard deviation."""
        rest = np.zeros(self.n_rest)
        for g, s, here in zip(self.others, sd[1:], self.there[1:], strict=True):
            rest += s * np.bincount(g, values * here, self.n_rest)
        return sd[0] * np.bincount(self.first, values * self.there[0], self.n_first), rest

    def blocks(self, weights: Floats, sd: Floats) -> Blocks:
        """Return the factors of I + ΛZᵀWZΛ."""
        m, q = self.n_rest, self.n_first
        own = weights * self.there[0]
        diagonal = 1 + sd[0] ** 2 * np.bincount(self.first, own, q)
        cross, rest = np.zeros(q * m), np.zeros(m * m)
        others = list(zip(self.others, sd[1:], self.there[1:], strict=True))
        for g, s, here in others:
            cross += sd[0] * s * np.bincount(self.first * m + g, own * here, q * m)
            for h, r, there in others:
                rest += s * r * np.bincount(g * m + h, weights * here * there, m * m)
        return Blocks(diagonal, cross.reshape(q, m), np.eye(m) + rest.reshape(m, m))

    def pulls(self, blocks: Blocks, sd: Floats) -> list[Floats]:
        """Return, by term, the Hessian's inverse between its level and the rating's effects."""
        inverse = blocks.inverse()
        cross = -blocks.ratio @ inverse
        own = 1 / blocks.diagonal - (cross * blocks.ratio).sum(1)
        others = list(zip(self.others, sd[1:], self.there[1:], strict=True))
        found = [sd[0] * own[self.first] * self.there[0]]
        for g, s, here in others:
            found[0] = found[0] + s * cross[self.first, g] * here
        for g in self.others:
            pull = sd[0] * cross[self.first, g] * self.there[0]
            for h, s, here in others:
                pull = pull + s * inverse[g, h] * here
            found.append(pull)
        return [pull * here for pull, here in zip(found, self.there, strict=True)]
