"""The same tale in other words: for the question whether a judge follows content or wording."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cqa_helpers.records import Passage
from cqa_helpers.rehearsal import grammar as g
from cqa_helpers.rehearsal.telling import Dice, Story, tell
from cqa_helpers.rehearsal.world import to_passage

WORDINGS = 3
"""How many wordings each sentence of the grammar has."""


def reword(story: Story, dice: Dice) -> Story:
    """Tell a tale again: same cast, order, violations and notes, another wording where there is.

    Every sentence takes one of its two other wordings. Fresh moods and stock phrases, which have
    only one, stay: another one would be other content.
    """
    drawn = story.drawn
    phrasing = tuple((p + 1 + int(dice.roll() * (WORDINGS - 1))) % WORDINGS for p in drawn.phrasing)
    truth = tuple(story.truth[d] for d in g.DIMENSIONS)
    aside = story.parts["aside"][0] if "aside" in story.parts else None
    return tell(drawn._replace(phrasing=phrasing), truth, f"{story.id}-reworded", aside)


def reworded_passages(stories: Sequence[Story], seed: int) -> list[Passage]:
    """Return each tale told in other words, of the same work; ``meta.rewords`` names the original.

    The planted truth of a passage is that of its original.
    """
    dice = Dice(np.random.default_rng(seed))
    return [
        to_passage(reword(story, dice)).model_copy(
            update={"work_id": story.id, "meta": {"rewords": story.id}}
        )
        for story in stories
    ]
