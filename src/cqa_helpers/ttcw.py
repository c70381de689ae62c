"""TTCW as records: public stories, expert verdicts with reasons, recorded LLM verdicts.

Chakrabarty et al. 2024, *Art or Artifice?* (arXiv 2309.14556), data BSD-3-Clause: 48 stories on
12 plots, 14 yes/no tests, three of 11 experts a story, seven recorded LLM judges.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from cqa_helpers import sources
from cqa_helpers.annotations import Annotation, Judgement
from cqa_helpers.records import Passage, Verdict

JUDGES = ("cgpt", "claude3-opus", "claudev13", "claudev2", "claudev21", "gemini-pro", "gpt4")
DIMENSIONS = tuple(f"ttcw-{k:02d}" for k in range(1, 15))
SOURCE = "TTCW, salesforce/creativity_eval"


class TTCW(NamedTuple):
    """The whole set. ``missing`` counts the cells for which a recorded judge left no row."""

    passages: list[Passage]
    expert_verdicts: list[Verdict]
    recorded_verdicts: list[Verdict]
    missing: dict[str, int]


class _Story(BaseModel):
    story_idx: int
    story_id: str
    content: str = Field(min_length=1)


class _Annotation(BaseModel):
    story_id: str
    expert_idx: int
    ttcw_idx: int = Field(ge=1, le=14)
    binary_verdict: Literal["Yes", "No"]
    explanation: str


class _Response(BaseModel):
    id: str = Field(pattern=r"^story_.+_test\d+$")
    response: str


# Quotes, marks of emphasis and blanks may stand before the word. It must stand alone, before
# punctuation, a line break, a new sentence or the end: what goes on ("No one", "Yes and no",
# "No-nonsense") is not an answer.
_ANSWER = re.compile(
    r"[\W_]*(?:answer[\W_]*:[\W_]*)?(?P<word>yes|no)[*_\"'”’]*(?=\s*(?:[.,;:!—–)]|\n|\Z)|\s+(?-i:[A-Z]))",
    re.IGNORECASE,
)


def parse_answer(response: str) -> int | None:
    """Return 1 where a response starts with Yes, 0 where with No, and null for anything else.

    Our choice of strictness: quotes, markdown and a leading "Answer:" are passed over; the word
    must be followed by punctuation, a line break, a new sentence or the end.
    """
    match = _ANSWER.match(response)
    return None if match is None else int(match["word"].lower() == "yes")


def read(fetch: Callable[[str], Path] = sources.fetch) -> TTCW:
    """Read stories, expert verdicts and the recorded verdicts of seven LLM judges.

    A story is an item (``0_Claude``) and its plot the work (``plot-0``): four writers told each
    plot. The New Yorker's stories have a link and no text. A recorded response that does not
    start with Yes or No is ``unparsed``, its text kept as the reason; an absent row is counted
    in ``missing`` and not invented. The data hold no judge's row twice, and a double is refused.

    Parameters
    ----------
    fetch
        Returns the path of a public file by its name in ``data/sources.yaml``.

    Raises
    ------
    SourceError
        A file is out of reach or altered.
    ValueError
        A file does not have the shape described here.
    """
    passages = _passages(_rows(fetch("ttcw-stories"), _Story))
    items = {p.id for p in passages}
    experts = [
        Verdict(
            item_id=row.story_id,
            dimension=f"ttcw-{row.ttcw_idx:02d}",
            judge_id=f"expert-{row.expert_idx}",
            value=int(row.binary_verdict == "Yes"),
            reason=row.explanation,
        )
        for row in _rows(fetch("ttcw-annotations"), _Annotation)
    ]
    _check("ttcw-annotations", experts, items)
    recorded: list[Verdict] = []
    missing: dict[str, int] = {}
    for judge in JUDGES:
        name = f"ttcw-judge-{judge}"
        rows = [_recorded(row, judge) for row in _rows(fetch(name), _Response)]
        _check(name, rows, items)
        missing[judge] = len(items) * len(DIMENSIONS) - len(rows)
        recorded += rows
    return TTCW(passages, experts, recorded, missing)


def as_annotations(data: TTCW, passage_ids: Iterable[str]) -> list[Annotation]:
    """Return each expert verdict on these passages, with its reason, as one annotation.

    The reasons were written after a yes or no, test by test, by one person alone. They stand in
    the place of a chain of thought (our choice) and were not elicited as one: ``solo``.
    """
    order = {item: k for k, item in enumerate(dict.fromkeys(passage_ids))}
    said = [v for v in data.expert_verdicts if v.item_id in order and v.value is not None]
    said.sort(key=lambda v: (order[v.item_id], v.judge_id, v.dimension))
    return [
        Annotation(
            id=f"{v.item_id}-{v.judge_id}-{v.dimension}",
            passage_id=v.item_id,
            protocol="solo",
            expert_id=v.judge_id,
            cot_body=v.reason,
            judgements=(Judgement(dimension=v.dimension, value=v.value, reason=v.reason),),
        )
        for v in said
        if v.value is not None
    ]


M = TypeVar("M", bound=BaseModel)


def _passages(stories: Iterable[_Story]) -> list[Passage]:
    passages = []
    for story in stories:
        linked = story.content.startswith("http")
        passages.append(
            Passage(
                id=story.story_id,
                work_id=f"plot-{story.story_idx}",
                text=None if linked else story.content,
                url=story.content if linked else None,
                origin="published" if linked else "model-authored",
                licence="the author's; not shared" if linked else "BSD-3-Clause",
                source=SOURCE,
                meta={"writer": story.story_id.split("_", 1)[1]},
            )
        )
    return passages


def _recorded(row: _Response, judge: str) -> Verdict:
    item, test = row.id.removeprefix("story_").rsplit("_test", 1)
    value = parse_answer(row.response)
    return Verdict(
        item_id=item,
        dimension=f"ttcw-{int(test):02d}",
        judge_id=judge,
        value=value,
        reason=row.response,
        status="unparsed" if value is None else "ok",
        meta={} if value is not None else {"why": _why(row.response)},
    )


def _why(response: str) -> str:
    if response.strip() == "Content Blocked":
        return "blocked by the provider"
    return "no verdict" if response.strip() else "empty"


def _rows(path: Path, kind: type[M]) -> list[M]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        text = "[" + ",".join(line for line in text.split("\n") if line.strip()) + "]"
    try:
        return TypeAdapter(list[kind]).validate_json(text)  # type: ignore[valid-type]
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(
            f"{path}: row and field {place}: {first['msg']} "
            f"({error.error_count()} fault(s); nothing was read)"
        ) from None


def _check(name: str, verdicts: list[Verdict], items: set[str]) -> None:
    seen: set[tuple[str, str, str]] = set()
    for v in verdicts:
        cell = (v.judge_id, v.item_id, v.dimension)
        if v.item_id not in items or v.dimension not in DIMENSIONS:
            raise ValueError(f"{name}: {v.dimension} of {v.item_id!r} is no test of a known story")
        if cell in seen:
            raise ValueError(f"{name}: {v.judge_id} judges {v.dimension} of {v.item_id} twice")
        seen.add(cell)
