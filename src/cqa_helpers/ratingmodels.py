"""Models of blind ratings: one criterion's ordinal and linear mixed model, and their contrasts.

Raters, passages and both of them by judge are random terms. Without the latter two a model takes
each rating of a rater or passage as news, and is far too sure of itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from cqa_helpers import contrasts, effects, equivalence, linear, ordinal, sections
from cqa_helpers.agreement import Interval, limited

NOTHING = Interval(None, None, None)
TERMS = ("rater", "passage", "passage:judge", "rater:judge")


class Fitted(NamedTuple):
    """A model of the ratings of one criterion; ``fit`` is null where there is none.

    ``few`` says that there is one rater or one passage: differences then have no limits, for
    they would speak of nobody else. ``said`` is what the model left out, or why it is not there.
    """

    fit: effects.Fit | None
    judges: frozenset[str]
    few: bool
    n: int
    n_missing: int
    said: tuple[str, ...]


class Contrast(NamedTuple):
    """Judge ``a`` minus judge ``b`` on one criterion.

    ``log_odds`` of a higher rating, by the ordinal model, with Student's limits at ``freedom``
    and the two-sided ``p`` of no difference. ``points`` of the scale, by the linear mixed model
    and by ``bootstrap`` of passages and raters (limits from five of each on).
    """

    a: str
    b: str
    criterion: str
    log_odds: Interval
    freedom: float | None
    p: float | None
    points: Interval
    bootstrap: Interval


def fit(
    rows: pd.DataFrame, reference: str, covariates: Sequence[str] = (), *, points: bool = False
) -> Fitted:
    """Fit the ratings of one criterion by the ordinal mixed model, or by the linear one.

    Training seeds are a random term where a judge has several. A pair of terms of which no level
    was rated twice cannot be told from chance and is left out, as is one of a single rater or
    passage (our choice).
    """
    known = rows[rows["value"].notna()]
    judges = sorted(map(str, set(known["judge"])))
    few = min(known["rater"].nunique(), known["passage"].nunique()) < 2
    base = Fitted(None, frozenset(judges), few, len(known), len(rows) - len(known), ())
    if len(judges) < 2:
        return base._replace(said=(f"{len(judges)} judge(s) with ratings: nothing to compare",))
    terms, said = [], []
    for term in (*TERMS, *(["seed"] if (known["seed"] != "").any() else [])):
        parts = term.split(":")
        if len(parts) > 1 and (
            known[parts[0]].nunique() < 2 or known.groupby(parts).ngroups == len(known)
        ):
            said.append(f"{term} cannot be told from chance in these ratings, and is left out")
        else:
            terms.append(term)
    if few:
        said.append("one rater or one passage: no limits")
    model = linear.fit if points else ordinal.fit
    try:
        with np.errstate(all="ignore"):
            found = model(
                rows, fixed=("judge", *covariates), random=terms,
                reference={"judge": reference if reference in judges else judges[0]},
            )  # fmt: skip
    except (ValueError, np.linalg.LinAlgError) as error:
        return base._replace(said=(*said, str(error)))
    return base._replace(fit=found, said=(*said, *found.warnings))


def between(
    found: Fitted, a: str, b: str, level: float, factor: str = "judge"
) -> tuple[Interval, float | None]:
    """Return level ``a`` minus ``b`` of a factor with its degrees of freedom, null without."""
    if found.fit is None or a == b:
        return NOTHING, None
    if factor == "judge" and not {a, b} <= found.judges:
        return NOTHING, None
    interval = effects.contrast(found.fit, a, b, factor, level)
    if interval.low is None or found.few or not np.isfinite(interval.low):
        return Interval(interval.value, None, None), None
    return interval, effects.degrees_of_freedom(found.fit, a, b, factor)


def compared(
    a: str,
    b: str,
    criterion: str,
    rows: pd.DataFrame,
    models: tuple[Fitted, Fitted],
    plan: sections.Study,
    seed: int,
) -> Contrast:
    """Return the contrast of two judges by the ordinal model, the linear one and the bootstrap."""
    by_order, by_points = models
    log_odds, freedom = between(by_order, a, b, plan.level)
    # Any margin gives the same two-sided p.
    p = equivalence.of_interval(log_odds, freedom, 1.0, plan.level).p
    points, _ = between(by_points, a, b, plan.level)
    drawn = bootstrap(rows, a, b, plan, seed)
    return Contrast(a, b, criterion, log_odds, freedom, p, points, drawn)


def bootstrap(rows: pd.DataFrame, a: str, b: str, plan: sections.Study, seed: int) -> Interval:
    """Return judge ``a`` minus ``b`` in points, passages and raters resampled.

    Limits need five raters and passages that rated both, and ratings that differ: resamples of
    differences that are all the same would look certain (our choice).
    """
    known = rows[rows["value"].notna()]
    cells = [known.loc[known["judge"] == j, ["passage", "rater"]].drop_duplicates() for j in (a, b)]
    both = cells[0].merge(cells[1])
    if both.empty or known["value"].nunique() < 2:
        return NOTHING
    named = known.rename(
        columns={"judge": "judge_id", "passage": "passage_id", "rater": "rater_id"}
    )
    found = contrasts.rating_contrast(named, a, b, plan.n_boot, seed, plan.level)
    found = limited(found, min(both["passage"].nunique(), both["rater"].nunique()))
    return found if found.low != found.high else Interval(found.value, None, None)
