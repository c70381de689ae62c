"""One simulated micro-mystery: how it is drawn, and how it is told.

A tale is drawn once (:class:`Draw`) and can be told with any of its three dimensions good or
violated; two tellings of one draw differ in one sentence for each bit that differs. Our choice
throughout: the world shows how a pipeline behaves, not how literature works.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple, TypeVar

import numpy as np

from cqa_helpers.rehearsal import grammar as g

T = TypeVar("T")

PATTERNS = tuple(product((1, 0), repeat=3))
"""Truth by dimension, 1 good and 0 violated, in the order of :data:`grammar.DIMENSIONS`."""
SHAPES = tuple((x, y, z) for x, y, z in product("ab", repeat=3))
"""Subtype by dimension, in the same order."""
GOOD = (1, 1, 1)
"""Nothing violated."""
_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


class Note(NamedTuple):
    """One accurate observation about a tale, in two wordings.

    ``dimension`` is null for a distractor, which bears on no judgement; ``good`` is the answer
    that keeps the standard of the dimension. ``parts`` are the parts of the tale it rests on.
    """

    kind: str
    dimension: str | None
    wordings: tuple[str, str]
    answer: bool
    good: bool | None
    parts: frozenset[str]


class Story(NamedTuple):
    """A told tale with its planted truth (1 good, 0 violated) by dimension, and what was drawn."""

    id: str
    sentences: tuple[str, ...]
    truth: Mapping[str, int]
    subtypes: Mapping[str, str]
    notes: tuple[Note, ...]
    plan: Mapping[str, str]
    parts: Mapping[str, tuple[str, ...]]
    drawn: Draw

    @property
    def text(self) -> str:
        """The sentences in order, without any special token."""
        return " ".join(self.sentences)

    def note(self, dimension: str) -> Note:
        """Return the one note that bears on a dimension."""
        return next(n for n in self.notes if n.dimension == dimension)


class Draw(NamedTuple):
    """Every random choice of one tale, including those only a violation uses."""

    shape: tuple[str, str, str]
    order: tuple[int, int, int]
    phrasing: tuple[int, ...]
    cast: Mapping[str, str]
    aside_slot: int


class Dice:
    """Uniform picks from a numpy Generator, drawn in bulk because tales need many."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._stock: list[float] = []

    def roll(self) -> float:
        """Return a float in [0, 1)."""
        if not self._stock:
            self._stock = self._rng.random(4096).tolist()
        return self._stock.pop()

    def pick(self, items: Sequence[T]) -> T:
        """Return one item."""
        return items[int(self.roll() * len(items))]

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """Return ``k`` different items in random order."""
        pool = list(items)
        return [pool.pop(int(self.roll() * len(pool))) for _ in range(k)]


def draw(dice: Dice, shape: tuple[str, str, str]) -> Draw:
    """Draw the random choices of one tale of a given shape."""
    killer, victim, other, witness, fresh, person = dice.sample(g.PEOPLE, 6)
    places, objects = dice.sample(g.PLACES, 6), dice.sample(g.OBJECTS, 3)
    furniture, deeds = dice.sample(g.FURNITURE, 2), dice.sample(g.DEEDS, 2)
    worn_key, worn = dice.pick(g.WORN_MOODS)
    # Half of the time the body lies where the tale starts and half of the time the killer is
    # the finder: readings that vary, and carry no judgement.
    body_place = places[0] if dice.roll() < 0.5 else places[1]
    finder = killer if dice.roll() < 0.5 else other
    cast = {
        "detective": dice.pick(g.DETECTIVES),
        "killer": killer,
        "victim": victim,
        "finder": finder,
        "witness": witness,
        "person": person,
        # A living mover is as often someone known as someone new: being named twice is no sign.
        "alive": fresh if dice.roll() < 0.5 else finder,
        "act": dice.pick(g.ACTS),
        "place": places[0],
        "time": dice.pick(g.TIMES),
        "body_place": body_place,
        "alibi_place": places[2],
        "alibi_time": dice.pick(g.TIMES),
        "seen_place": places[3],
        "mood_noun": dice.pick(g.MOOD_NOUNS),
        "mood_verb": dice.pick(g.MOOD_VERBS),
        "mood_preposition": dice.pick(g.MOOD_PREPOSITIONS),
        "mood_surface": dice.pick(g.MOOD_SURFACES),
        "worn_key": worn_key,
        "worn": worn,
        "plain": dice.pick(g.PLAIN_LINES),
        "modern": dice.pick(g.MODERN_LINES),
        "object": objects[0],
        "object2": objects[1],
        "object3": objects[2],
        "clue_first": dice.pick(("object", "object2")),
        "adjective": dice.pick(g.ADJECTIVES),
        "adjective2": dice.pick(g.ADJECTIVES),
        "furniture": furniture[0],
        "furniture2": furniture[1],
        "deed": deeds[0],
        "deed2": deeds[1],
        "deed_place": places[4],
        "deed_place2": places[5],
    }
    phrasing = tuple(int(dice.roll() * 3) for _ in range(9))
    return Draw(shape, dice.pick(_ORDERS), phrasing, cast, int(dice.roll() * 4))


def _note(kind: str, answer: bool, parts: str, **operands: str) -> Note:
    dimension, _, good = g.STANDARDS.get(kind, (None, "", None))
    word = "yes" if answer else "no"
    a, b = (t.format(answer=word, **operands) for t in g.NOTES[kind])
    return Note(kind, dimension, (a, b), answer, good, frozenset(parts.split()))


def tell(drawn: Draw, truth: tuple[int, ...], story_id: str, aside: str | None = None) -> Story:
    """Tell a drawn tale with each dimension good (1) or violated (0).

    ``aside`` is a sentence set between two parts; it bears on no dimension.
    """
    c, p = drawn.cast, drawn.phrasing
    fine = dict(zip(g.DIMENSIONS, map(bool, truth), strict=True))
    kind = dict(zip(g.DIMENSIONS, drawn.shape, strict=True))
    parts: dict[str, tuple[str, ...]] = {
        "opening": (g.OPENINGS[p[0]].format(**c),),
        "body": (g.BODIES[p[1]].format(**c),),
        "reveal": (g.REVEALS_BARE[p[5]].format(**c),),
    }

    ok = fine["craft"]
    if kind["craft"] == "a":
        parts["craft"] = (g.FRESH_MOOD.format(**c) if ok else c["worn"],)
        key = c["mood_noun"] if ok else c["worn_key"]
        craft = _note("mood", not ok, "craft", x=key)
        tone = "mood"
    else:
        line = c["plain"] if ok else c["modern"]
        parts["craft"] = (g.SPEECHES[p[2]].format(detective=c["detective"], line=line),)
        starts = " ".join(line.split()[:2])
        craft = _note("speech", not ok, "craft", x=c["detective"], y=starts)
        tone = "speech"

    ok = fine["audience"]
    if kind["audience"] == "a":
        shown, also = ("object", "object2")
        if c["clue_first"] != "object":
            shown, also = also, shown
        parts["audience"] = (
            g.FIRST_CLUES[p[3]].format(
                adjective=c["adjective"], object=c[shown], furniture=c["furniture"]
            ),
            g.SECOND_CLUES[p[4]].format(
                adjective=c["adjective2"], object=c[also], furniture=c["furniture2"]
            ),
        )
        named = c["object"] if ok else c["object3"]
        parts["reveal"] = (g.REVEALS_BY_CLUE[p[5]].format(object=named, killer=c["killer"]),)
        audience = _note("clue", ok, "audience reveal", x=c[shown], y=c[also], z=named)
        promise = g.PLANS["clue"].format(x=c["object"])
    else:
        asked = (c["deed"], c["deed_place"])
        told = asked if ok else (c["deed2"], c["deed_place2"])
        parts["audience"] = (
            g.QUESTIONS[p[3]].format(deed=asked[0], place=asked[1]),
            g.ANSWERS[p[4]].format(person=c["person"], deed=told[0], place=told[1]),
        )
        audience = _note("question", ok, "audience", x=" ".join(asked), y=" ".join(told))
        promise = g.PLANS["question"].format(x=" ".join(asked))

    ok = fine["reality_logic"]
    if kind["reality_logic"] == "a":
        seen = c["alibi_place"] if ok else c["seen_place"]
        parts["reality_logic"] = (
            g.CLAIMS[p[6]].format(killer=c["killer"], place=c["alibi_place"], time=c["alibi_time"]),
            g.SIGHTINGS[p[7]].format(
                witness=c["witness"],
                killer=c["killer"],
                place=seen,
                time=c["alibi_time"],
            ),
        )
        logic = _note("alibi", ok, "reality_logic", x=c["killer"], y=c["alibi_place"], z=seen)
        world = g.PLANS["alibi"].format(x=c["killer"], y=c["alibi_place"])
    else:
        mover = c["alive"] if ok else c["victim"]
        parts["reality_logic"] = (g.MOVES[p[8]].format(mover=mover, act=c["act"]),)
        logic = _note("mover", not ok, "body reality_logic", x=c["victim"], y=mover)
        world = g.PLANS["mover"].format(x=c["victim"])

    distractors = (
        _note(
            "finder",
            c["finder"] == c["killer"],
            "body reveal",
            x=c["killer"],
            y=c["finder"],
        ),
        _note("hour", c["time"] in g.NIGHT, "opening", x=c["time"]),
        _note("start", c["place"] in g.INDOORS, "opening", x=c["place"]),
        _note(
            "scene",
            c["place"] == c["body_place"],
            "opening body",
            x=c["place"],
            y=c["body_place"],
        ),
    )
    blocks = [g.DIMENSIONS[i] for i in drawn.order]
    sequence = ["opening", "body", *blocks, "reveal"]
    if aside is not None:
        parts["aside"] = (aside,)
        sequence.insert(2 + drawn.aside_slot, "aside")
    return Story(
        id=story_id,
        sentences=tuple(s for name in sequence for s in parts[name]),
        truth={d: int(v) for d, v in fine.items()},
        subtypes=kind,
        notes=(craft, audience, logic, *distractors),
        plan={"intent": g.PLANS[tone], "audience": promise, "reality": world},
        parts={name: parts[name] for name in sequence},
        drawn=drawn,
    )
