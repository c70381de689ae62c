"""Judgment or style: the same model asked again, in another voice, of reworded passages, and
given a reason to follow.

A verdict that rests on what a passage does stands when only the words change. Sampling flips
verdicts by itself, so each rewording is set against a second draw of the very same question.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from cqa_helpers import arms, choices, cohort, models, recognition
from cqa_helpers.annotations import Annotation
from cqa_helpers.calls import CallRecord
from cqa_helpers.choices import Spot
from cqa_helpers.cohort import Base, Member
from cqa_helpers.corpus import Corpus
from cqa_helpers.judges import Panel
from cqa_helpers.models import LocalModel
from cqa_helpers.params import Params, fingerprint
from cqa_helpers.prompts import FormName, completions, parse, questions
from cqa_helpers.recognition import Told
from cqa_helpers.records import Passage, Verdict, write_atomically

# How many held-out passages are probed (our choice: a flip rate within about .1).
ITEMS = 40
# So many reasons of a voice are put to a model, spread over all there are.
REASONS = 60
# An arm without reasons has no voice to swap.
SWAP: dict[str, FormName] = {"reason-first": "second-voice", "second-voice": "reason-first"}
KEPT = "recognition.json"  # in the run's folder, what the base can read before tuning
REASON_COLUMNS = ["item_id", "dimension", "voice", "argued", "probability"]


class Probed(NamedTuple):
    """One model's verdicts when asked again, in another voice, and of reworded passages.

    Items bear the ids of the original passages. ``reasons`` has a row for each reason that was put
    before the model: item, dimension, voice, the verdict it argues for, and the probability of
    the high verdict after it. Lists are empty where the material has nothing to ask.
    """

    again: list[Verdict]
    voice: list[Verdict]
    reworded: list[Verdict]
    reasons: pd.DataFrame


def items(material: Corpus) -> list[Passage]:
    """Return the held-out passages that are probed: at most 40, those with a rewording first."""
    retold = {p.meta["rewords"] for p in material.reworded}
    chosen = [p for p in material.test() if p.text]
    return sorted(chosen, key=lambda p: p.id not in retold)[:ITEMS]


def probe(
    member: Member | None,
    base: Base,
    params: Params,
    material: Corpus,
    run_dir: Path,
    record: CallRecord,
) -> Probed:
    """Ask a tuned model, or with ``None`` the base; what is on record is not asked again."""
    put = cohort.panel(params, "cot" if member is None else member.arm)

    def ask(passages: Sequence[Passage], form: FormName | None, draw: int) -> list[Verdict]:
        other = Panel(put.taxonomy, put.dialect, form or put.form)
        if member is None:
            return cohort.ask_base(base, params, passages, record, put=other, draw=draw)
        return cohort.ask(member, base, params, passages, run_dir, record, put=other, draw=draw)

    asked = items(material)
    swapped = SWAP.get(put.form)
    retold = [p for p in material.reworded if p.meta["rewords"] in {a.id for a in asked}]
    # One question after the other would sample twice as long as both together.
    both = ask([*asked, *retold], None, 1)
    again = {p.id for p in asked}
    return Probed(
        [v for v in both if v.item_id in again],
        ask(asked, swapped, 0) if swapped in put.dialect.forms else [],
        _as_original([v for v in both if v.item_id not in again], retold),
        _reasons(member, base, params, material, run_dir, record) if swapped else _table([]),
    )


def _as_original(verdicts: Iterable[Verdict], retold: Sequence[Passage]) -> list[Verdict]:
    original = {p.id: p.meta["rewords"] for p in retold}
    return [v.model_copy(update={"item_id": original[v.item_id]}) for v in verdicts]


class _Asked(NamedTuple):
    item_id: str
    dimension: str
    voice: str
    argued: int
    context: str
    ends: tuple[str, str]


def reasons_put(params: Params, material: Corpus) -> list[_Asked]:
    """Return the held-out reasons up to their verdicts' place, each voice in its own form."""
    known, found = material.by_id(), []
    asked = cohort.panel(params)
    for annotation in material.probes:
        form: FormName = "second-voice" if _voice(annotation) == "second" else "reason-first"
        put = Panel(asked.taxonomy, asked.dialect, form)
        if form not in put.dialect.forms or known[annotation.passage_id].text is None:
            continue
        prompts = {
            q.dimensions: q.prompt
            for q in questions([known[annotation.passage_id]], put.taxonomy, put.dialect, form)
        }
        words = put.dialect.words_of(form)
        for dimensions, text in completions(annotation, put.taxonomy, put.dialect, form):
            for answer in parse(text, dimensions, put.dialect, form):
                if answer.start is not None and answer.value is not None:
                    found.append(
                        _Asked(
                            annotation.passage_id, answer.dimension, _voice(annotation),
                            answer.value, f"{prompts[dimensions]}{text[: answer.start]}",
                            (words[min(words)], words[max(words)]),
                        )
                    )  # fmt: skip
    return [a for v in ("first", "second") for a in _spread([a for a in found if a.voice == v])]


def _spread(asked: list[_Asked]) -> list[_Asked]:
    step = max(1, len(asked) / REASONS)
    return [asked[int(k * step)] for k in range(min(REASONS, len(asked)))]


def _voice(annotation: Annotation) -> str:
    return "second" if annotation.meta.get("arm", "cot") == "second-voice" else "first"


def _reasons(
    member: Member | None,
    base: Base,
    params: Params,
    material: Corpus,
    run_dir: Path,
    record: CallRecord,
) -> pd.DataFrame:
    asked = reasons_put(params, material)
    identity = base.identity
    if member is not None:
        folder = Path(run_dir) / "adapters" / member.name
        identity += f"+{models.weights_identity(folder)}"
    requests = [
        {"verdict_after": a.context, "words": list(a.ends), "model": identity} for a in asked
    ]
    responses: list[Any] = record.get(requests)
    if any(r is None for r in responses):
        opened = nullcontext(base.local()) if member is None else cohort.worn(member, base, run_dir)
        with opened as local:
            responses = _read(local, asked, params)
        who = "base" if member is None else cohort.judge_id(member)
        record.put(who, zip(requests, responses, strict=True))
    return _table(
        [
            (a.item_id, a.dimension, a.voice, a.argued, r["probability"])
            for a, r in zip(asked, responses, strict=True)
        ]
    )


def _read(local: LocalModel, asked: Sequence[_Asked], params: Params) -> list[dict[str, float]]:
    found: list[dict[str, float]] = [{} for _ in asked]
    for ends in sorted({a.ends for a in asked}):
        mine = [i for i, a in enumerate(asked) if a.ends == ends]
        spots = [Spot(row, asked[i].context) for row, i in enumerate(mine)]
        read = choices.choice_probabilities(local, spots, ends, params.judging.batch_size)
        for i, p in zip(mine, read, strict=True):
            found[i] = {"probability": round(float(p), 6)}
    return found


def _table(rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=REASON_COLUMNS)


def has_voice(arm: str) -> bool:
    """Whether an arm gives reasons, so that it has a voice to compare."""
    return arms.FORM_OF_ARM[arm] in SWAP


def wanted(member: Member, params: Params) -> bool:
    """Whether a model is probed: one with reasons, at full size, of the main comparison."""
    return _main(member, params) and has_voice(member.arm)


def _main(member: Member, params: Params) -> bool:
    return cohort.at_full_size(member, params) and member.plain and member.lineage == "first"


def by_arm(
    answers: Mapping[Member, Sequence[Verdict]],
    probed: Mapping[Member, Probed],
    base: Base,
    params: Params,
    material: Corpus,
    run_dir: Path,
) -> tuple[dict[str, list[Verdict]], dict[str, list[Probed]]]:
    """Return answers and probes by arm at full size, seed by seed, the untuned base among them."""
    said: dict[str, list[Verdict]] = {}
    asked: dict[str, list[Probed]] = {}
    for member, verdicts in answers.items():
        if _main(member, params):
            said.setdefault(member.arm, []).extend(verdicts)
        if member in probed:
            asked.setdefault(member.arm, []).append(probed[member])
    with cohort.record(params, run_dir, "02-fine-tune") as record:
        said["base"] = cohort.ask_base(base, params, material.test(), record)
        asked["base"] = [probe(None, base, params, material, run_dir, record)]
    return said, asked


class Known(NamedTuple):
    """What the base can read before tuning: a table, a sentence, and what is kept of it."""

    table: pd.DataFrame
    sentence: str
    results: dict[str, Any]


def told(params: Params, material: Corpus) -> list[Told]:
    """Return the experts' reasons on training passages, as the base is asked to recognise them."""
    train = set(material.split.train)
    put = cohort.panel(params)
    given = [a for a in material.diagnoses() if a.passage_id in train]
    return recognition.reasons(given, material.by_id(), put.taxonomy, put.dialect)


def before_tuning(base: Base, material: Corpus, params: Params, kept: Path) -> Known | None:
    """Return the recognition probe of the base on training annotations, computed once.

    None where no two annotations can be paired.
    """
    asked = told(params, material)
    key = fingerprint([base.identity, params.seed, params.study.level, [list(t) for t in asked]])
    if kept.is_file() and (found := json.loads(kept.read_text(encoding="utf-8")))["key"] == key:
        rows = [{k: tuple(v) if isinstance(v, list) else v for k, v in r.items()}
                for r in found["table"]]  # fmt: skip
        return Known(pd.DataFrame(rows), found["sentence"], found["results"])
    more: dict[str, Any] = {"seed": params.seed, "level": params.study.level}
    texts = {p.id: p.text or "" for p in material.passages}
    try:
        words = recognition.by_shared_words(asked, texts, **more)
        read = recognition.probe(base.local(), asked, batch_size=params.judging.batch_size, **more)
    except recognition.RecognitionError:
        return None
    table = recognition.table({"base, not tuned": read, "shared words": words})
    # As they are read back: a first run and a resumed one give the same results.
    results = {r.name: {"right": r.right.as_dict(), "pairs": r.pairs} for r in read.rows}
    made = Known(table, recognition.sentence(read, words), results)
    text = json.dumps(
        {"key": key, "table": table.to_dict("records"), "sentence": made.sentence,
         "results": results}, default=lambda v: v.item(), ensure_ascii=False,
    )  # fmt: skip
    write_atomically(kept, text + "\n")
    return made
