"""How reviews of the simulated world are worded: two long voices and a short form.

A long section goes observation, intended function, standard, check, effect, counterfactual,
verdict. The same renderer serves the simulated expert, the imitator and the arbitrary reviewers
of the base model's corpus; they differ in which note and which standard they bring.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from cqa_helpers.rehearsal import grammar as g
from cqa_helpers.rehearsal.world import Dice, Note, Story

Voice = Literal["a", "b"]

START, END, PAD, UNKNOWN = "<s>", "</s>", "<pad>", "<unk>"
MARKERS = (
    "<story>", "<read>", "<rev_a>", "<rev_b>", "<short_a>", "<short_b>", "<want>", "<plan>",
    "<facts>",
)  # fmt: skip

AIMS = {
    "craft": ("sound true to its age", "keep the voice fresh"),
    "audience": ("keep its promise", "pay back the attention"),
    "reality_logic": ("let the world stand firm", "obey what was told"),
}
EFFECTS = {
    True: ("the reader is content", "the reader leans in", "one trusts the tale"),
    False: ("the reader frowns", "one feels cheated", "the spell breaks"),
}
COUNTERFACTUALS = {
    True: (
        "otherwise doubt would enter",
        "otherwise the charm would fade",
        "if not , trust is lost",
    ),
    False: (
        "one changed line would mend it",
        "if done well , all would hold",
        "a small change would save it",
    ),
}
VERDICT_WORDS: Mapping[Voice, tuple[str, str]] = {
    "a": ("bad", "good"),
    "b": ("fails", "holds"),
}
"""The word of a violated (0) and of a good (1) dimension."""

_REASONS = {
    "a": "i note {note} . it should {aim} , so it should be {standard} , match {match} . "
    "{effect} . {counterfactual} .",
    "b": "seen : {note} ; meant to {aim} , so be {standard} , alike {match} ; {effect} ; "
    "{counterfactual}",
}
_SECTIONS = {
    "a": "{dimension} : {reason} verdict {word} .",
    "b": "on {dimension} ; {reason} ; ruling {word} .",
}
_SHORT = {
    "a": "{dimension} : verdict {word} .",
    "b": "on {dimension} ; ruling {word} .",
}
_SUMMARY = "overall {score} ."


class Opinion(NamedTuple):
    """One dimension of a review: the note it rests on and the answer its standard asks for."""

    note: Note
    standard: bool

    @property
    def value(self) -> int:
        """The verdict that follows: 1 where the observation matches the standard."""
        return int(self.note.answer == self.standard)


def yes_no(answer: bool) -> str:
    """Return the word of an answer."""
    return "yes" if answer else "no"


def reason(opinion: Opinion, aim: str, voice: Voice, dice: Dice) -> str:
    """Return the reasoning of one section, without the dimension and without the verdict."""
    good = bool(opinion.value)
    return _REASONS[voice].format(
        note=opinion.note.wordings[voice == "b"],
        aim=aim,
        standard=yes_no(opinion.standard),
        match=yes_no(good),
        effect=dice.pick(EFFECTS[good]),
        counterfactual=dice.pick(COUNTERFACTUALS[good]),
    )


def section(dimension: str, text: str, value: int, voice: Voice) -> str:
    """Return one section: the dimension, its reasoning, its verdict."""
    word = VERDICT_WORDS[voice][value]
    return _SECTIONS[voice].format(dimension=dimension, reason=text, word=word)


def short_review(values: Mapping[str, int], voice: Voice) -> str:
    """Return the bare verdicts and the overall score."""
    lines = [
        _SHORT[voice].format(dimension=d, word=VERDICT_WORDS[voice][values[d]])
        for d in g.DIMENSIONS
    ]
    return " ".join((*lines, summary(values)))


def summary(values: Mapping[str, int]) -> str:
    """Return the closing line with the overall score of a set of verdicts."""
    return _SUMMARY.format(score=overall(values))


def overall(values: Mapping[str, int]) -> int:
    """Return 5 with none violated, 4 with craft alone, 3 with one other, 2 with two, 1 with all."""
    bad = [d for d in g.DIMENSIONS if not values[d]]
    if bad == ["craft"]:
        return 4
    return (5, 3, 2, 1)[len(bad)]


def prompt(text: str, marker: str, header: str = "") -> str:
    """Return what stands before a completion: ``<s> [header] <story> text marker``."""
    return " ".join(p for p in (START, header, "<story>", text, marker) if p)


def plan_header(story: Story) -> str:
    """Return the constraint text of one story as the corpus writes it."""
    plan = story.plan
    return f"<plan> {plan['intent']} , {plan['audience']} , {plan['reality']} ."


def want_header(values: Mapping[str, int]) -> str:
    """Return a header that asks for given verdicts."""
    wishes = (f"{d} {VERDICT_WORDS['a'][values[d]]}" for d in g.DIMENSIONS)
    return "<want> " + " , ".join(wishes) + " ."


def vocabulary() -> list[str]:
    """Return every token of the world: special tokens first, then words in order."""
    phrases = [
        *(p for pair in AIMS.values() for p in pair),
        *(p for three in EFFECTS.values() for p in three),
        *(p for three in COUNTERFACTUALS.values() for p in three),
        *(w for pair in VERDICT_WORDS.values() for w in pair),
        *_REASONS.values(), *_SECTIONS.values(), *_SHORT.values(), _SUMMARY, "1 2 3 4 5",
    ]  # fmt: skip
    text = " ".join(re.sub(r"\{\w+\}", " ", p) for p in phrases)
    return [PAD, UNKNOWN, START, END, *MARKERS, *sorted(g.words() | set(text.split()))]
