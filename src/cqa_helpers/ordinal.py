"""Ordered ratings by judge, with raters and passages as crossed random intercepts.

The cumulative logit mixed model of R's ``ordinal::clmm`` (flexible thresholds, Laplace's
approximation, standard errors from the observed information), by maximum likelihood. It is
written here because no maintained Python library fits it: statsmodels' ``OrderedModel`` has no
random effects, its ``MixedLM`` is linear, and bambi samples a posterior with a large dependency.
The tests hold it against R.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize

from cqa_helpers.agreement import Floats
from cqa_helpers.crossed import Codes
from cqa_helpers.effects import Fit, Spread, Terms, nothing, recedes, terms_of
from cqa_helpers.laplace import Laplace

# A standard deviation this small on the logit scale is one at zero, up to rounding.
AT_ZERO = 1e-4
# Beyond this a random term tells its levels apart almost surely: likely infinite.
HUGE_SD = 20.0
# Largest slope at a maximum; estimates are then within about 1e-7 of it.
GRADIENT = 1e-5
RANDOM = ("rater", "passage")


def fit(
    rows: pd.DataFrame,
    value: str = "value",
    fixed: Sequence[str] = ("judge",),
    random: Sequence[str] = RANDOM,
    reference: Mapping[str, str] | None = None,
) -> Fit:
    """Fit the cumulative logit mixed model.

    Parameters
    ----------
    rows
        One rating a row. ``value`` holds whole numbers; a missing one is counted and left out.
    fixed
        Columns: text is categorical, a number is a covariate taken as it stands.
    random
        Columns of random intercepts; ``"rater:judge"`` has a level for each pair of values. An
        empty text says that there is no such effect: a column ``seed`` names the training seed
        of a tuned model and is empty for judges that have none.
        Where raters differ in which judge they like, or a judge in how well it does by passage,
        a model without ``rater:judge`` and ``passage:judge`` is far too sure of its contrasts.
    reference
        Level of each categorical column that others are compared with; else the first by name.

    Returns
    -------
    Fit
        A judge whose every rating is the highest (or the lowest) used has an infinite
        coefficient: it gets null, and its ratings, which no longer matter to the rest, are left
        out. A variance may be zero, a category unused, a random term not to be seen: each is
        said in ``warnings``. With one category nothing is estimated. ``converged`` is true only
        where every estimate is finite and at a maximum.

    Raises
    ------
    ValueError
        As :func:`cqa_helpers.effects.terms_of`; or a rating that is not a whole number.
    """
    table = terms_of(rows, value, fixed, random, reference, separable=True)
    if not np.array_equal(table.y, np.round(table.y)):
        raise ValueError(f"column {value!r} holds ratings that are not whole numbers")
    used = np.unique(table.y)
    if len(used) < 2:
        return nothing(table, f"every rating is {used[0]:g}: nothing can be estimated")
    said = table.warnings
    if gaps := [str(k) for k in range(int(used[0]), int(used[-1]) + 1) if k not in used]:
        said.append(f"nobody rated {', '.join(gaps)}: thresholds stand between the values used")
    codes = np.searchsorted(used, table.y)
    found = _climb(table, codes)
    for name, sd in zip(table.groups, found.sds, strict=True):
        if sd == 0:
            said.append(f"the variance of {name} is estimated as zero")
        elif sd > HUGE_SD:
            said.append(f"the standard deviation of {name} is {sd:.0f} logits: likely infinite")
    covariance = found.covariance
    if separated := recedes(_demands(codes, table.X)):
        said.append("fixed effects separate the ratings: some coefficients are infinite")
        covariance = np.full_like(covariance, np.nan)
    elif np.isnan(covariance).any():
        said.append(f"the search did not reach a maximum: largest slope {found.slope:.2g}")
    cuts = [f"{a:g}|{b:g}" for a, b in itertools.pairwise(used)]
    names = (*cuts, *table.names)
    none: dict[str, float | None] = dict.fromkeys(table.separated)
    errors = np.sqrt(np.diag(covariance))
    place = dict(zip(names, map(float, found.place), strict=True))
    unsure = np.isnan(covariance).any() or separated
    return Fit(
        coefficients={**{n: place[n] for n in table.names}, **none},
        standard_errors={
            **{n: None if np.isnan(e) else float(e) for n, e in zip(names, errors, strict=True)},
            **none,
        },
        thresholds={n: place[n] for n in cuts},
        sds=dict(zip(table.groups, map(float, found.sds), strict=True)),
        residual_sd=None,
        loglik=found.value,
        n=len(codes),
        n_missing=table.n_missing,
        levels={name: int(g.max()) + 1 for name, g in table.groups.items()},
        reference=table.reference,
        names=names,
        covariance=covariance,
        spread=None if unsure else found.spread,
        converged=not (unsure or table.separated or (found.sds > HUGE_SD).any()),
        warnings=tuple(said),
    )


class _Summit(NamedTuple):
    """The maximum, covariates as they stand; ``place`` is thresholds, then coefficients."""

    place: Floats
    sds: Floats
    value: float
    covariance: Floats
    spread: Spread | None
    slope: float


def _climb(table: Terms, codes: Codes) -> _Summit:
    """Find the maximum: BFGS on ordered thresholds, then Newton's steps."""
    # Covariates far from zero, or from one in size, would slow the search.
    numeric = np.array(["[" not in name for name in table.names], dtype=bool)
    centre = np.where(numeric, table.X.mean(0), 0.0)
    scale = np.where(numeric, table.X.std(0), 1.0)
    surface = Laplace(codes, (table.X - centre) / scale, list(table.groups.values()))
    k, p = surface.n_cuts, len(table.names)
    m = k + p

    def at(x: Floats) -> tuple[float, Floats]:
        return surface(x[:k], x[k:m], x[m:])

    def natural(free: Floats) -> Floats:
        cuts = free[0] + np.concatenate([[0.0], np.cumsum(np.exp(free[1:k]))])
        return np.concatenate([cuts, free[k:]])

    def downhill(free: Floats) -> tuple[float, Floats]:
        value, slope = at(natural(free))
        later = np.cumsum(slope[:k][::-1])[::-1]
        slope[:k] = np.concatenate([later[:1], later[1:] * np.exp(free[1:k])])
        return -value, -slope

    shares = np.cumsum(np.bincount(codes))[:-1] / len(codes)
    cuts = np.log(shares / (1 - shares))
    start = np.concatenate(
        [cuts[:1], np.log(np.diff(cuts)), np.zeros(p), np.full(len(table.groups), 0.7)]
    )
    done = optimize.minimize(downhill, start, jac=True, method="BFGS", options={"gtol": 1e-4})
    x = natural(done.x)
    value, slope = at(x)
    whole = None
    for _ in range(3):
        # The likelihood is even in a standard deviation, so one at zero is an inner maximum.
        curve = _curvature(at, x)
        if not np.isfinite(curve).all() or np.linalg.eigvalsh(curve).max() >= 0:
            break
        for _ in range(4):
            if np.abs(slope).max() < GRADIENT:
                break
            x = x - np.linalg.solve(curve, slope)
            value, slope = at(x)
        if np.abs(slope).max() < GRADIENT:
            whole = np.asarray(np.linalg.inv(-curve))
            break
    sds = np.where(np.abs(x[m:]) < AT_ZERO, 0.0, np.abs(x[m:]))
    # Back to the covariates as they stand: a linear map of thresholds and coefficients.
    back = np.eye(m)
    back[k:, k:] = np.diag(1 / scale)
    back[:k, k:] = centre / scale
    steepest = float(np.abs(slope).max())
    if whole is None:
        return _Summit(back @ x[:m], sds, value, np.full((m, m), np.nan), None, steepest)
    spread = _restricted(surface, x[:k], x[k:m], sds, whole)
    return _Summit(
        back @ x[:m],
        sds,
        value,
        back @ whole[:m, :m] @ back.T,
        Spread(
            back @ spread.covariance @ back.T,
            np.array([back @ slope @ back.T for slope in spread.slopes]),
            spread.noise,
        ),
        steepest,
    )


def _curvature(at: Callable[[Floats], tuple[float, Floats]], x: Floats) -> Floats:
    """Return second derivatives, by central differences of the exact first ones."""
    steps = 1e-4 * np.eye(len(x))
    curve: Floats = np.array([(at(x + h)[1] - at(x - h)[1]) / 2e-4 for h in steps])
    return np.asarray((curve + curve.T) / 2)


def _restricted(surface: Laplace, cuts: Floats, beta: Floats, sds: Floats, whole: Floats) -> Spread:
    """Return precision at the deviations that restricted likelihood would have, in one step.

    Maximum likelihood takes coefficients as known and finds deviations too small, by a tenth
    with five raters. The adjusted profile likelihood (Cox and Reid 1987) takes half the log
    determinant of the coefficients' information from it; one Newton step on log deviations leads
    there. A deviation of zero stays.
    """

    def information(sigma: Floats) -> Floats:
        return surface.information(cuts, beta, sigma)

    m = len(cuts) + len(beta)
    steps = 1e-3 * np.eye(len(sds))
    pull = -np.array(
        [
            np.linalg.slogdet(information(sds + h))[1] - np.linalg.slogdet(information(sds - h))[1]
            for h in steps
        ]
    ) / (4e-3)
    noise = whole[m:, m:]
    growth = np.ones(len(sds))
    there = sds > 0
    growth[there] = np.exp(np.clip((noise @ (pull * there))[there] / sds[there], -0.5, 0.5))
    larger = sds * growth

    def covariance(sigma: Floats) -> Floats:
        return np.asarray(np.linalg.inv(information(sigma)))

    return Spread(
        covariance=whole[:m, :m] + covariance(larger) - covariance(sds),
        slopes=np.array([(covariance(larger + h) - covariance(larger - h)) / 2e-3 for h in steps]),
        # As far as a log deviation is known by the terms' levels, growth is by levels lost.
        noise=noise * np.outer(growth, growth) ** 2,
    )


def _demands(codes: Codes, X: Floats) -> Floats:
    """Return what ratings ask of a direction of thresholds and coefficients.

    Each asks that its upper threshold does not fall and its lower one does not rise, both
    relative to η.
    """
    k = int(codes.max())
    cuts = np.eye(k)
    below, above = codes < k, codes > 0
    return np.vstack(
        [
            np.hstack([cuts[codes[below]], -X[below]]),
            -np.hstack([cuts[codes[above] - 1], -X[above]]),
        ]
    )
