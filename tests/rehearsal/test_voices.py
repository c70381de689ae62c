from __future__ import annotations

import pytest

from cqa_helpers.rehearsal import grammar as g
from cqa_helpers.rehearsal import voices
from cqa_helpers.rehearsal.world import draw_stories

STORY = draw_stories(1, seed=6)[0]


def test_the_vocabulary_has_no_double_and_starts_with_the_special_tokens() -> None:
    words = voices.vocabulary()
    assert len(words) == len(set(words))
    assert tuple(words[:4]) == ("<pad>", "<unk>", "<s>", "</s>")
    assert set(g.DIMENSIONS) <= set(words)
    assert not [w for w in words if "{" in w or " " in w]


def test_a_prompt_ends_with_its_marker_and_holds_the_text_once() -> None:
    prompt = voices.prompt(STORY.text, "<rev_a>", voices.plan_header(STORY))
    assert prompt.startswith("<s> <plan> tone ")
    assert prompt.endswith(f"<story> {STORY.text} <rev_a>")


def test_a_short_review_states_each_verdict_and_the_score() -> None:
    values = {"craft": 0, "audience": 1, "reality_logic": 1}
    assert voices.short_review(values, "a") == (
        "craft : verdict bad . audience : verdict good . reality_logic : verdict good . overall 4 ."
    )
    assert voices.short_review(values, "b") == (
        "on craft ; ruling fails . on audience ; ruling holds . on reality_logic ; ruling holds . "
        "overall 4 ."
    )


def test_a_wish_names_every_dimension() -> None:
    header = voices.want_header({"craft": 1, "audience": 1, "reality_logic": 0})
    assert header == "<want> craft good , audience good , reality_logic bad ."


@pytest.mark.parametrize(("answer", "standard", "value"), [(1, 1, 1), (1, 0, 0), (0, 0, 1)])
def test_a_verdict_follows_from_observation_and_standard(
    answer: int, standard: int, value: int
) -> None:
    note = STORY.notes[0]._replace(answer=bool(answer))
    assert voices.Opinion(note, bool(standard)).value == value


def test_effects_and_counterfactuals_never_speak_for_both_verdicts() -> None:
    for phrases in (voices.EFFECTS, voices.COUNTERFACTUALS):
        assert not set(phrases[True]) & set(phrases[False])
