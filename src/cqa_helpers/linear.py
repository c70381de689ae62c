"""Ratings as numbers with equal steps: the linear mixed model, the ordinal one's cross-check.

Restricted maximum likelihood with crossed random intercepts, as R's ``lme4::lmer`` (Bates et al.
2015). statsmodels' ``MixedLM`` takes crossed terms only as one large group: with four of them on
1,500 ratings it needed 13 seconds, and on a table of the tests it stopped short of the maximum.
Profiled over the residual variance the model is half a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import optimize

from cqa_helpers.agreement import Floats
from cqa_helpers.crossed import Crossed
from cqa_helpers.effects import Fit, Spread, nothing, terms_of

# A standard deviation this small, as a share of the residual one, is one at zero.
AT_ZERO = 1e-4
# Largest slope by a standard deviation, as a share of the residual one, at a maximum.
GRADIENT = 1e-3
RANDOM = ("rater", "passage")


class _Surface:
    """The restricted likelihood of standard deviations, fixed effects integrated out.

    ``ratio`` are the random terms' deviations over the residual one.
    """

    def __init__(self, terms: Crossed, X: Floats, y: Floats) -> None:
        self.terms, self.df, self.p = terms, len(y) - X.shape[1], X.shape[1]
        self.columns = np.column_stack([X, y])
        self.products = self.columns.T @ self.columns

    def weighed(self, ratio: Floats) -> tuple[Floats, Floats, float, float]:
        """Return XᵀV⁻¹X, the coefficients, the residual sum of squares, the log determinants."""
        sd = ratio[self.terms.order]
        blocks = self.terms.blocks(np.ones(len(self.columns)), sd)
        sides = [self.terms.gathered(column, sd) for column in self.columns.T]
        solved = [blocks.solve(*side) for side in sides]
        taken = np.array([[a[0] @ b[0] + a[1] @ b[1] for b in solved] for a in sides])
        products = self.products - taken
        squares, cross = products[: self.p, : self.p], products[: self.p, self.p]
        beta = np.linalg.solve(squares, cross)
        rest = float(products[self.p, self.p] - cross @ beta)
        return squares, beta, rest, blocks.log_determinant() + np.linalg.slogdet(squares)[1]

    def profiled(self, ratio: Floats) -> float:
        """Return the likelihood at the best residual deviation."""
        _, _, rest, logs = self.weighed(ratio)
        return -(self.df * (1 + np.log(2 * np.pi * rest / self.df)) + logs) / 2

    def at(self, sds: Floats) -> float:
        """Return the likelihood of the terms' deviations and, last, the residual one."""
        _, _, rest, logs = self.weighed(sds[:-1] / sds[-1])
        return -(self.df * np.log(2 * np.pi * sds[-1] ** 2) + logs + rest / sds[-1] ** 2) / 2

    def covariance(self, sds: Floats) -> Floats:
        """Return the coefficients' covariance at given deviations."""
        return sds[-1] ** 2 * np.linalg.inv(self.weighed(sds[:-1] / sds[-1])[0])


def fit(
    rows: pd.DataFrame,
    value: str = "value",
    fixed: Sequence[str] = ("judge",),
    random: Sequence[str] = RANDOM,
    reference: Mapping[str, str] | None = None,
) -> Fit:
    """Fit the linear mixed model by restricted maximum likelihood.

    Parameters and errors are those of :func:`cqa_helpers.ordinal.fit`; ratings need not be whole,
    and nothing is separated here. With one value throughout nothing is estimated.
    """
    table = terms_of(rows, value, fixed, random, reference)
    if np.ptp(table.y) == 0:
        return nothing(table, f"every rating is {table.y[0]:g}: nothing can be estimated")
    X = np.column_stack([np.ones(len(table.y)), table.X])
    surface = _Surface(Crossed(list(table.groups.values())), X, table.y)
    done = optimize.minimize(
        lambda ratio: -surface.profiled(ratio),
        np.full(len(table.groups), 0.7),
        jac="3-point",
        method="BFGS",
        options={"gtol": 1e-6},
    )
    ratio = np.where(np.abs(done.x) < AT_ZERO, 0.0, np.abs(done.x))
    _, beta, rest, _ = surface.weighed(ratio)
    residual = float(np.sqrt(rest / surface.df))
    sds = residual * np.append(ratio, 1.0)
    covariance = surface.covariance(sds)
    steepest = float(np.abs(done.jac).max())
    curve = _curvature(surface, sds)
    reached = steepest < GRADIENT and bool(np.linalg.eigvalsh(curve).max() < 0)
    said = [
        f"the variance of {name} is estimated as zero"
        for name, share in zip(table.groups, ratio, strict=True)
        if share == 0
    ]
    if not reached:
        said.append(f"the search did not reach a maximum: largest slope {steepest:.2g}")
    errors = np.sqrt(np.diag(covariance))
    names = ("intercept", *table.names)
    steps = 1e-4 * residual * np.eye(len(sds))
    slopes = [
        (surface.covariance(sds + h) - surface.covariance(sds - h)) / (2e-4 * residual)
        for h in steps
    ]
    return Fit(
        coefficients=dict(zip(table.names, map(float, beta[1:]), strict=True)),
        standard_errors=dict(zip(names, map(float, errors), strict=True)),
        thresholds={},
        sds=dict(zip(table.groups, map(float, sds), strict=False)),
        residual_sd=residual,
        loglik=float(surface.profiled(ratio)),
        n=len(table.y),
        n_missing=table.n_missing,
        levels={name: int(g.max()) + 1 for name, g in table.groups.items()},
        reference=table.reference,
        names=names,
        covariance=covariance,
        spread=(
            Spread(covariance, np.array(slopes), np.asarray(np.linalg.inv(-curve)))
            if reached
            else None
        ),
        converged=reached,
        warnings=(*table.warnings, *said),
    )


def _curvature(surface: _Surface, sds: Floats) -> Floats:
    """Return second derivatives of the likelihood by the deviations, by differences."""
    step = 1e-3 * sds[-1]
    moves = step * np.eye(len(sds))

    def mixed(a: Floats, b: Floats) -> float:
        up = surface.at(sds + a + b) - surface.at(sds + a - b)
        return (up - surface.at(sds - a + b) + surface.at(sds - a - b)) / (4 * step**2)

    return np.array([[mixed(a, b) for b in moves] for a in moves])
