"""What a blind test shows: the declared contrast of ratings, its cross-checks, the secondaries.

What is compared, the margin and the control stand in the params before ratings are opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from cqa_helpers import bradleyterry, equivalence, ratingmodels, sections, study, taxonomy
from cqa_helpers.agreement import Interval
from cqa_helpers.ratingmodels import NOTHING, Contrast, Fitted
from cqa_helpers.sheets import RANK

COLUMNS = ("rater", "passage", "judge", "seed", "criterion", "value", "kind", "sheet")
ALONE = "no control was rated beside them: whether raters can tell rests on attention sheets alone"
CHECKS = {"linear": "the linear mixed model", "bootstrap": "the bootstrap"}
UNTOLD = (
    "raters did not tell the candidate from the control, so equal ratings may mean that nobody "
    "could tell anything"
)


class Model(NamedTuple):
    """What a criterion's ordinal model rests on; ``sds`` are of random terms, in log-odds."""

    n: int
    n_missing: int
    levels: dict[str, int]
    sds: dict[str, float]
    converged: bool
    warnings: tuple[str, ...]


class Sensitivity(NamedTuple):
    """Whether raters tell the candidate from the control; ``shown`` is null without a control."""

    control: str | None
    difference: Interval
    shown: bool | None
    why: str


class Ranking(NamedTuple):
    """Log strengths from the rankings; ``ties`` is the share of pairs that are tied."""

    strengths: dict[str, Interval]
    difference: Interval
    p: float | None
    ties: float | None
    n_pairs: int
    n_sheets: int
    n_missing: int
    warnings: tuple[str, ...]


class Secondary(NamedTuple):
    """A declared secondary test, in log-odds or (``rank``) in log strength."""

    a: str
    b: str
    criterion: str
    difference: Interval
    p: float | None
    p_holm: float | None


class Blindtest(NamedTuple):
    """The blind test, carried out.

    ``conclusion`` is the primary one; ``by_margin`` the outcome of the margin alone, before the
    control is asked. ``outcomes`` are those of every judge beside the reference, by the same rule.
    ``checks`` are the primary outcomes by ``linear`` and ``bootstrap``, null where there is none;
    ``agree`` is null without any. ``means`` are by judge and criterion, ``n_ratings`` of the
    primary one.
    """

    criterion: str
    candidate: str
    reference: str
    conclusion: study.Conclusion
    by_margin: study.Outcome
    sensitivity: Sensitivity
    equivalence: equivalence.Equivalence
    checks: dict[str, study.Outcome | None]
    agree: bool | None
    agreement: str
    outcomes: dict[str, study.Outcome]
    contrasts: tuple[Contrast, ...]
    means: dict[str, dict[str, float | None]]
    n_ratings: dict[str, int]
    models: dict[str, Model]
    ranking: Ranking
    secondary: tuple[Secondary, ...]
    n_raters: int
    n_passages: int

    def contrast(self, a: str, b: str, criterion: str | None = None) -> Contrast | None:
        """Return the contrast of two judges, on the primary criterion unless another is named."""
        wanted = (a, b, criterion or self.criterion)
        return next((c for c in self.contrasts if (c.a, c.b, c.criterion) == wanted), None)


def analyse(
    table: pd.DataFrame, blind: sections.Blind, plan: sections.Study, seed: int
) -> Blindtest:
    """Return what the ratings show, by the plan.

    Every judge is compared with the reference and with the control. What cannot be had is null.

    Parameters
    ----------
    table
        As :func:`cqa_helpers.scores.table`; rows of kind ``item`` count.
    seed
        Of the resamples.

    Raises
    ------
    ValueError
        A column is missing.
    """
    if absent := [c for c in COLUMNS if c not in table.columns]:
        raise ValueError(f"no column {', '.join(absent)} in a table of {', '.join(table.columns)}")
    items = table[table["kind"] == "item"]
    control = control_of(blind, plan)
    criteria = [blind.criterion, *taxonomy.load(blind.taxonomy).ids()]
    criteria = list(dict.fromkeys(c for c in criteria if c != RANK))
    seen = sorted(set(items["judge"]))
    judges = list(dict.fromkeys([plan.candidate, plan.reference, *blind.judges, *seen]))
    pairs = [(j, b) for b in (plan.reference, control) if b for j in judges if j != b]
    made: list[Contrast] = []
    models, means = {}, {j: dict.fromkeys(criteria) for j in judges}
    for criterion in criteria:
        rows = items[items["criterion"] == criterion]
        both = (
            ratingmodels.fit(rows, plan.reference),
            ratingmodels.fit(rows, plan.reference, points=True),
        )
        models[criterion] = _model(*both)
        made += [ratingmodels.compared(a, b, criterion, rows, both, plan, seed) for a, b in pairs]
        for judge, mean in rows.groupby("judge")["value"].mean().dropna().items():
            means[str(judge)][criterion] = float(mean)
    at = {(c.a, c.b, c.criterion): c for c in made}
    first = at[plan.candidate, plan.reference, blind.criterion]
    over = {j: at.get((j, control or "", blind.criterion)) for j in judges}
    told = over[plan.candidate]

    def outcome(judge: str, kind: str, margin: float) -> study.Outcome | None:
        difference = getattr(at[judge, plan.reference, blind.criterion], kind)
        if difference.low is None:
            return None
        beside = getattr(over[judge], kind, NOTHING) if control else None
        return guarded(study.decide(difference, margin), beside).outcome

    primary = study.decide(first.log_odds, blind.margin)
    conclusion = guarded(primary, told.log_odds if told else None)
    checks = {
        name: outcome(plan.candidate, kind, blind.margin_points)
        for name, kind in (("linear", "points"), ("bootstrap", "bootstrap"))
    }
    agree, agreement = _agreement(conclusion, checks)
    ranking = _ranking(items[items["criterion"] == RANK], plan, seed)
    known = items[(items["criterion"] == blind.criterion) & items["value"].notna()]
    return Blindtest(
        blind.criterion, plan.candidate, plan.reference, conclusion, primary.outcome,
        _sensitivity(control, told),
        equivalence.of_interval(first.log_odds, first.freedom, blind.margin, plan.level),
        checks, agree, agreement,
        {j: outcome(j, "log_odds", blind.margin) or "inconclusive"
         for j in judges if j != plan.reference},
        tuple(made), means,
        {j: int((known["judge"] == j).sum()) for j in judges},
        models, ranking,
        _secondaries([at[plan.candidate, plan.reference, c] for c in criteria[1:]], told, ranking,
                     plan),
        known["rater"].nunique(), known["passage"].nunique(),
    )  # fmt: skip


def control_of(blind: sections.Blind, plan: sections.Study) -> str | None:
    """Return the control, if there is one beside the two judges that are compared."""
    return None if blind.control in (plan.candidate, plan.reference) else blind.control


def guarded(found: study.Conclusion, over_control: Interval | None) -> study.Conclusion:
    """Return a conclusion in which a match counts only if raters tell the judge from the control.

    What trials call assay sensitivity. ``over_control`` is judge minus control, null where no
    control was declared; a match then stands.
    """
    told = over_control is None or (over_control.low is not None and over_control.low > 0)
    if found.outcome == "matches" and not told:
        return found._replace(outcome="inconclusive")
    return found


def concluded(found: Fitted, blind: sections.Blind, plan: sections.Study) -> study.Conclusion:
    """Return the primary conclusion by one ordinal model of the primary criterion's ratings."""
    control = control_of(blind, plan)
    difference, _ = ratingmodels.between(found, plan.candidate, plan.reference, plan.level)
    over = ratingmodels.between(found, plan.candidate, control, plan.level)[0] if control else None
    return guarded(study.decide(difference, blind.margin), over)


def _model(ordered: Fitted, points: Fitted) -> Model:
    found = ordered.fit
    beside = [f"linear model: {w}" for w in points.said if w not in ordered.said]
    return Model(
        ordered.n, ordered.n_missing, found.levels if found else {}, found.sds if found else {},
        bool(found and found.converged), (*ordered.said, *beside),
    )  # fmt: skip


def _sensitivity(control: str | None, told: Contrast | None) -> Sensitivity:
    if control is None or told is None:
        return Sensitivity(None, NOTHING, None, ALONE)
    low = told.log_odds.low
    if low is None:
        why = "whether raters tell the candidate from the control cannot be had from these ratings"
        return Sensitivity(control, told.log_odds, False, why)
    why = "raters told the candidate from the control" if low > 0 else UNTOLD
    return Sensitivity(control, told.log_odds, low > 0, why)


def _agreement(
    conclusion: study.Conclusion, checks: Mapping[str, study.Outcome | None]
) -> tuple[bool | None, str]:
    """Return whether the cross-checks reach the primary outcome, and that as a sentence."""
    there = {CHECKS[name]: o for name, o in checks.items() if o is not None}
    absent = [name for name in CHECKS.values() if name not in there]
    lost = f" Of {' and '.join(absent)} there is no interval." if absent else ""
    if conclusion.difference.low is None or not there:
        if there:
            said = "; ".join(f"{name}: {_words(o)}" for name, o in there.items())
            return None, f"The ordinal model gave no interval. Other means say: {said}.{lost}"
        return None, f"There is nothing to check the primary outcome by.{lost}"
    other = {name: o for name, o in there.items() if o != conclusion.outcome}
    if not other:
        names = " and ".join(there)
        verb = "reach" if len(there) > 1 else "reaches"
        return True, f"{_capital(names)} {verb} the same outcome.{lost}"
    said = "; ".join(f"{name}: {_words(o)}" for name, o in other.items())
    primary = _words(conclusion.outcome)
    return False, f"The outcome hangs on the model. Ordinal model: {primary}; {said}.{lost}"


def _ranking(rows: pd.DataFrame, plan: sections.Study, seed: int) -> Ranking:
    found = bradleyterry.fit(rows, n_boot=plan.n_boot, seed=seed, level=plan.level)
    difference, p = NOTHING, None
    if {plan.candidate, plan.reference} <= set(found.judges):
        difference = bradleyterry.difference(found, plan.candidate, plan.reference, plan.level)
    if difference.low is not None:
        a, b = (found.judges.index(j) for j in (plan.candidate, plan.reference))
        p = study.bootstrap_p(found.draws[:, a] - found.draws[:, b])
    return Ranking(
        found.strengths, difference, p, found.n_ties / found.n_pairs if found.n_pairs else None,
        found.n_pairs, found.n_sheets, found.n_missing, found.warnings,
    )  # fmt: skip


def _secondaries(
    others: Sequence[Contrast], told: Contrast | None, ranking: Ranking, plan: sections.Study
) -> tuple[Secondary, ...]:
    """Return the declared secondary tests under Holm's correction."""
    tests = [
        *((c.a, c.b, c.criterion, c.log_odds, c.p) for c in others),
        (plan.candidate, plan.reference, RANK, ranking.difference, ranking.p),
        *((c.a, c.b, c.criterion, c.log_odds, c.p) for c in (told,) if c),
    ]
    adjusted = study.holm({f"{a}, {b}, {criterion}": p for a, b, criterion, _, p in tests})
    return tuple(Secondary(*t, adjusted[f"{t[0]}, {t[1]}, {t[2]}"]) for t in tests)


def _words(outcome: study.Outcome) -> str:
    return outcome.replace("-", " ")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
