"""Judges: whoever is shown a passage and writes :class:`~cqa_helpers.records.Verdict` rows.

A local model and an endpoint are asked here; recorded verdicts and baselines come as rows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cqa_helpers.calls import CallRecord
from cqa_helpers.models import (
    LocalModel,
    Spot,
    batches,
    choice_probabilities,
    sample,
    seed_of,
)
from cqa_helpers.params import Judging, Live
from cqa_helpers.prompts import Dialect, FormName, Question, parse, questions
from cqa_helpers.records import Passage, Verdict
from cqa_helpers.taxonomy import Taxonomy


class JudgeError(RuntimeError):
    """A judge cannot be asked."""


class NotRecordedError(LookupError):
    """Answers are not in the record of calls, and no model was given to ask."""


@dataclass(frozen=True)
class Panel:
    """What every judge is asked: the dimensions, in which words, answered in which form."""

    taxonomy: Taxonomy
    dialect: Dialect
    form: FormName = "reason-first"


def ask_local(
    judge_id: str,
    local: LocalModel | None,
    identity: str,
    passages: Sequence[Passage],
    panel: Panel,
    judging: Judging,
    record: CallRecord,
    *,
    seed: int = 0,
    repeat: int = 0,
    meta: Mapping[str, Any] | None = None,
) -> list[Verdict]:
    """Ask a local model about passages; what is recorded is not asked again.

    The review is sampled once, and the probability is read at each verdict's own position after
    the reasoning. Texts of a batch are sampled together, so that a draw belongs to its whole
    batch: the batch and the place in it are part of what is recorded, and a batch that is not
    wholly on record is drawn whole. A resumed run therefore repeats an uninterrupted one. With a
    full record ``local`` may be None.

    Raises
    ------
    NotRecordedError
        Something is not in the record and there is no model to ask.
    """
    asked = questions(passages, panel.taxonomy, panel.dialect, panel.form)
    verdicts: list[Verdict] = []
    for number, batch in enumerate(batches(len(asked), judging.batch_size)):
        chunk = asked[batch]
        draw = seed_of(seed, number, *(q.prompt for q in chunk))
        requests = [
            {
                "prompt": q.prompt,
                "dimensions": list(q.dimensions),
                "model": identity,
                "temperature": judging.temperature,
                "max_new_tokens": judging.max_new_tokens,
                "draw": draw,
                "row": row,
                "repeat": repeat,
            }
            for row, q in enumerate(chunk)
        ]
        responses: list[Any] = record.get(requests)
        if any(r is None for r in responses):
            if local is None:
                raise NotRecordedError(
                    f"{judge_id}: {sum(r is None for r in responses)} answers are not in the "
                    "record of calls, and no model is loaded to give them."
                )
            responses = _review(local, chunk, panel, judging, draw)
            record.put(judge_id, zip(requests, responses, strict=True))
        for question, response in zip(chunk, responses, strict=True):
            verdicts += _read(judge_id, question, response, panel, repeat, dict(meta or {}))
    return verdicts


def _review(
    local: LocalModel, chunk: Sequence[Question], panel: Panel, judging: Judging, seed: int
) -> list[dict[str, Any]]:
    texts = sample(
        local,
        [q.prompt for q in chunk],
        temperature=judging.temperature,
        max_new_tokens=judging.max_new_tokens,
        seed=seed,
    )
    spots, owners = [], []
    for row, (question, text) in enumerate(zip(chunk, texts, strict=True)):
        for answer in parse(text, question.dimensions, panel.dialect, panel.form):
            if answer.start is not None:
                context = f"{question.prompt} {text[: answer.start]}"
                spots.append(Spot(row, context))
                owners.append((row, answer.dimension))
    words = panel.dialect.words_of(panel.form)
    ends = (words[min(words)], words[max(words)])
    probabilities: list[dict[str, float]] = [{} for _ in chunk]
    found = choice_probabilities(local, spots, ends, judging.batch_size)
    for (row, dimension), p in zip(owners, found, strict=True):
        probabilities[row][dimension] = round(float(p), 6)
    return [
        {"text": text, "probabilities": p} for text, p in zip(texts, probabilities, strict=True)
    ]


def _read(
    judge_id: str,
    question: Question,
    response: Mapping[str, Any],
    panel: Panel,
    repeat: int,
    meta: dict[str, Any],
) -> list[Verdict]:
    verdicts = []
    silent = response.get("status") in ("refused", "failed")
    for answer in parse(response["text"], question.dimensions, panel.dialect, panel.form):
        if silent:
            answer = answer._replace(value=None, reason=response["text"], status=response["status"])
        verdicts.append(
            Verdict(
                item_id=question.item_id,
                dimension=answer.dimension,
                judge_id=judge_id,
                repeat=repeat,
                value=answer.value,
                scale=panel.dialect.scale,
                probability=response.get("probabilities", {}).get(answer.dimension),
                reason=answer.reason,
                status=answer.status,
                meta=meta,
            )
        )
    return verdicts


def ask_live(
    live: Live,
    passages: Sequence[Passage],
    panel: Panel,
    record: CallRecord,
    *,
    seed: int = 0,
    client: Any = None,
) -> list[Verdict]:
    """Ask a judge behind an OpenAI-compatible endpoint, temperature 0, one question a call.

    A call that fails is not recorded, so that the next run asks it again; in this run it is a
    verdict with status ``failed`` and the error's name as its reason. The budget is for all these
    questions together, over however many runs: it stops before a call that could exceed it.

    Raises
    ------
    JudgeError
        No key in the environment while something still has to be asked, or the budget is spent.
    """
    asked = questions(passages, panel.taxonomy, panel.dialect, panel.form)
    requests = [
        {
            "prompt": question.prompt,
            "dimensions": list(question.dimensions),
            "model": live.model,
            "base_url": live.base_url,
            "temperature": 0,
            "max_tokens": live.max_tokens,
            "seed": seed,
            "repeat": 0,
        }
        for question in asked
    ]
    known: list[Any] = record.get(requests)
    spent = sum(_usd(live, r["input_tokens"], r["output_tokens"]) for r in known if r is not None)
    verdicts: list[Verdict] = []
    for question, request, response in zip(asked, requests, known, strict=True):
        if response is None:
            client = client or _client(live)
            worst = _usd(live, _most_tokens(question), live.max_tokens)
            if spent + worst > live.budget_usd:
                raise JudgeError(
                    f"{live.judge_id}: the next call could cost {worst:.4f} USD and {spent:.2f} "
                    f"of {live.budget_usd:.2f} USD are spent. What was paid for is recorded; "
                    "raise judging.live.budget_usd to go on."
                )
            response = _call(client, live, question, seed)
            if response["status"] != "failed":
                record.put(live.judge_id, [(request, response)])
            spent += _usd(live, response["input_tokens"], response["output_tokens"])
        verdicts += _read(live.judge_id, question, response, panel, 0, {"model": live.model})
    return verdicts


def _client(live: Live) -> Any:
    from openai import OpenAI

    secret = os.environ.get(live.key_variable)
    if not secret:
        raise JudgeError(
            f"{live.judge_id}: the environment variable {live.key_variable} is not set, and the "
            "record of calls does not hold all answers."
        )
    return OpenAI(api_key=secret, base_url=live.base_url, max_retries=5, timeout=120)


def _call(client: Any, live: Live, question: Question, seed: int) -> dict[str, Any]:
    try:
        reply = client.chat.completions.create(
            model=live.model,
            messages=[{"role": "user", "content": question.prompt}],
            temperature=0,
            max_tokens=live.max_tokens,
            seed=seed,
        )
    except Exception as error:  # the SDK has retried; whatever is left is this call's failure
        if getattr(error, "status_code", None) in (401, 403, 404):
            raise JudgeError(
                f"{live.judge_id}: the endpoint answers {type(error).__name__} for model "
                f"{live.model!r}: every further call would fail alike. Check the key in "
                f"{live.key_variable}, base_url, and whether the snapshot is still served; "
                "recorded verdicts can stand in its place."
            ) from None
        name = re.sub(r"[^A-Za-z]", "", type(error).__name__)
        return {"text": name, "status": "failed", "input_tokens": 0, "output_tokens": 0}
    choice, usage = reply.choices[0], reply.usage
    refusal = getattr(choice.message, "refusal", None)
    refused = bool(refusal) or choice.finish_reason == "content_filter"
    return {
        "text": refusal or choice.message.content or "",
        "status": "refused" if refused else "answered",
        "finish_reason": choice.finish_reason,
        "model": reply.model,
        # Some servers do not count: then the most it can have been, so that no budget is passed.
        "input_tokens": usage.prompt_tokens if usage else _most_tokens(question),
        "output_tokens": usage.completion_tokens if usage else live.max_tokens,
    }


def _most_tokens(question: Question) -> int:
    """A byte-level tokenizer makes at most a token a byte; a message has a few tokens of frame."""
    return len(question.prompt.encode()) + 16


def _usd(live: Live, input_tokens: float, output_tokens: float) -> float:
    return (
        input_tokens * live.usd_per_million_input + output_tokens * live.usd_per_million_output
    ) / 1e6
