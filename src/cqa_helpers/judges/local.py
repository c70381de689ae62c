"""A local model as a judge: base or adapter, reviews sampled, probabilities read at the verdict."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from cqa_helpers.calls import CallRecord
from cqa_helpers.choices import Spot, choice_probabilities, distribution
from cqa_helpers.judges.panel import JudgeError, NotRecordedError, Panel, rows
from cqa_helpers.models import LocalModel, batches, sample, seed_of
from cqa_helpers.params import Judging
from cqa_helpers.prompts import Question, lead, parse
from cqa_helpers.records import Verdict


@dataclass
class LocalJudge:
    """A local causal language model; what is on record is not asked again.

    A form with reasons is sampled, and the probability read at the verdict's own position after
    the reasoning. A bare verdict is not sampled as text: it is drawn in proportion to the
    probabilities of the full words, so that it can always be read. ``opened`` gives the model when
    it is first needed; without it everything must be on record.

    Texts of a batch are sampled together, so that a draw belongs to its whole batch: the batch and
    the place in it are part of what is recorded, and a batch that is not wholly on record is drawn
    whole. A resumed run therefore repeats an uninterrupted one.
    """

    judge_id: str
    identity: str
    judging: Judging
    record: CallRecord
    opened: Callable[[], AbstractContextManager[LocalModel]] | None = None
    seed: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def ask(self, asked: Sequence[Question], panel: Panel, *, repeat: int = 0) -> list[Verdict]:
        """Return one verdict for each dimension of each question, in order.

        Raises
        ------
        NotRecordedError
            Something is not in the record and there is no model to ask.
        JudgeError
            The panel wants JSON, which a model that completes text cannot be held to.
        """
        if panel.dialect.answer != "text":
            raise JudgeError(
                f"{self.judge_id}: dialect {panel.dialect.id!r} asks for JSON; a local model "
                "completes text. Set models.dialect to one whose answers are text."
            )
        draws = self.judging.draws
        units = [(question, draw) for question in asked for draw in range(draws)]
        cut = [units[part] for part in batches(len(units), self.judging.batch_size)]
        seeds = [seed_of(self.seed, n, *(q.prompt for q, _ in unit)) for n, unit in enumerate(cut)]
        requests = [
            [self._request(q, draw, row, seed, panel, repeat) for row, (q, draw) in enumerate(unit)]
            for unit, seed in zip(cut, seeds, strict=True)
        ]
        known = self.record.get([request for batch in requests for request in batch])
        starts = np.cumsum([0, *map(len, cut)])
        responses: list[list[Any]] = [known[a:b] for a, b in pairwise(starts)]
        missing = [n for n, batch in enumerate(responses) if any(r is None for r in batch)]
        if missing and self.opened is None:
            raise NotRecordedError(
                f"{self.judge_id}: {sum(r is None for r in known)} answers are not in the "
                "record of calls, and no model is loaded to give them."
            )
        if missing:
            assert self.opened is not None
            with self.opened() as local:
                for n in missing:
                    chunk = [question for question, _ in cut[n]]
                    responses[n] = list(self._answers(local, chunk, panel, seeds[n]))
                    self.record.put(self.judge_id, zip(requests[n], responses[n], strict=True))
        flat: list[Any] = [response for batch in responses for response in batch]
        self.seconds += sum(response.get("seconds", 0.0) for response in flat)
        read = [
            rows(self.judge_id, question, response, panel, repeat, self.meta)
            for (question, _), response in zip(units, flat, strict=True)
        ]
        if draws == 1:
            return [verdict for found in read for verdict in found]
        return [
            averaged([found[k] for found in read[start : start + draws]])
            for start in range(0, len(read), draws)
            for k in range(len(read[start]))
        ]

    def _request(
        self, question: Question, draw: int, row: int, seed: int, panel: Panel, repeat: int
    ) -> dict[str, Any]:
        words = panel.words()
        return {
            "prompt": question.prompt,
            "dimensions": list(question.dimensions),
            "words": [words[value] for value in sorted(words)],
            "form": panel.form,
            "model": self.identity,
            "temperature": self.judging.temperature,
            "max_new_tokens": self.judging.max_new_tokens,
            "draw": seed,
            "row": row,
            "repeat": repeat,
            "sample": draw,
        }

    def _answers(
        self, local: LocalModel, chunk: Sequence[Question], panel: Panel, seed: int
    ) -> list[dict[str, Any]]:
        since = time.monotonic()
        with_reason = panel.dialect.forms[panel.form].with_reason
        answer = _review if with_reason else _bare
        made = answer(local, chunk, panel, self.judging, seed)
        each = round((time.monotonic() - since) / len(chunk), 5)
        return [{**response, "seconds": each} for response in made]


def averaged(verdicts: Sequence[Verdict]) -> Verdict:
    """Return several draws of one answer as one: the majority's value, the mean probability.

    A tie goes by that mean, and of two middles on a longer scale the lower counts. Draws without a
    verdict are left out and counted in ``meta``; the reason is the first that argues for the value.
    """
    read = [v for v in verdicts if v.value is not None]
    meta = {**verdicts[0].meta, "draws": len(verdicts), "read": len(read)}
    if not read:
        return verdicts[0].model_copy(update={"meta": meta})
    said = [v.probability for v in read if v.probability is not None]
    mean = sum(said) / len(said) if said else None
    votes = Counter(v.value for v in read)
    top = sorted(v for v, n in votes.items() if v is not None and n == max(votes.values()))
    high = int(read[0].scale.split("-")[1])
    value = high if len(top) > 1 and high in top and (mean or 0.0) > 0.5 else top[0]
    first = next(v for v in read if v.value == value)
    meta.pop("why", None)
    return first.model_copy(
        update={"probability": None if mean is None else round(mean, 6), "meta": meta}
    )


def _review(
    local: LocalModel, chunk: Sequence[Question], panel: Panel, judging: Judging, seed: int
) -> list[dict[str, Any]]:
    """Sample reviews, and read the probability at the place of each verdict in them."""
    items = [q.item_id for q in chunk]
    texts = sample(
        local,
        [q.prompt for q in chunk],
        temperature=judging.temperature,
        max_new_tokens=judging.max_new_tokens,
        seed=seed,
        stops=panel.dialect.stops,
        labels=items,
    )
    spots, owners = [], []
    for row, (question, text) in enumerate(zip(chunk, texts, strict=True)):
        for answer in parse(text, question.dimensions, panel.dialect, panel.form):
            if answer.start is not None:
                spots.append(Spot(row, f"{question.prompt} {text[: answer.start]}"))
                owners.append((row, answer.dimension))
    words = panel.words()
    found = choice_probabilities(
        local, spots, [words[value] for value in sorted(words)], judging.batch_size,
        [items[spot.row] for spot in spots],
    )  # fmt: skip
    probabilities: list[dict[str, float]] = [{} for _ in chunk]
    for (row, dimension), p in zip(owners, found, strict=True):
        probabilities[row][dimension] = round(float(p), 6)
    return [
        {"text": text, "probabilities": p} for text, p in zip(texts, probabilities, strict=True)
    ]


def _bare(
    local: LocalModel, chunk: Sequence[Question], panel: Panel, judging: Judging, seed: int
) -> list[dict[str, Any]]:
    """Draw bare verdicts by the probabilities of the full words, one dimension after the other."""
    rng = np.random.default_rng(seed)
    shape, words = panel.dialect.forms[panel.form], panel.words()
    values, after = sorted(words), shape.verdict.split("{verdict}")[1]
    texts = ["" for _ in chunk]
    probabilities: list[dict[str, float]] = [{} for _ in chunk]
    for k in range(max(len(q.dimensions) for q in chunk)):
        mine = [i for i, q in enumerate(chunk) if k < len(q.dimensions)]
        begun = [
            " ".join(part for part in (texts[i], lead(d, panel.dialect, panel.form)) if part)
            for i in mine if (d := chunk[i].dimensions[k])
        ]  # fmt: skip
        spots = [
            Spot(row, f"{chunk[i].prompt} {text}")
            for row, (i, text) in enumerate(zip(mine, begun, strict=True))
        ]
        found = distribution(
            local, spots, [words[v] for v in values], judging.batch_size,
            [chunk[i].item_id for i in mine],
        )  # fmt: skip
        dice = rng.random(len(mine))
        for i, text, p, die in zip(mine, begun, found, dice, strict=True):
            said = words[values[_drawn(p, judging.temperature, die)]]
            texts[i] = f"{text}{said}{after}"
            probabilities[i][chunk[i].dimensions[k]] = round(float(p[-1]), 6)
    return [
        {"text": text, "probabilities": p} for text, p in zip(texts, probabilities, strict=True)
    ]


def _drawn(p: np.ndarray, temperature: float, die: float) -> int:
    """Return the index drawn from probabilities at a temperature; the largest at 0."""
    if temperature == 0:
        return int(p.argmax())
    heated = np.exp((np.log(np.maximum(p, 1e-300)) - np.log(p.max())) / temperature)
    return int(np.searchsorted(np.cumsum(heated) / heated.sum(), die))
