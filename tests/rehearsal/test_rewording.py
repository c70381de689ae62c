from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cqa_helpers.rehearsal import voices
from cqa_helpers.rehearsal.rewording import reword, reworded_passages
from cqa_helpers.rehearsal.world import Dice, Story, draw, draw_stories, fact_sentence, tell

seeds = st.integers(0, 2**31)


def retold(story: Story, seed: int = 1) -> Story:
    return reword(story, Dice(np.random.default_rng(seed)))


@given(seed=seeds)
def test_a_reworded_tale_keeps_truth_notes_and_order(seed: int) -> None:
    for story in draw_stories(8, seed):
        again = retold(story, seed)
        assert (again.truth, again.subtypes, again.plan) == (
            story.truth, story.subtypes, story.plan,
        )  # fmt: skip
        assert again.notes == story.notes
        assert list(again.parts) == list(story.parts)
        assert again.id == f"{story.id}-reworded"


@given(seed=seeds)
def test_every_sentence_is_reworded_but_moods_that_have_one_wording(seed: int) -> None:
    for story in draw_stories(8, seed):
        again = retold(story, seed)
        for part, sentences in story.parts.items():
            for before, after in zip(sentences, again.parts[part], strict=True):
                alone = part == "craft" and story.subtypes["craft"] == "a"
                assert (before == after) == alone
                if not alone:
                    assert len(set(before.split()) & set(after.split())) > 1


def test_no_wording_is_preferred_over_the_other() -> None:
    stories = draw_stories(64, seed=5)
    steps = [
        (b - a) % 3
        for s in stories
        for a, b in zip(s.drawn.phrasing, retold(s, int(s.id[-4:])).drawn.phrasing, strict=True)
    ]
    assert set(steps) == {1, 2}
    # 576 even picks: the standard deviation of the share is .021.
    assert abs(np.mean([step == 1 for step in steps]) - 0.5) < 0.1


def test_an_aside_stays_as_it_was() -> None:
    dice = Dice(np.random.default_rng(3))
    told = tell(draw(dice, ("a", "b", "a")), (1, 0, 1), "x", fact_sentence(dice))
    assert retold(told).parts["aside"] == told.parts["aside"]


def test_reworded_passages_name_their_original_and_use_known_words() -> None:
    stories = draw_stories(16, seed=2)
    made = reworded_passages(stories, 1)
    assert made == reworded_passages(stories, 1)
    assert made != reworded_passages(stories, 2)
    known = set(voices.vocabulary())
    for story, passage in zip(stories, made, strict=True):
        assert (passage.work_id, passage.meta) == (story.id, {"rewords": story.id})
        assert (passage.origin, passage.source) == ("simulated", "rehearsal grammar")
        assert passage.text is not None
        assert set(passage.text.split()) <= known
