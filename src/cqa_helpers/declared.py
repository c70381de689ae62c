"""The declared comparison, carried out: for the candidate, and for everyone beside it.

What is compared, the margin and the meaning of each outcome stand in the params and in
:mod:`cqa_helpers.study` before data are opened; this module decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from cqa_helpers import blinding, contrasts, figures, standing, study
from cqa_helpers.contrasts import SeedContrast
from cqa_helpers.pairing import EXPERTS, pairs
from cqa_helpers.params import Params


class Compared(NamedTuple):
    """One judge against the reference: what was found, what it means, and its p-values."""

    contrast: SeedContrast
    conclusion: study.Conclusion
    p: float | None
    p_holm: float | None


def _contrast(table: pd.DataFrame, judge: str, other: str, params: Params) -> SeedContrast:
    return contrasts.seed_contrast(
        table,
        judge,
        other,
        standing.experts_of(table),
        n_boot=params.study.n_boot,
        seed=params.seed,
        level=params.study.level,
    )


def compare(table: pd.DataFrame, params: Params) -> dict[str, Compared]:
    """Return each judge's comparison with the reference, the candidate first.

    Then who reads, by difference, then the baselines. Holm's correction is over all but the
    candidate, which is the one primary comparison. Judges without a usable verdict are left out.
    """
    plan = params.study
    usable = set(table.loc[table["status"] == "ok", "judge_id"])
    # Where one person judged each passage, no expert has a colleague to be compared with.
    if len(pairs(table, EXPERTS, standing.experts_of(table))):
        usable.add(EXPERTS)
    judges = [
        j for j in standing.judges_of(table)
        if j != plan.reference and (j == plan.candidate or j in usable)
    ]  # fmt: skip
    found = {
        j: _contrast(table, j, plan.reference, params)
        if plan.reference in usable and j in usable
        else contrasts.no_contrast(j, plan.reference)
        for j in judges
    }
    p_values = {
        j: study.bootstrap_p(c.overall.draws) for j, c in found.items() if j != plan.candidate
    }
    adjusted = study.holm(p_values)
    blind = set(params.judging.baselines)

    def place(judge: str) -> tuple[bool, bool, float]:
        value = found[judge].overall.difference.value
        return judge != plan.candidate, judge in blind, -(value or 0.0)

    return {
        j: Compared(
            found[j],
            study.decide(found[j].overall.difference, plan.margin, found[j].candidate),
            p_values.get(j),
            adjusted.get(j),
        )
        for j in sorted(found, key=place)
    }


def sentence(compared: Mapping[str, Compared], params: Params) -> str:
    """Return the primary result as one plain sentence."""
    plan = params.study
    said = study.sentence(
        compared[plan.candidate].conclusion,
        candidate=standing.title_of(plan.candidate, params),
        reference=standing.object_of(plan.reference, params),
        level=plan.level,
    )
    return standing.said_of(said, params)


def headline(compared: Mapping[str, Compared], params: Params) -> str:
    """Return the primary result as a figure's title."""
    plan = params.study
    said = study.headline(
        compared[plan.candidate].conclusion,
        standing.title_of(plan.candidate, params),
        standing.object_of(plan.reference, params),
    )
    return standing.said_of(said, params)


def forest_rows(compared: Mapping[str, Compared], params: Params) -> pd.DataFrame:
    """Return the rows of the figure of differences."""
    reference, recorded = params.study.reference, params.judging.recorded
    return pd.DataFrame(
        [
            {
                "label": standing.name_of(judge, params),
                "role": figures.role_of(judge, reference, recorded),
                **c.contrast.overall.difference.as_dict(),
            }
            for judge, c in compared.items()
        ]
    )


def seed_dots(
    compared: Mapping[str, Compared], params: Params | None = None
) -> dict[str, list[float]]:
    """Return each seed's own difference, for judges that have several."""
    return {
        standing.name_of(judge, params): [d for d in c.contrast.by_repeat.values() if d is not None]
        for judge, c in compared.items()
        if len(c.contrast.by_repeat) > 1
    }


def as_rows(compared: Mapping[str, Compared], params: Params) -> pd.DataFrame:
    """Return the table of comparisons for show."""
    blind = set(params.judging.baselines)

    def part(judge: str) -> str:
        if judge == params.study.candidate:
            return "primary"
        return "must not pass" if judge in blind else "secondary"

    return pd.DataFrame(
        [
            {
                "Judge": standing.name_of(judge, params),
                "Role": part(judge),
                "κ minus reference": tuple(c.contrast.overall.difference),
                "Own κ": tuple(c.contrast.candidate),
                "Outcome": c.conclusion.outcome.replace("-", " "),
                "p, Holm": c.p_holm,
            }
            for judge, c in compared.items()
        ]
    )


def decision(
    table: pd.DataFrame,
    compared: Mapping[str, Compared],
    params: Params,
    raters: study.Outcome | None = None,
) -> study.Decision:
    """Return the row of the decision table that holds, from the declared inputs.

    ``raters`` is the outcome of the blind test, once it is unblinded.
    """
    if params.tuning is None:
        return study.no_tuning()
    known = set(table["judge_id"])
    primary = compared[params.study.candidate]

    def beside(judge: str, other: str) -> contrasts.Interval | None:
        if not {judge, other} <= known:
            return None
        return _contrast(table, judge, other, params).overall.difference

    return study.decision_table(
        primary.conclusion,
        list(primary.contrast.by_repeat.values()),
        beside("tuned-style-only", "base"),
        beside("tuned-shuffled", "base"),
        tuned_over_style=beside(params.study.candidate, "tuned-style-only"),
        tuned=primary.contrast.candidate,
        raters=raters,
    )


def decision_rows(made: study.Decision) -> pd.DataFrame:
    """Return the decision table for show, with the row that holds marked."""
    return pd.DataFrame(
        [
            {
                "Holds": "→" if row == made.row else "",
                "Row": row.replace("-", " "),
                "Declared to mean": text,
            }
            for row, text in study.TEXTS.items()
        ]
    )


def recovery(
    table: pd.DataFrame, truth: Mapping[str, Mapping[str, int]], declared: Mapping[str, float]
) -> dict[str, dict[str, float | None]]:
    """Return the share of each judge's verdicts that equal the planted truth, beside what was
    declared for it (0.5 for a judge that must not be able to tell)."""
    experts = standing.experts_of(table)
    known = table[(table["status"] == "ok") & table["item_id"].isin(truth)]
    right = [
        truth[item][dimension] == value
        for item, dimension, value in zip(
            known["item_id"], known["dimension"], known["value"], strict=True
        )
    ]
    who = known["judge_id"].where(~known["judge_id"].isin(experts), EXPERTS)
    share = pd.Series(right, index=known.index).groupby(who).mean()
    return {
        judge: {"planted": declared.get(judge), "found": float(share[judge])}
        for judge in (*declared, "tuned", "tuned-second-base", "tuned-verdict-only")
        if judge in share
    }


def results(
    compared: Mapping[str, Compared], made: study.Decision, params: Params
) -> dict[str, Any]:
    """Return the primary and secondary comparisons and the decision for ``results.json``."""
    plan = params.study
    primary = compared[plan.candidate]
    return {
        "primary": {
            "candidate": standing.name_of(plan.candidate, params),
            "reference": standing.name_of(plan.reference, params),
            "difference": primary.contrast.overall.difference,
            "own_kappa": primary.contrast.candidate,
            "margin": plan.margin,
            "conclusion": primary.conclusion.outcome,
            "conclusion_words": primary.conclusion.outcome.replace("-", " "),
            "sentence": sentence(compared, params),
            "by_seed": primary.contrast.by_repeat,
        },
        "secondary": {
            judge: {
                "difference": c.contrast.overall.difference,
                "conclusion": c.conclusion.outcome,
                "p": c.p,
                "p_holm": c.p_holm,
            }
            for judge, c in compared.items()
            if judge != plan.candidate
        },
        "decision": {
            "row": made.row,
            "row_words": made.row.replace("-", " "),
            "conclusion": made.text,
            "decided_by": list(made.decided_by),
            "share_of_seeds": made.share_of_seeds,
        },
        "plan": blinding.plan_hash(params),
    }
