"""The inverse power law ``a - b * n**-c`` of learning curves, fitted to means at several sizes.

Over sizes the squares of all runs split into those about the means, which no curve changes, and
those of the means about the curve: least squares over runs is that over means, weighted by runs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cqa_helpers.agreement import Floats

# Our choices. Slower than n^-0.1 a curve cannot be told from one that never levels off; faster
# than n^-3 it is a step.
SLOWEST, FASTEST = 0.1, 3.0


class Fit(NamedTuple):
    """The inverse power law ``a - b * n**-c``: its asymptote, height and rate."""

    a: float
    b: float
    c: float

    def at(self, n: float) -> float:
        """Return the value at a size."""
        return float(self.a - self.b * n**-self.c)


def fits(n: Floats, means: Floats, weights: Floats, ceiling: float) -> Floats:
    """Return the least-squares ``(a, b, c)`` of each row of means, ``(rows, 3)``.

    ``means`` and ``weights`` are ``(rows, sizes)``; ``a`` is at most ``ceiling``, ``b`` at least 0.
    A row with fewer than three sizes of positive weight is nan. The rate is sought on a grid that
    is narrowed about the best rate until five digits stand.
    """
    span = np.log([[SLOWEST, FASTEST]])
    for points in (60, 21, 21, 21, 21):
        rates = np.exp(np.linspace(span[:, 0], span[:, 1], points, axis=1))
        found = _best(n, means, weights, rates, ceiling)
        step = (span[:, 1] - span[:, 0])[:, None] / (points - 1)
        span = np.log(found[:, 2])[:, None] + step * [-1, 1]
        span = np.clip(span, np.log(SLOWEST), np.log(FASTEST))
    found[(weights > 0).sum(1) < 3] = np.nan
    return found


def _best(n: Floats, means: Floats, weights: Floats, rates: Floats, ceiling: float) -> Floats:
    """Return the best of each row's rates.

    For a given rate the law is linear in a and b, and the best of a bounded linear law is the free
    one where it is within bounds, or else the better of the two with one bound met.
    """
    x = n ** -rates[..., None]
    weights = weights[:, None]
    weighted = weights * means[:, None]
    w, m = weights.sum(-1), weighted.sum(-1)
    sx, sxx, sxm = (weights * x).sum(-1), (weights * x * x).sum(-1), (weighted * x).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        b = np.nan_to_num((sx * m / w - sxm) / (sxx - sx**2 / w))
    a = (m + b * sx) / w
    flat = np.broadcast_to(np.minimum(m / w, ceiling), b.shape)
    full = np.maximum((ceiling * sx - sxm) / sxx, 0)

    def misfit(a: Floats, b: Floats) -> Floats:
        return a * a * w + b * b * sxx - 2 * (a * m - b * sxm + a * b * sx)

    level = misfit(flat, np.zeros_like(b)) <= misfit(np.full_like(b, ceiling), full)
    free = (b >= 0) & (a <= ceiling)
    a = np.where(free, a, np.where(level, flat, ceiling))
    b = np.where(free, b, np.where(level, 0, full))
    best = misfit(a, b).argmin(1)[:, None]
    rates = np.broadcast_to(rates, b.shape)
    return np.concatenate([np.take_along_axis(v, best, 1) for v in (a, b, rates)], axis=1)
