"""What every judge is asked, the one interface of who answers, and how an answer becomes rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cqa_helpers.judges import structured
from cqa_helpers.prompts import Answer, Dialect, FormName, Question, parse, questions
from cqa_helpers.records import Passage, Verdict
from cqa_helpers.taxonomy import Taxonomy

# A token is rarely longer than this: an answer beyond it is not what was asked for.
CHARACTERS_A_TOKEN = 100
# So much of an answer without a verdict stands in its row; all of it is in the record.
SHOWN = 2000


class JudgeError(RuntimeError):
    """A judge cannot be asked."""


class NotRecordedError(LookupError):
    """Answers are not in the record of calls, and no model was given to ask."""


@dataclass(frozen=True)
class Panel:
    """What every judge is asked: the dimensions, in which words, answered in which form.

    ``swapped`` names the two answers in the other order, ``order`` seeds a shuffle of the rubric.
    """

    taxonomy: Taxonomy
    dialect: Dialect
    form: FormName = "reason-first"
    swapped: bool = False
    order: int | None = None

    def questions(self, passages: Sequence[Passage]) -> list[Question]:
        """Return the questions about passages; those without a text cannot be asked about."""
        return questions(
            passages, self.taxonomy, self.dialect, self.form, swapped=self.swapped, order=self.order
        )

    def words(self) -> dict[int, str]:
        """Return the word of each value."""
        return self.dialect.words_of(self.form)


class Judge(Protocol):
    """Whoever answers questions: a local model, an endpoint, a stand-in in a test."""

    judge_id: str

    def ask(self, asked: Sequence[Question], panel: Panel, *, repeat: int = 0) -> list[Verdict]:
        """Return one verdict for each dimension of each question, in order."""
        ...


def rows(
    judge_id: str,
    question: Question,
    response: Mapping[str, Any],
    panel: Panel,
    repeat: int = 0,
    meta: Mapping[str, Any] | None = None,
) -> list[Verdict]:
    """Read one response as verdicts, one for each dimension of the question.

    A response has ``text``, and where known ``status`` (``refused``, ``failed``), ``why``,
    ``finish_reason``, ``max_tokens`` and ``probabilities`` by dimension. What has no verdict says
    why in ``meta.why``; nothing is made up for it.
    """
    text, status = response["text"], response.get("status")
    common = {**(meta or {}), **({"flags": list(question.flags)} if question.flags else {})}
    longest = response.get("max_tokens", float("inf")) * CHARACTERS_A_TOKEN
    if status in ("refused", "failed"):
        why = response.get("why", status)
        answers = [Answer(d, None, text, status, None) for d in question.dimensions]
    elif len(text) > longest:
        why = f"{len(text):,} characters, more than max_tokens could be"
        answers = [Answer(d, None, text, "unparsed", None) for d in question.dimensions]
    else:
        read = structured.parse if panel.dialect.answer == "json" else parse
        answers = read(text, question.dimensions, panel.dialect, panel.form)
        cut_off = response.get("finish_reason") == "length"
        if cut_off and panel.dialect.answer == "json" and not text.rstrip("` \n").endswith("}"):
            # What stands before the cut is no answer yet, and may be quoted from the passage.
            answers = [Answer(d, None, text, "unparsed", None) for d in question.dimensions]
        why = "truncated" if cut_off else "no verdict" if text.strip() else "empty"
    return [
        Verdict(
            item_id=question.item_id,
            dimension=answer.dimension,
            judge_id=judge_id,
            repeat=repeat,
            value=answer.value,
            scale=panel.dialect.scale,
            probability=(
                response.get("probabilities", {}).get(answer.dimension)
                if answer.status == "ok" else None
            ),
            reason=storable(answer.reason if answer.status == "ok" else _short(answer.reason)),
            status=answer.status,
            meta=common if answer.status == "ok" else {**common, "why": why},
        )
        for answer in answers
    ]  # fmt: skip


def storable(text: str) -> str:
    """Return a text without half characters, which an answer may hold and no file can."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + " …"
