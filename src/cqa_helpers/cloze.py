"""Cascaded cloze: stories with blanks that are filled in order, each by a constraint of its own.

10 to 20 blanks a story, each with a content constraint, are QUIET's (Zou & Xu 2026,
arXiv 2605.25955); its items are not public, and these are ours. A blank ends its sentence, because
a model that writes from left to right must be able to stop there (our choice).
:mod:`~cqa_helpers.clozescores` says what a filling is worth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from cqa_helpers.judges.panel import Panel
from cqa_helpers.models import LocalModel, batches, sample, seed_of
from cqa_helpers.prompts import Question
from cqa_helpers.records import Origin, Passage, Record, RecordError, read_jsonl
from cqa_helpers.taxonomy import Constraint, Dimension, Taxonomy, Text

Source = Literal["intent", "audience", "reality"]
# Which of the study's dimensions a source of constraint belongs to (our reading).
DIMENSION_OF: dict[Source, Constraint] = {
    "intent": "craft", "audience": "audience", "reality": "reality_logic",
}  # fmt: skip
FEWEST, MOST = 10, 20

_MARK = re.compile(r"\{(\d+)\}")
_CLOSING = re.compile(r"\s?[.!?。！？…]+[”’」』\"]*")
# A full stop inside a figure or a clock time ends nothing.
_END = re.compile(r"[.!?](?=[\s”’\"]|$)|[。！？…\n]")
_OPENINGS = {
    "en": ("Here is a passage of fiction.\n\n",
           "Here is a passage of fiction. Its last sentence is to be finished so that this is "
           "true of the words that finish it: {constraint}\n\n"),
    "zh": ("下面是一段小说。\n\n",
           "下面是一段小说，末一句还没有写完。补上的话要做到：{constraint}\n\n"),
}  # fmt: skip
_QUESTIONS = {
    "en": "The words between ⟦ and ⟧ were filled in. Is this true of them, where they stand? "
          "{constraint}",
    "zh": "⟦ 与 ⟧ 之间的话是补写进去的。放在这个位置上，它是否做到了这一条？{constraint}",
}  # fmt: skip


class ClozeError(ValueError):
    """Fillings, verdicts and stories do not belong together."""


class Blank(Record):
    """One gap: what must be true of a filling, where that comes from, and the author's own.

    ``after`` names the earlier blanks whose filling the constraint speaks of.
    """

    source: Source
    constraint: str = Field(min_length=1)
    filling: str = Field(min_length=1)
    after: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _within_a_sentence(self) -> Blank:
        if self.filling != self.filling.strip() or _END.search(self.filling):
            raise ValueError(
                f"filling {self.filling!r} must be part of one sentence, without its end mark and "
                "without space around it"
            )
        return self


class ClozeStory(Record):
    """A story whose blanks stand in its text as ``{1}``, ``{2}``, … in the order of reading."""

    id: str = Field(min_length=1)
    language: Literal["en", "zh"]
    title: str = Field(min_length=1)
    text: str
    blanks: tuple[Blank, ...]
    origin: Origin
    licence: str = Field(min_length=1)
    source: str = Field(min_length=1)
    meta: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _blanks_stand_in_the_text(self) -> ClozeStory:
        there, wanted = [int(m) for m in _MARK.findall(self.text)], len(self.blanks)
        if there != list(range(1, wanted + 1)):
            raise ValueError(f"text has blanks {there}: give {{1}} to {{{wanted}}}, each once and "
                             "in order, one for each of blanks")  # fmt: skip
        if self.origin != "simulated" and not FEWEST <= wanted <= MOST:
            raise ValueError(f"{wanted} blanks: a story has {FEWEST} to {MOST}")
        for k, blank in enumerate(self.blanks, start=1):
            if not _CLOSING.match(self.text.split(f"{{{k}}}")[1]):
                raise ValueError(f"blank {k} does not end its sentence: . ! or ? must follow")
            if wrong := [a for a in blank.after if not 1 <= a < k]:
                raise ValueError(f"blank {k} is after {wrong}: only earlier blanks can be named")
        return self

    def before(self, k: int, fillings: Sequence[str]) -> str:
        """Return the text up to blank ``k`` with the earlier fillings in their places."""
        return _put(self.text.split(f"{{{k}}}")[0], fillings)

    def filled(self, fillings: Sequence[str]) -> str:
        """Return the whole story with its fillings in place."""
        return _put(self.text, fillings)

    def own(self) -> tuple[str, ...]:
        """Return the author's fillings in order."""
        return tuple(blank.filling for blank in self.blanks)

    def closing(self, k: int) -> str:
        """Return the marks that end the sentence of blank ``k``."""
        found = _CLOSING.match(self.text.split(f"{{{k}}}")[1])
        assert found is not None
        return found[0]


class Filling(NamedTuple):
    """What one filler put into one blank, and what stood in the ``earlier`` blanks then.

    ``text`` is null where nothing was written, and nothing then stands there for later ones;
    ``finished`` says that the sentence was brought to its end within the limit; ``draw`` tells a
    filler's seeds apart.
    """

    story: str
    blank: int
    filler: str
    text: str | None
    earlier: tuple[str, ...]
    finished: bool = True
    draw: int = 0

    @property
    def item_id(self) -> str:
        """Return the id under which a judge is asked about it."""
        return f"{self.story}#{self.blank}@{self.filler}#{self.draw}"


Opening = Callable[[ClozeStory, Blank | None], str]
"""What stands before a story: told the constraint of a blank, or neutral where it is null."""


def load(path: Path) -> list[ClozeStory]:
    """Read stories from JSON Lines.

    Raises
    ------
    RecordError
        Each fault with file, line and field; or a story is there twice.
    """
    stories = read_jsonl(path, ClozeStory)
    ids = [s.id for s in stories]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise RecordError(f"{path}: given twice: {', '.join(twice)}; a story's id is its own.")
    return stories


def opening(story: ClozeStory, blank: Blank | None) -> str:
    """Return what stands before a story in plain words of its language."""
    neutral, constrained = _OPENINGS[story.language]
    return neutral if blank is None else constrained.replace("{constraint}", blank.constraint)


def fill(
    local: LocalModel,
    stories: Sequence[ClozeStory],
    *,
    filler: str,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    told: bool = True,
    before: Opening = opening,
    batch_size: int = 16,
    draw: int = 0,
) -> list[Filling]:
    """Fill every blank in order; what was written stays in the text for the later ones.

    A filling ends with its sentence. ``told`` gives the blank's constraint beforehand.
    Temperature 0 is the most likely filling, token by token. Stories are sampled together, so
    that a draw belongs to the list of stories, the batch size and the seed.
    """
    written: dict[str, list[str]] = {story.id: [] for story in stories}
    found = []
    for k in range(1, max((len(s.blanks) for s in stories), default=0) + 1):
        turn = [s for s in stories if k <= len(s.blanks)]
        for part in batches(len(turn), batch_size):
            prompts = [
                before(s, s.blanks[k - 1] if told else None) + s.before(k, written[s.id])
                for s in turn[part]
            ]
            said = sample(
                local, [prompt.rstrip() for prompt in prompts], temperature=temperature,
                max_new_tokens=max_new_tokens, seed=seed_of(seed, k, part.start),
            )  # fmt: skip
            for story, one in zip(turn[part], said, strict=True):
                end = _END.search(one)
                own = one[: end.start() if end else None].strip()
                earlier = tuple(written[story.id])
                found.append(
                    Filling(story.id, k, filler, own or None, earlier, end is not None, draw)
                )
                written[story.id].append(own)
    return found


def by_author(stories: Sequence[ClozeStory]) -> list[Filling]:
    """Return the author's own fillings: the upper control."""
    return [
        Filling(story.id, k, "author", text, story.own()[: k - 1])
        for story in stories for k, text in enumerate(story.own(), start=1)
    ]  # fmt: skip


def shuffled(stories: Sequence[ClozeStory], seed: int) -> list[Filling]:
    """Put into each blank an author's filling of another story in its language: the lower control.

    The author's fillings stand before it, so that it is the filling alone that is wrong. Of
    another story, because two blanks of one story may be about the same thing.

    Raises
    ------
    ClozeError
        A language has one story alone.
    """
    rng = np.random.default_rng(seed)
    found = []
    for story in stories:
        others = [
            text for s in stories if s.language == story.language and s.id != story.id
            for text in s.own()
        ]  # fmt: skip
        if not others:
            raise ClozeError(f"{story.id}: no other story in {story.language!r} to take from.")
        drawn = rng.choice(others, len(story.blanks), replace=len(others) < len(story.blanks))
        for k, text in enumerate(drawn, start=1):
            found.append(Filling(story.id, k, "shuffled", str(text), story.own()[: k - 1]))
    return found


def asked(
    stories: Sequence[ClozeStory], fillings: Sequence[Filling], panel: Panel
) -> list[Question]:
    """Return the question whether each filling keeps its blank's constraint.

    A judge sees the story up to the end of the blank's sentence, the filling between ⟦ and ⟧, in
    the panel's words and form; nobody is asked where nothing was filled in. The panel's own
    taxonomy is not used: the dimension is the source of the constraint.
    """
    known = {story.id: story for story in stories}
    questions = []
    for f in fillings:
        if f.text is None:
            continue
        story = known[f.story]
        blank = story.blanks[f.blank - 1]
        text = re.sub("[⟦⟧]", "", f.text)
        passage = Passage(
            id=f.item_id, work_id=story.id, language=story.language, origin=story.origin,
            text=f"{story.before(f.blank, f.earlier)}⟦{text}⟧{story.closing(f.blank)}",
            licence=story.licence, source=story.source,
        )  # fmt: skip
        own = replace(panel, taxonomy=_taxonomy(story, blank))
        questions += own.questions([passage])
    return questions


def _put(text: str, fillings: Sequence[str]) -> str:
    # One pass, so that braces inside a filling are text and no blank.
    return _MARK.sub(lambda m: fillings[int(m[1]) - 1], text)


def _taxonomy(story: ClozeStory, blank: Blank) -> Taxonomy:
    words = _QUESTIONS[story.language].replace("{constraint}", blank.constraint)
    dimension = Dimension(
        id=blank.source, label=Text(en=blank.source, zh=blank.source), scale="0-1", aspect=None,
        question=Text(en=words, zh=words), constraint=DIMENSION_OF[blank.source],
        constraint_reason="The blank names the source of its constraint.",
    )  # fmt: skip
    return Taxonomy(
        id="cloze", title=Text(en="Cloze", zh="填空"), source=story.source,
        licence=story.licence, mapping="our reading", dimensions=(dimension,),
    )  # fmt: skip
