"""The documents that the base model reads, and the curriculum that mixes them.

The corpus teaches to read (notes), to compare, and to reason coherently from an ARBITRARY
standard. It never ties a verdict to a passage: each review is followed by its antithetic twin,
the same notes with every standard and verdict flipped, so that verdict and passage are exactly
independent. Which note bears on which dimension, and which way the standard points, is left for
annotations to teach.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cqa_helpers.rehearsal import grammar as g
from cqa_helpers.rehearsal import voices as v
from cqa_helpers.rehearsal.world import (
    SHAPES,
    Dice,
    Note,
    Story,
    draw,
    fact_sentence,
    tell,
)

VIOLATION_RATE = 0.5
"""Half, so that copying the first operand of a note is no better a guess than looking."""
ASIDE_RATE = 0.25
ALL_AIMS = tuple(aim for pair in v.AIMS.values() for aim in pair)

# Tales are mostly free choice: at full weight their noise drowns what has to be read from them.
_TALE_WEIGHT, _CONTENT_WEIGHT, _ANSWER_WEIGHT = 0.1, 2.0, 3.0
_CONTENT = frozenset((*g.PEOPLE, *g.DETECTIVES, *g.PLACES, *g.OBJECTS, *g.TIMES, *g.DEEDS))


class Document(NamedTuple):
    """Tokens and the loss weight of each."""

    tokens: list[str]
    weights: list[float]


def document(text: str, tail: str = "") -> Document:
    """Join a text, which counts a tenth, and its tail: what it draws counts twice, answers thrice.

    A yes or no after "be" is an arbitrary standard, which nobody can predict: it counts once.
    """
    head, end = text.split(), tail.split()
    tokens = [*head, *end, v.END]
    weights = [_TALE_WEIGHT] * len(head) + [1.0] * (len(end) + 1)
    for i in range(len(head), len(tokens)):
        if tokens[i] in _CONTENT:
            weights[i] = _CONTENT_WEIGHT
        elif tokens[i] in ("yes", "no") and tokens[i - 1] != "be":
            weights[i] = _ANSWER_WEIGHT
    return Document(tokens, weights)


def natural_story(dice: Dice) -> Story:
    """Draw an unlabelled story: violated at a fixed rate, sometimes with a true fact inside."""
    truth = tuple(int(dice.roll() >= VIOLATION_RATE) for _ in g.DIMENSIONS)
    aside = fact_sentence(dice) if dice.roll() < ASIDE_RATE else None
    return tell(draw(dice, dice.pick(SHAPES)), truth, "corpus", aside)


def _listing(notes: list[Note], dice: Dice) -> str:
    worded = [n.wordings[int(dice.roll() * 2)] + " ." for n in dice.sample(notes, len(notes))]
    return " ".join(worded)


def reading(story: Story, dice: Dice, header: str = "") -> Document:
    """All seven notes in random order, each in one of its wordings."""
    text = v.prompt(story.text, "<read>", header)
    return document(text, _listing(list(story.notes), dice))


def fragment(dice: Dice, n_parts: int) -> Document:
    """Some parts of a story and every note they support, in both wordings."""
    story = natural_story(dice)
    seed_note = dice.pick(story.notes)
    names = list(seed_note.parts)
    others = [p for p in story.parts if p not in names]
    names += dice.sample(others, max(0, min(n_parts, len(story.parts)) - len(names)))
    text = " ".join(s for p in story.parts if p in names for s in story.parts[p])
    notes = [n for n in story.notes if n.parts <= set(names)]
    worded = [w + " ." for n in notes for w in n.wordings]
    return document(v.prompt(text, "<read>"), " ".join(dice.sample(worded, len(worded))))


_COMPARED = (g.PEOPLE, g.PLACES, g.OBJECTS, g.TIMES)
_COMPARISONS = tuple(
    pair[i].split(" , ")[-1].removesuffix(" {answer}")
    for kind, pair in g.NOTES.items()
    if kind in ("alibi", "mover", "scene")
    for i in (0, 1)
)


def drill(dice: Dice) -> Document:
    """Comparisons and notes without a story: what same, planted and settled mean."""
    lines = []
    for _ in range(8):
        if dice.roll() < 0.5:
            first, second = dice.sample(dice.pick(_COMPARED), 2)
            same = dice.roll() < 0.5
            word = dice.pick(_COMPARISONS)
            lines.append(f"{first} , {first if same else second} , {word} {v.yes_no(same)} .")
        else:
            story = natural_story(dice)
            lines.append(dice.pick(dice.pick(story.notes).wordings) + " .")
    drilled = document(v.START + " <read>", " ".join(lines))
    # Without a story the operands cannot be known, and learning their frequencies would teach to
    # guess the second from the first: only the answers count.
    weights = [w if t in ("yes", "no") else 0.0 for t, w in zip(*drilled, strict=True)]
    return Document(drilled.tokens, weights)


def echo(dice: Dice) -> Document:
    """Random words, told twice: the second telling teaches to look back."""
    pool = g.PEOPLE + g.PLACES + g.OBJECTS + g.TIMES + g.DEEDS
    words = " ".join(dice.sample(pool, 4 + int(dice.roll() * 11)))
    return document(f"{v.START} {words} <read>", words)


def facts(dice: Dice) -> Document:
    """Seven true statements of the factual world."""
    return document(f"{v.START} <facts>", " ".join(fact_sentence(dice) for _ in range(7)))


def reviews(story: Story, dice: Dice, header: str = "") -> tuple[Document, Document]:
    """A coherent review by arbitrary standards on arbitrary notes, and its antithetic twin."""
    voice: v.Voice = "a" if dice.roll() < 0.5 else "b"
    opinions = [v.Opinion(dice.pick(story.notes), dice.roll() < 0.5) for _ in g.DIMENSIONS]
    aims = [dice.pick(ALL_AIMS) for _ in g.DIMENSIONS]
    text = v.prompt(story.text, f"<rev_{voice}>", header)
    twins = []
    for flip in (False, True):
        held = [v.Opinion(o.note, o.standard != flip) for o in opinions]
        sections = [
            v.section(d, v.reason(o, aim, voice, dice), o.value, voice)
            for d, o, aim in zip(g.DIMENSIONS, held, aims, strict=True)
        ]
        values = {d: o.value for d, o in zip(g.DIMENSIONS, held, strict=True)}
        twins.append(document(text, " ".join((*sections, v.summary(values)))))
    return twins[0], twins[1]


def _random_twins(dice: Dice) -> tuple[dict[str, int], dict[str, int]]:
    values = {d: int(dice.roll() < 0.5) for d in g.DIMENSIONS}
    return values, {d: 1 - value for d, value in values.items()}


def short_reviews(story: Story, dice: Dice, header: str = "") -> tuple[Document, Document]:
    """Bare random verdicts, and their twin."""
    voice: v.Voice = "a" if dice.roll() < 0.5 else "b"
    text = v.prompt(story.text, f"<short_{voice}>", header)
    one, two = (document(text, v.short_review(values, voice)) for values in _random_twins(dice))
    return one, two


def full_documents(dice: Dice, review_share: float) -> list[Document]:
    """One whole document, or a pair of twins.

    ``review_share`` is the share of reviews among documents with a story; nine in ten of the
    others are readings.
    """
    if dice.roll() < 0.08:
        return [facts(dice)]
    story = natural_story(dice)
    roll = dice.roll()
    if roll < 0.10:
        # A wish comes with its twin too: it says nothing of the story below it.
        return [reading(story, dice, v.want_header(w)) for w in _random_twins(dice)]
    header = v.plan_header(story) if roll < 0.25 else ""
    roll = dice.roll()
    # Twins come in twos, so half as many draws make the wanted share.
    if roll < review_share / (2 - review_share):
        make = reviews if dice.roll() < 0.7 else short_reviews
        return list(make(story, dice, header))
    if dice.roll() < 0.9:
        return [reading(story, dice, header)]
    return [document(v.prompt(story.text, "", header))]


class Mix(NamedTuple):
    """Shares of the simple documents, and of reviews among the whole ones."""

    echo: float
    drill: float
    fragment: float
    fragment_parts: int
    review: float


def mix_at(q: float) -> Mix:
    """Return the mix at a fraction ``q`` of the training, in [0, 1).

    Copying comes first, then comparing and reading fragments, then whole documents.
    """
    echoes = max(0.0, 0.2 * (1 - q / 0.12))
    drills = float(np.interp(q, (0.0, 0.25, 0.5), (0.12, 0.12, 0.03)))
    fragments = float(np.interp(q, (0.0, 0.2, 0.5, 0.7), (0.9, 0.9, 0.2, 0.08)))
    left = 1 - echoes - drills
    review = float(np.interp(q, (0.3, 0.6), (0.2, 0.6)))
    parts = 2 if q < 0.1 else 3 if q < 0.2 else 6
    return Mix(echoes, drills, fragments * left, parts, review)


def documents(q: float, n: int, dice: Dice) -> list[Document]:
    """Return at least ``n`` documents of the mix at ``q``; twins are never parted."""
    mix = mix_at(q)
    made: list[Document] = []
    while len(made) < n:
        roll = dice.roll()
        if roll < mix.echo:
            made.append(echo(dice))
        elif roll < mix.echo + mix.drill:
            made.append(drill(dice))
        elif roll < mix.echo + mix.drill + mix.fragment:
            made.append(fragment(dice, 1 + int(dice.roll() * mix.fragment_parts)))
        else:
            made.extend(full_documents(dice, mix.review))
    return made


def batches(pool: list[Document], tokens: int, dice: Dice) -> Iterator[list[Document]]:
    """Cut a pool into batches of like length and at most ``tokens`` padded tokens, shuffled."""
    ranked = sorted(pool, key=lambda d: len(d.tokens))
    cut: list[list[Document]] = [[]]
    for doc in ranked:
        if cut[-1] and (len(cut[-1]) + 1) * len(doc.tokens) > tokens:
            cut.append([])
        cut[-1].append(doc)
    yield from dice.sample(cut, len(cut))
