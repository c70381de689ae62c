"""What a written micro-mystery is worth, read off by the grammar: the planted truth of new texts.

The grammar that tells the tales also reads them: each sentence is known by its wording, and what
makes a dimension good or violated stands in the words drawn. What does not fit is unread, which
is neither good nor violated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import permutations, product
from typing import NamedTuple

import pandas as pd

from cqa_helpers.records import Constraints
from cqa_helpers.rehearsal import grammar as g

_WORDS = {
    "detective": g.DETECTIVES, "place": g.PLACES, "body_place": g.PLACES, "time": g.TIMES,
    "object": g.OBJECTS, "adjective": g.ADJECTIVES, "furniture": g.FURNITURE, "deed": g.DEEDS,
    "act": g.ACTS, "mood_noun": g.MOOD_NOUNS, "mood_verb": g.MOOD_VERBS,
    "mood_preposition": g.MOOD_PREPOSITIONS, "mood_surface": g.MOOD_SURFACES,
    "line": g.PLAIN_LINES + g.MODERN_LINES,
    **dict.fromkeys(("finder", "victim", "killer", "witness", "mover", "person"), g.PEOPLE),
}  # fmt: skip
_KINDS: Mapping[str, tuple[str, ...]] = {
    "opening": g.OPENINGS, "body": g.BODIES, "fresh": (g.FRESH_MOOD,),
    "worn": tuple(phrase for _, phrase in g.WORN_MOODS), "speech": g.SPEECHES,
    "clue": g.FIRST_CLUES, "clue more": g.SECOND_CLUES, "question": g.QUESTIONS,
    "answer": g.ANSWERS, "claim": g.CLAIMS, "sighting": g.SIGHTINGS, "move": g.MOVES,
    "reveal": g.REVEALS_BARE, "reveal by clue": g.REVEALS_BY_CLUE,
    "fact": tuple(
        template.format(key=key, value=value)
        for kind, table in g.FACTS.items()
        for template, key, value in product(g.FACT_SENTENCES[kind], table, set(table.values()))
    ),
}  # fmt: skip
_BLOCKS = (
    (("fresh",), ("worn",), ("speech",)),
    (("clue", "clue more"), ("question", "answer")),
    (("claim", "sighting"), ("move",)),
)


class Sentence(NamedTuple):
    """A sentence that the grammar knows: its kind, and what stands in its slots."""

    kind: str
    slots: Mapping[str, str]


class Gauged(NamedTuple):
    """What was read of a text.

    ``formed``: it is a whole tale of the grammar, sentence by sentence. ``coherent``: its people
    keep their parts, so far as they are named (one detective, one killer, a victim who is no one
    else). ``truth``: 1 good, 0 violated, by dimension; null where that cannot be read.
    ``promises`` are the constraints that the tale takes up, by source; ``spoken`` is the share of
    words that are spoken lines.
    """

    formed: bool
    coherent: bool
    truth: Mapping[str, int | None]
    promises: Mapping[str, tuple[str, ...]]
    spoken: float


def gauge(text: str) -> Gauged:
    """Read a text by the grammar."""
    read = sentences(text)
    found = {s.kind: s.slots for s in reversed([s for s in read if s is not None])}
    kinds = tuple("" if s is None else s.kind for s in read)
    craft, tone = _craft(found)
    audience, promise = _audience(found)
    logic, world = _logic(found)
    lines = [s.slots["line"] for s in read if s is not None and s.kind == "speech"]
    return Gauged(
        _whole(kinds),
        _coherent(found),
        dict(zip(g.DIMENSIONS, (craft, audience, logic), strict=True)),
        {"intent": tone, "audience": promise, "reality": world},
        sum(len(line.split()) for line in lines) / max(1, len(text.split())),
    )


def sentences(text: str) -> list[Sentence | None]:
    """Return the sentences of a text in order; None for each that is none of the grammar's."""
    return [_known(" ".join(part.split())) for part in re.findall(r"[^.?]*\S[.?]?", text)]


def measured(texts: Sequence[str], constraints: Sequence[Constraints]) -> pd.DataFrame:
    """Return one row a text: shares in [0, 1], nan where nothing can be read.

    ``formed``, ``coherent``, the truth by dimension, ``good`` (mean of the dimensions read) and
    ``follows`` (share of its three constraints that the tale takes up).
    """
    rows = []
    for text, own in zip(texts, constraints, strict=True):
        found = gauge(text)
        kept = [getattr(own, source) in took for source, took in found.promises.items()]
        rows.append(
            {"formed": found.formed, "coherent": found.coherent, **found.truth,
             "follows": sum(kept) / len(kept)}
        )  # fmt: skip
    table = pd.DataFrame(
        rows, columns=["formed", "coherent", *g.DIMENSIONS, "follows"]
    ).astype(float)  # fmt: skip
    return table.assign(good=table[list(g.DIMENSIONS)].mean(axis=1))


def spoken(text: str) -> float:
    """Return the share of a text's words that are spoken lines."""
    return gauge(text).spoken


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    return {
        kind: re.compile("|".join(f"(?:{_pattern(t, i)})" for i, t in enumerate(templates)))
        for kind, templates in _KINDS.items()
    }


def _pattern(template: str, number: int) -> str:
    """Return a template as a pattern; a slot's group bears the template's number."""
    parts = re.split(r"\{(\w+)\}", template)
    return "".join(
        f"(?P<{part}_{number}>{'|'.join(map(re.escape, _WORDS[part]))})" if i % 2
        else re.escape(part)
        for i, part in enumerate(parts)
    )  # fmt: skip


@cache
def _known(sentence: str) -> Sentence | None:
    for kind, pattern in _patterns().items():
        if match := pattern.fullmatch(sentence):
            slots = {k.rpartition("_")[0]: v for k, v in match.groupdict().items() if v}
            return Sentence(kind, slots)
    return None


@cache
def _shapes() -> frozenset[tuple[str, ...]]:
    """Return every order of kinds that a tale can have, without a fact between."""
    return frozenset(
        ("opening", "body", *(kind for block in order for kind in block),
         "reveal by clue" if ("clue", "clue more") in order else "reveal")
        for chosen in product(*_BLOCKS)
        for order in permutations(chosen)
    )  # fmt: skip


def _whole(kinds: tuple[str, ...]) -> bool:
    told = tuple(kind for kind in kinds if kind != "fact")
    return told in _shapes() and kinds.count("fact") <= 1


def _coherent(found: Mapping[str, Mapping[str, str]]) -> bool:
    def named(slot: str) -> set[str]:
        return {slots[slot] for slots in found.values() if slot in slots}

    times = {found[kind]["time"] for kind in ("claim", "sighting") if kind in found}
    others = named("killer") | named("finder") | named("witness")
    single = max(len(named("detective")), len(named("killer")), len(times)) <= 1
    return single and not named("victim") & others


def _craft(found: Mapping[str, Mapping[str, str]]) -> tuple[int | None, tuple[str, ...]]:
    if "fresh" in found or "worn" in found:
        # Both at once are one good and one violated sentence: violated.
        return int("worn" not in found), (g.PLANS["mood"],)
    if "speech" in found:
        return int(found["speech"]["line"] in g.PLAIN_LINES), (g.PLANS["speech"],)
    return None, ()


def _audience(found: Mapping[str, Mapping[str, str]]) -> tuple[int | None, tuple[str, ...]]:
    if "clue" in found and "clue more" in found:
        shown = (found["clue"]["object"], found["clue more"]["object"])
        promised = tuple(g.PLANS["clue"].format(x=each) for each in shown)
        if "reveal by clue" not in found:
            return None, promised
        return int(found["reveal by clue"]["object"] in shown), promised
    if "question" in found:
        asked = (found["question"]["deed"], found["question"]["place"])
        promised = (g.PLANS["question"].format(x=" ".join(asked)),)
        if "answer" not in found:
            return None, promised
        told = (found["answer"]["deed"], found["answer"]["place"])
        return int(asked == told), promised
    return None, ()


def _logic(found: Mapping[str, Mapping[str, str]]) -> tuple[int | None, tuple[str, ...]]:
    body = found.get("body")
    if "claim" in found:
        claim, seen = found["claim"], found.get("sighting")
        promised = (g.PLANS["alibi"].format(x=claim["killer"], y=claim["place"]),)
        if seen is None or seen["killer"] != claim["killer"] or seen["time"] != claim["time"]:
            return None, promised
        return int(seen["place"] == claim["place"]), promised
    if "move" in found and body is not None:
        promised = (g.PLANS["mover"].format(x=body["victim"]),)
        return int(found["move"]["mover"] != body["victim"]), promised
    return None, ()
