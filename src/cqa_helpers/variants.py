"""Whether the conclusion of a blind test hangs on a rater, an exclusion or a covariate.

The primary contrast again under every other choice; the primary analysis itself leaves nobody out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from cqa_helpers import blindtest, ratingmodels, sections, study
from cqa_helpers.agreement import Interval
from cqa_helpers.ratingmodels import NOTHING

# The share of sheets that go in the analyses by time and by length.
TAIL = 0.1
COVARIATES = {"position": "later sheet", "label": "place on the sheet", "words": "length"}
UNTOUCHED = "nothing to leave out"
# A coefficient is for this many units: ten sheets on, a hundred words more.
STEPS = {"position": 10.0, "words": 100.0}
# Where judges make up more than this share of a covariate's variance it stands for them (our
# choice): what is its own and what is theirs cannot be told.
TIED = 0.9


class Variant(NamedTuple):
    """The primary contrast under another choice.

    ``kind`` is ``rater`` (one left out), ``exclusion`` or ``covariate``. ``n`` is the number of
    ratings left. ``changes`` says whether the outcome is another one; null where the difference
    has no limits or nothing is left out, and ``why`` then says what is in the way.
    """

    name: str
    kind: str
    n: int
    n_left_out: int
    difference: Interval
    outcome: study.Outcome | None
    changes: bool | None
    why: str


class Effect(NamedTuple):
    """What a covariate of the primary model is worth, in log-odds of a higher rating.

    ``why`` says what is in the way where it has no limits.
    """

    name: str
    coefficient: Interval
    why: str


def under_other_choices(
    rows: pd.DataFrame,
    excluded: Mapping[str, set[str]],
    blind: sections.Blind,
    plan: sections.Study,
) -> tuple[tuple[Effect, ...], tuple[Variant, ...]]:
    """Return what covariates are worth, and the primary contrast under every other choice.

    Covariates are added one by one; each rater, each set of raters in ``excluded`` (by name), the
    fastest tenth of sheets and the tenth whose diagnoses differ most in length (our choice) are
    left out in turn.

    Parameters
    ----------
    rows
        Ratings of the primary criterion, as :func:`cqa_helpers.scores.table`.
    """
    primary = blindtest.concluded(ratingmodels.fit(rows, plan.reference), blind, plan)
    effects: list[Effect] = []
    variants = []
    for column in COVARIATES:
        made, variant = _with(column, rows, primary, blind, plan)
        effects += made
        variants.append(variant)
    for name, kind, left in _left(rows, excluded):
        conclusion, why = primary, UNTOUCHED
        if len(left) < len(rows):
            found = ratingmodels.fit(left, plan.reference)
            conclusion, why = blindtest.concluded(found, blind, plan), "; ".join(found.said)
        variants.append(_variant(name, kind, left, rows, primary, conclusion, why))
    return tuple(effects), tuple(variants)


def _with(
    column: str,
    rows: pd.DataFrame,
    primary: study.Conclusion,
    blind: sections.Blind,
    plan: sections.Study,
) -> tuple[list[Effect], Variant]:
    """Return what a covariate is worth, and the primary contrast beside it."""
    name, step = COVARIATES[column], STEPS.get(column)
    left = rows[rows[column].notna() & (rows[column] != "")]
    if step is not None:
        left = left.assign(**{column: left[column].astype(float) / step})
        if _by_judge(left, column) > TIED:
            tied = f"judges hardly overlap in {name}: the two cannot be told apart"
            none = study.Conclusion("inconclusive", NOTHING, blind.margin)
            return [Effect(f"{name}, by {step:g}", NOTHING, tied)], _variant(
                f"at equal {name}", "covariate", left, rows, primary, none, tied
            )
    found = ratingmodels.fit(left, plan.reference, (column,))
    why = "; ".join(found.said)
    made = []
    if step is not None:
        interval = _coefficient(found, column, plan.level)
        made = [Effect(f"{name}, by {step:g}", interval, why if interval.low is None else "")]
    elif found.fit is not None:
        first = found.fit.reference[column]
        for label in sorted(set(left.loc[left["value"].notna(), column]) - {first}):
            interval, _ = ratingmodels.between(found, label, first, plan.level, column)
            lost = why if interval.low is None else ""
            made.append(Effect(f"{name}, {label} − {first}", interval, lost))
    conclusion = blindtest.concluded(found, blind, plan)
    return made, _variant(f"at equal {name}", "covariate", left, rows, primary, conclusion, why)


def _by_judge(rows: pd.DataFrame, column: str) -> float:
    """Return the share of a covariate's variance that lies between judges."""
    known = rows[rows["value"].notna()]
    whole = float(known[column].var(ddof=0))
    within = known[column] - known.groupby("judge")[column].transform("mean")
    return 1 - float(within.var(ddof=0)) / whole if whole > 0 else 0.0


def _coefficient(found: ratingmodels.Fitted, name: str, level: float) -> Interval:
    """Return a covariate's coefficient with normal limits: it varies within rater and passage."""
    value = found.fit.coefficients.get(name) if found.fit else None
    if found.fit is None or value is None:
        return NOTHING
    if found.fit.spread is None:
        return Interval(value, None, None)
    at = found.fit.names.index(name)
    half = float(stats.norm.ppf((1 + level) / 2) * np.sqrt(found.fit.spread.covariance[at, at]))
    return Interval(value, value - half, value + half)


def _left(
    rows: pd.DataFrame, excluded: Mapping[str, set[str]]
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield each choice of ratings: its name, its kind and what is left."""
    for rater in sorted(set(rows["rater"])):
        yield f"without {rater}", "rater", rows[rows["rater"] != rater]
    for name, out in excluded.items():
        yield name, "exclusion", rows[~rows["rater"].isin(out)]
    sheets = rows.astype({"words": float, "seconds": float}).groupby("sheet")
    fast = sheets["seconds"].first().dropna().sort_values(kind="stable")
    uneven = (sheets["words"].max() - sheets["words"].min()).dropna()
    uneven = uneven.sort_values(ascending=False, kind="stable")
    for name, ranked in (
        ("without the fastest tenth of sheets", fast),
        ("without the tenth of sheets that differ most in length", uneven),
    ):
        # Where all are alike, which of them are first says nothing.
        n = int(np.ceil(TAIL * len(ranked))) if ranked.nunique() > 1 else 0
        yield name, "exclusion", rows[~rows["sheet"].isin(ranked.index[:n])]


def _variant(
    name: str,
    kind: str,
    left: pd.DataFrame,
    rows: pd.DataFrame,
    primary: study.Conclusion,
    found: study.Conclusion,
    why: str,
) -> Variant:
    n, whole = int(left["value"].notna().sum()), int(rows["value"].notna().sum())
    undefined = found.difference.low is None
    changes = None
    if why != UNTOUCHED and not undefined and primary.difference.low is not None:
        changes = found.outcome != primary.outcome
    return Variant(
        name, kind, n, whole - n, found.difference, None if undefined else found.outcome,
        changes, why if changes is None else "",
    )  # fmt: skip
