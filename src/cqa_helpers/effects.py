"""What models of ratings share: the table turned into numbers, what a fit says, and contrasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, stats

from cqa_helpers.agreement import Floats, Interval
from cqa_helpers.crossed import Codes


class Spread(NamedTuple):
    """What intervals for few raters need; arrays are in the order of ``Fit.sds``.

    ``covariance`` is that of coefficients at standard deviations of restricted likelihood,
    ``slopes`` says how it moves with each of these, and ``noise`` is their own covariance. The
    residual deviation of the linear model comes last.
    """

    covariance: Floats
    slopes: Floats
    noise: Floats


class Fit(NamedTuple):
    """What a model of ratings found; a number that is not to be had is null.

    ``coefficients`` are named ``judge[tuned]`` (against ``reference["judge"]``) or by their
    column; in logits, or in rating points where linear. ``thresholds`` (``"1|2"``: in logits, at
    covariates of zero) are empty where linear. ``sds`` are those of random terms;
    ``residual_sd`` is null where ordinal. ``covariance`` is that of ``names``: thresholds or
    intercept, then coefficients; nan where it is not to be had. ``spread`` is what
    intervals for few raters need. ``loglik`` is the Laplace approximation's, or the restricted
    one where linear.
    """

    coefficients: dict[str, float | None]
    standard_errors: dict[str, float | None]
    thresholds: dict[str, float]
    sds: dict[str, float]
    residual_sd: float | None
    loglik: float | None
    n: int
    n_missing: int
    levels: dict[str, int]
    reference: dict[str, str]
    names: tuple[str, ...]
    covariance: Floats
    spread: Spread | None
    converged: bool
    warnings: tuple[str, ...]


class Terms(NamedTuple):
    """Ratings as numbers: ``X`` without intercept, and each random term's level by number.

    ``separated`` names coefficients that are infinite; their rows are left out.
    """

    y: Floats
    X: Floats
    names: list[str]
    reference: dict[str, str]
    groups: dict[str, Codes]
    n_missing: int
    separated: list[str]
    warnings: list[str]


def terms_of(
    rows: pd.DataFrame,
    value: str,
    fixed: Sequence[str],
    random: Sequence[str],
    reference: Mapping[str, str] | None = None,
    *,
    separable: bool = False,
) -> Terms:
    """Check a table of ratings and turn it into numbers.

    ``separable`` leaves out levels whose every rating is the highest, or the lowest, used. A
    random term with one level is left out too; ``warnings`` says so. An empty text in a random
    term's column says that the term does not bear on that rating.

    Raises
    ------
    ValueError
        A column is missing or has gaps, no rating at all, an unknown reference, fixed effects
        that cannot be told apart, or no random term that is left.
    """
    parts = {name: name.split(":") for name in random}
    columns = [*fixed, *dict.fromkeys(c for names in parts.values() for c in names)]
    if absent := [c for c in (value, *columns) if c not in rows.columns]:
        raise ValueError(f"no column {', '.join(absent)} in a table of {', '.join(rows.columns)}")
    known = rows[rows[value].notna()]
    n_missing = len(rows) - len(known)
    if known.empty:
        raise ValueError(f"no rating at all in column {value!r} of {len(rows)} row(s)")
    if gaps := [c for c in columns if known[c].isna().any()]:
        raise ValueError(f"column {', '.join(gaps)} has gaps: fill them or leave the rows out")
    said: list[str] = []
    separated: list[str] = []
    low, high = known[value].min(), known[value].max()
    chosen: dict[str, str] = {}
    for column in (c for c in fixed if not pd.api.types.is_numeric_dtype(known[c])):
        wanted = (reference or {}).get(column)
        if wanted is not None and wanted not in set(known[column]):
            raise ValueError(f"reference {wanted!r} has no rating in column {column!r}")
        for level, given in known.groupby(column)[value] if separable and low < high else ():
            if given.min() == given.max() in (low, high):
                separated.append(f"{column}[{level}]")
                word = "highest" if given.min() == high else "lowest"
                said.append(
                    f"every rating of {level} is the {word} used: its coefficient is infinite, "
                    "and its ratings are left out"
                )
                known = known[known[column] != level]
        left = sorted(map(str, set(known[column])))
        if not left:
            raise ValueError(f"all levels of {column!r} have one rating each time: nothing to fit")
        chosen[column] = wanted if wanted is not None and wanted in left else str(left[0])
        if wanted is not None and wanted not in left:
            said.append(f"{chosen[column]} takes the place of {wanted} as reference")
    names, values = [], []
    for column in fixed:
        if column in chosen:
            for level in sorted(set(known[column]) - {chosen[column]}):
                names.append(f"{column}[{level}]")
                values.append((known[column] == level).to_numpy(dtype=float))
        else:
            names.append(column)
            values.append(known[column].to_numpy(dtype=float))
    X = np.stack(values, axis=1) if values else np.empty((len(known), 0))
    if np.linalg.matrix_rank(np.column_stack([np.ones(len(X)), X])) <= len(names):
        raise ValueError(f"{', '.join(names)} cannot be told apart: leave one of them out")
    groups: dict[str, Codes] = {}
    for name, columns in parts.items():
        bears = (known[columns] != "").all(axis=1)
        codes = np.full(len(known), -1, dtype=np.int64)
        codes[bears] = known[bears].groupby(columns, sort=True).ngroup()
        if codes.max() <= 0:
            said.append(f"{name} has one level: its spread is not to be seen, and it is left out")
        else:
            groups[name] = codes
    if not groups:
        raise ValueError("no random term is left: the ratings have one rater and one passage")
    y = known[value].to_numpy(dtype=float)
    return Terms(y, X, names, chosen, groups, n_missing, separated, said)


def nothing(found: Terms, why: str) -> Fit:
    """Return the fit of ratings that tell nothing."""
    none: dict[str, float | None] = dict.fromkeys([*found.names, *found.separated])
    return Fit(
        none, dict(none), {}, {}, None, None, len(found.y), found.n_missing, {}, found.reference,
        (), np.empty((0, 0)), None, False, (*found.warnings, why),
    )  # fmt: skip


def recedes(demands: Floats) -> bool:
    """Return whether some direction meets all demands (rows · d ≥ 0), and one of them strictly.

    Where demands are what each observation asks so that it does not become less likely, the
    observations are then separated and some maximum likelihood estimate is infinite (Albert and
    Anderson 1984; here as a linear program).
    """
    seen = np.unique(demands, axis=0)
    if not seen.size:
        return False
    done = optimize.linprog(-seen.sum(0), A_ub=-seen, b_ub=np.zeros(len(seen)), bounds=(-1, 1))
    return bool(done.status != 0 or -done.fun > 1e-7)


def contrast(
    found: Fit,
    a: str,
    b: str,
    factor: str = "judge",
    level: float = 0.95,
    small_sample: bool = True,
) -> Interval:
    """Return level ``a`` minus level ``b`` of a factor with Wald limits.

    There are no limits where the fit has no covariance, and no value where a level's coefficient
    is infinite.

    Parameters
    ----------
    small_sample
        Take variances as restricted likelihood would, and Student's quantile with Satterthwaite's
        degrees of freedom: five raters show little of how far raters differ, and maximum
        likelihood with the normal quantile is too sure of it. Without, the interval is that of
        R's ``summary`` of a ``clmm``.

    Raises
    ------
    ValueError
        The factor has no such level.
    """
    weights = _weights(found, a, b, factor)
    if weights is None or not found.names:
        return Interval(None, None, None)
    value = float(weights @ [found.coefficients.get(n) or 0.0 for n in found.names])
    if found.spread is None:
        return Interval(value, None, None)
    covariance = found.spread.covariance if small_sample else found.covariance
    freedom = degrees_of_freedom(found, a, b, factor) if small_sample else np.inf
    half = float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(weights @ covariance @ weights))
    return Interval(value, value - half, value + half)


def degrees_of_freedom(found: Fit, a: str, b: str, factor: str = "judge") -> float:
    """Return Satterthwaite's degrees of freedom of a contrast.

    Two times the squared variance over the variance of the variance (Satterthwaite 1946; in
    mixed models Giesbrecht and Burns 1985). Infinite where no random term bears on the contrast,
    and never below the fewest levels of a random term less one: near a variance of zero the
    formula falls towards none at all (our choice).

    Raises
    ------
    ValueError
        The factor has no such level.
    """
    weights = _weights(found, a, b, factor)
    if weights is None or found.spread is None:
        return float("inf")
    variance = float(weights @ found.spread.covariance @ weights)
    slopes = np.array([weights @ s @ weights for s in found.spread.slopes])
    noise = float(slopes @ found.spread.noise @ slopes)
    fewest = min(found.levels.values()) - 1.0
    return max(fewest, 2 * variance**2 / noise) if noise > 0 else float("inf")


def _weights(found: Fit, a: str, b: str, factor: str) -> Floats | None:
    """Return the contrast's weight of each name, null where a coefficient is infinite."""
    weights = np.zeros(len(found.names))
    for one, sign in ((a, 1.0), (b, -1.0)):
        name = f"{factor}[{one}]"
        if one == found.reference.get(factor):
            continue
        if name not in found.coefficients:
            raise ValueError(f"{factor!r} has no level {one!r}")
        if found.coefficients[name] is None:
            return None
        weights[found.names.index(name)] += sign
    return weights
