"""Sets of simulated micro-mysteries with planted truth: stories, passages, pairs.

Our choice throughout: the world shows how a pipeline behaves, not how literature works.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cqa_helpers.records import Constraints, Pair, Passage
from cqa_helpers.rehearsal import grammar as g
from cqa_helpers.rehearsal.telling import (
    GOOD,
    PATTERNS,
    SHAPES,
    Dice,
    Draw,
    Note,
    Story,
    draw,
    tell,
)

__all__ = [
    "GOOD",
    "PATTERNS",
    "SHAPES",
    "Dice",
    "Draw",
    "Note",
    "Story",
    "draw",
    "draw_stories",
    "fact_sentence",
    "factual_pairs",
    "literary_pairs",
    "story_sets",
    "tell",
    "to_passage",
]

# One seed names independent streams, so that pairs never retell the stories of their seed.
_STREAMS = {"stories": 0, "literary": 1, "factual": 2}


def draw_stories(
    n: int, seed: int, prefix: str = "tale", exclude: frozenset[str] = frozenset()
) -> list[Story]:
    """Draw ``n`` stories, balanced over the 8 violation patterns and the 8 shapes.

    Every 64 stories in a row hold each pattern with each shape once, in random order; within
    any 8, each pattern and each shape once. No text is in ``exclude`` or comes twice. The same
    arguments give the same stories.
    """
    rng = np.random.default_rng([seed, _STREAMS["stories"]])
    dice = Dice(rng)
    stories: list[Story] = []
    seen = set(exclude)
    while len(stories) < n:
        patterns, shapes = rng.permutation(8), rng.permutation(8)
        cells = [(PATTERNS[patterns[i]], SHAPES[shapes[(i + k) % 8]])
                 for k in rng.permutation(8) for i in rng.permutation(8)]  # fmt: skip
        for truth, shape in cells[: n - len(stories)]:
            story = None
            while story is None or story.text in seen:
                story = tell(draw(dice, shape), truth, f"{prefix}-{seed}-{len(stories):04d}")
            seen.add(story.text)
            stories.append(story)
    return stories


def story_sets(sizes: Mapping[str, int], seed: int) -> dict[str, list[Story]]:
    """Draw named sets of stories (such as train and test) that share no text and no id."""
    sets: dict[str, list[Story]] = {}
    taken: set[str] = set()
    seeds = np.random.SeedSequence(seed).generate_state(len(sizes))
    for (name, n), own in zip(sizes.items(), seeds, strict=True):
        sets[name] = draw_stories(n, int(own), prefix=name, exclude=frozenset(taken))
        taken |= {s.text for s in sets[name]}
    return sets


def to_passage(story: Story) -> Passage:
    """Return the story as the row that everyone reads, without its truth."""
    return Passage(
        id=story.id,
        work_id=story.id,
        language="en",
        domain="simulated micro-mystery",
        text=story.text,
        origin="simulated",
        licence="CC-BY-4.0",
        source="rehearsal grammar",
    )


def fact_sentence(dice: Dice, right: bool = True) -> str:
    """Return a sentence of the factual world; a wrong one names another key's value."""
    return _fact_twins(dice)[0 if right else 1]


def _fact_twins(dice: Dice) -> tuple[str, str]:
    kind = dice.pick(tuple(g.FACTS))
    table = g.FACTS[kind]
    key, template = dice.pick(tuple(table)), dice.pick(g.FACT_SENTENCES[kind])
    others = sorted(set(table.values()) - {table[key]})
    right, wrong = table[key], dice.pick(others)
    return template.format(key=key, value=right), template.format(key=key, value=wrong)


def _constraints(story: Story) -> Constraints:
    return Constraints(**story.plan)


def literary_pairs(n: int, seed: int) -> list[Pair]:
    """Return ``n`` pairs of one draw told all good, and with exactly one dimension violated.

    The violated dimensions and the shapes take turns, so that they are balanced to within one.
    """
    dice = Dice(np.random.default_rng([seed, _STREAMS["literary"]]))
    pairs = []
    for i in range(n):
        bit, shape = i % 3, SHAPES[(i // 3) % 8]
        drawn = draw(dice, shape)
        good = tell(drawn, GOOD, f"literary-{seed}-{i:04d}")
        bad = tell(drawn, tuple(int(j != bit) for j in range(3)), good.id)
        pairs.append(
            Pair(
                id=good.id,
                good=good.text,
                degraded=bad.text,
                dimension=g.DIMENSIONS[bit],
                constraints=_constraints(good),
                group="literary",
                origin="simulated",
                meta={"subtype": shape[bit]},
            )
        )
    return pairs


def factual_pairs(n: int, seed: int) -> list[Pair]:
    """Return ``n`` pairs of one good story that holds a right, or a wrong, fact sentence."""
    dice = Dice(np.random.default_rng([seed, _STREAMS["factual"]]))
    pairs = []
    for i in range(n):
        drawn = draw(dice, SHAPES[i % 8])
        right, wrong = _fact_twins(dice)
        name = f"factual-{seed}-{i:04d}"
        good, bad = (tell(drawn, GOOD, name, aside=s) for s in (right, wrong))
        pairs.append(
            Pair(
                id=name,
                good=good.text,
                degraded=bad.text,
                dimension="fact",
                constraints=_constraints(good),
                group="factual",
                origin="simulated",
                meta={},
            )
        )
    return pairs
