"""How each arm talks, and how it judges: probes and answers of all arms, gathered by arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cqa_helpers import charts, flips, probing, standing, style
from cqa_helpers.agreement import Interval
from cqa_helpers.annotations import Annotation
from cqa_helpers.charts import Arm
from cqa_helpers.corpus import Corpus
from cqa_helpers.learning import ArmSummary
from cqa_helpers.params import Params
from cqa_helpers.probing import Probed
from cqa_helpers.records import Verdict, to_table

Answers = Mapping[str, Sequence[Verdict]]


def expert_reasons(material: Corpus) -> pd.DataFrame:
    """Return the experts' reasons as a table of verdicts: held-out ones, else those of training.

    An arm may have learnt the words of reasons it was trained on, so held-out ones are better.
    """
    held_out = [a for a in material.probes if a.meta.get("arm", "cot") == "cot"]
    return _table(held_out or material.diagnoses())


def _table(annotations: Sequence[Annotation]) -> pd.DataFrame:
    rows: dict[tuple[str, str], Verdict] = {}
    for a in annotations:
        for j in a.judgements:
            # One expert's words a cell: where several annotated a passage, the first.
            rows.setdefault(
                (a.passage_id, j.dimension),
                Verdict(item_id=a.passage_id, dimension=j.dimension, judge_id="expert",
                        value=j.value, scale=f"0-{max(1, j.value)}", reason=j.reason),
            )  # fmt: skip
    return to_table(list(rows.values()))


def of_arms(
    summaries: Mapping[str, ArmSummary],
    answers: Answers,
    probed: Mapping[str, Sequence[Probed]],
    material: Corpus,
    params: Params,
) -> list[Arm]:
    """Return each arm's talk and judgment; ``answers`` and ``probed`` are by arm, seed by seed.

    Arms that give no reasons have no similarity, and what was not probed is null.
    """
    expert = expert_reasons(material)
    works = {p.id: p.work_id for p in material.passages}
    boot: dict[str, Any] = {
        "clusters": works, "n_boot": min(params.study.n_boot, 1000), "seed": params.seed,
        "level": params.study.level,
    }  # fmt: skip
    chosen = {p.id for p in probing.items(material)}
    gathered = []
    for name, summary in summaries.items():
        arm = name.removesuffix("-second-base")
        if arm != name:
            continue
        table = to_table([v for v in answers[name] if v.item_id in chosen])
        talks = arm == "base" or probing.has_voice(arm)
        seen = probed.get(name, [])
        gathered.append(
            Arm(
                name,
                summary.title,
                summary.role,
                style.similarity(table, expert, params.language, **boot) if talks else None,
                summary.mean_auc,
                dict(enumerate(summary.by_seed)),
                _excess(table, seen, "voice", boot),
                _excess(table, seen, "reworded", boot),
                _gap(seen, boot),
            )
        )
    return gathered


def _excess(
    table: pd.DataFrame, probed: Sequence[Probed], kind: str, boot: dict[str, Any]
) -> flips.Excess | None:
    changed = [v for p in probed for v in getattr(p, kind)]
    again = [v for p in probed for v in p.again]
    if not changed or not again:
        return None
    return flips.excess_flips(table, to_table(changed), to_table(again), **boot)


def _gap(probed: Sequence[Probed], boot: dict[str, Any]) -> flips.VoiceGap | None:
    frames = [p.reasons.assign(repeat=k) for k, p in enumerate(probed) if len(p.reasons)]
    return flips.voice_gap(pd.concat(frames, ignore_index=True), **boot) if frames else None


def spans(arms: Sequence[Arm]) -> dict[str, tuple[Interval, Interval]]:
    """Return the intervals of similarity and agreement of each arm that has both."""
    return {a.name: (a.similarity.similarity, a.agreement) for a in arms if a.similarity}


def results(arms: Sequence[Arm], params: Params) -> dict[str, Any]:
    """Return what ``results.json`` keeps of talk and judgment."""
    found = {
        a.name: {
            "similarity": a.similarity.similarity if a.similarity else None,
            "agreement": a.agreement,
            "flips_by_chance": a.voice.noise if a.voice else None,
            "more_in_another_voice": a.voice.excess if a.voice else None,
            "more_on_reworded_passages": a.passage.excess if a.passage else None,
            "follows_a_reason": a.reasons.first.follows if a.reasons else None,
            "follows_it_reworded": a.reasons.second.follows if a.reasons else None,
        }
        for a in arms
    }
    return {"arms": found, "headline": standing.said_of(charts.headline(arms), params)}
