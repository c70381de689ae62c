"""The likelihood of ordered ratings with crossed random intercepts, and its exact gradient.

Cumulative logit model: P(Y ≤ k) = logistic(θ_k − η), η = Xβ + Σ_t σ_t u_t, u standard normal. The
integral over u is Laplace's approximation (Tuerlinckx et al. 2006), as in R's ``ordinal::clmm``
with one quadrature point. The log of a difference of logistic functions is a sum of three terms
of which none mixes the two thresholds with η: so a rating's likelihood is log-concave in η, the
inner Newton steps are safe, and derivatives are short (derivations ours).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import expit, log_expit

from cqa_helpers.agreement import Floats
from cqa_helpers.crossed import Codes, Crossed, Effects

# Newton's error after a step is about the square of the step.
_STEP = 1e-7
_MAX_STEPS = 100


class _Ratings(NamedTuple):
    """Each rating's log-likelihood and what derivatives by the thresholds and η are made of."""

    log: Floats
    by_eta: Floats
    by_upper: Floats
    by_lower: Floats
    var_upper: Floats
    var_lower: Floats
    skew_upper: Floats
    skew_lower: Floats


def _ratings(upper: Floats, lower: Floats) -> _Ratings:
    """``upper`` and ``lower`` are θ_k − η above and below the category chosen; ends are ±inf."""
    above, below = expit(upper), expit(lower)
    gap = upper - lower
    with np.errstate(over="ignore"):
        push = 1 / np.expm1(gap)
    log = log_expit(upper) + log_expit(-lower) + np.log(-np.expm1(-gap))
    var_upper, var_lower = above * (1 - above), below * (1 - below)
    return _Ratings(
        log,
        by_eta=below - (1 - above),
        by_upper=(1 - above) + push,
        by_lower=-below - push,
        var_upper=var_upper,
        var_lower=var_lower,
        skew_upper=var_upper * (1 - 2 * above),
        skew_lower=var_lower * (1 - 2 * below),
    )


class Laplace:
    """The log-likelihood as a function of thresholds, coefficients and standard deviations.

    Parameters
    ----------
    y
        Category of each rating, 0 to K − 1.
    X
        Fixed effects without intercept, ``(n, p)``.
    groups
        Each random term's level of each rating, as :class:`cqa_helpers.crossed.Crossed` takes it.
    """

    def __init__(self, y: Codes, X: Floats, groups: Sequence[Codes]) -> None:
        self.y, self.X = y, X
        self.n_cuts = int(y.max())
        self.terms = Crossed(groups)
        self.modes: Effects = np.zeros(self.terms.n_first), np.zeros(self.terms.n_rest)

    def _at(self, cuts: Floats, fixed: Floats, sd: Floats, u: Effects) -> _Ratings:
        eta = fixed + sum(s * v for s, v in zip(sd, self.terms.spread(*u), strict=True))
        padded = np.concatenate([[-np.inf], cuts, [np.inf]])
        return _ratings(padded[self.y + 1] - eta, padded[self.y] - eta)

    def _find_modes(self, cuts: Floats, fixed: Floats, sd: Floats) -> _Ratings:
        """Climb to the most likely random effects, from where the last call left them."""
        u = self.modes
        at = self._at(cuts, fixed, sd, u)
        height = at.log.sum() - (u[0] @ u[0] + u[1] @ u[1]) / 2
        for _ in range(_MAX_STEPS):
            slope = [g - v for g, v in zip(self.terms.gathered(at.by_eta, sd), u, strict=True)]
            step = self.terms.blocks(at.var_upper + at.var_lower, sd).solve(*slope)
            size = max(np.abs(s).max(initial=0.0) for s in step)
            scale = 1.0
            while True:
                new = (u[0] + scale * step[0], u[1] + scale * step[1])
                there = self._at(cuts, fixed, sd, new)
                climbed = there.log.sum() - (new[0] @ new[0] + new[1] @ new[1]) / 2
                if climbed >= height - 1e-9 or scale < 1e-6:
                    break
                scale /= 2
            u, at, height = new, there, climbed
            if size < _STEP:
                break
        self.modes = u
        return at

    def __call__(self, cuts: Floats, beta: Floats, sigma: Floats) -> tuple[float, Floats]:
        """Return the log-likelihood and its gradient by (cuts, beta, sigma).

        It is even in each of ``sigma``, so that a variance of zero is a smooth inner point.
        """
        sd = sigma[self.terms.order]
        at = self._find_modes(cuts, self.X @ beta, sd)
        u = self.modes
        weights = at.var_upper + at.var_lower
        blocks = self.terms.blocks(weights, sd)
        value = at.log.sum() - (u[0] @ u[0] + u[1] @ u[1]) / 2
        value -= blocks.log_determinant() / 2

        pulls = self.terms.pulls(blocks, sd)
        leverage = sum(s * p for s, p in zip(sd, pulls, strict=True))

        # How the determinant moves as the modes follow the parameters, by the adjoint method.
        moved = -(at.skew_upper + at.skew_lower) * leverage
        v = blocks.solve(*self.terms.gathered(moved, sd))
        back = self.terms.spread(*v)
        w = sum(s * b for s, b in zip(sd, back, strict=True))
        slope = at.by_eta - (moved - weights * w) / 2
        by_cut = np.zeros(self.n_cuts + 2)
        up = at.by_upper - (at.skew_upper * leverage + at.var_upper * w) / 2
        low = at.by_lower - (at.skew_lower * leverage + at.var_lower * w) / 2
        by_cut += np.bincount(self.y + 1, up, self.n_cuts + 2)
        by_cut += np.bincount(self.y, low, self.n_cuts + 2)
        by_sd = np.empty(len(sd))
        for t, e, b, p in zip(self.terms.order, self.terms.spread(*u), back, pulls, strict=True):
            by_sd[t] = slope @ e - weights @ p - at.by_eta @ b / 2
        return float(value), np.concatenate([by_cut[1:-1], self.X.T @ slope, by_sd])

    def information(self, cuts: Floats, beta: Floats, sigma: Floats) -> Floats:
        """Return the information on (cuts, beta) with the random effects profiled out.

        At given standard deviations, and without the determinant's own curvature: what
        generalised least squares would say. For how precision moves with ``sigma``.
        """
        sd = sigma[self.terms.order]
        at = self._find_modes(cuts, self.X @ beta, sd)
        k = self.n_cuts
        chosen = np.eye(k + 2)[self.y]
        upper = np.column_stack([np.roll(chosen, 1, axis=1)[:, 1:-1], -self.X])
        lower = np.column_stack([chosen[:, 1:-1], -self.X])
        pushed = upper - lower
        pushes = np.where((self.y > 0) & (self.y < k), self._push(cuts)[self.y], 0.0)
        whole = (
            upper.T @ (at.var_upper[:, None] * upper)
            + lower.T @ (at.var_lower[:, None] * lower)
            + pushed.T @ (pushes[:, None] * pushed)
        )
        mixed = at.var_upper[:, None] * upper + at.var_lower[:, None] * lower
        blocks = self.terms.blocks(at.var_upper + at.var_lower, sd)
        sides = [self.terms.gathered(column, sd) for column in mixed.T]
        solved = [blocks.solve(*side) for side in sides]
        return whole - np.array([[a[0] @ b[0] + a[1] @ b[1] for b in solved] for a in sides])

    @staticmethod
    def _push(cuts: Floats) -> Floats:
        """Return how sharply each category keeps its two thresholds apart; ends do not."""
        gaps = np.concatenate([[np.inf], np.diff(cuts), [np.inf]])
        with np.errstate(over="ignore"):
            return 1 / (4 * np.sinh(gaps / 2) ** 2)
