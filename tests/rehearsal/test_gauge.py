from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqa_helpers.records import Constraints
from cqa_helpers.rehearsal import gauge as gauging
from cqa_helpers.rehearsal import grammar as g
from cqa_helpers.rehearsal.gauge import gauge, measured
from cqa_helpers.rehearsal.world import draw_stories, factual_pairs, literary_pairs

NO_TRUTH: dict[str, int | None] = dict.fromkeys(g.DIMENSIONS)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_what_the_grammar_told_it_reads_back(seed: int) -> None:
    for story in draw_stories(64, seed):
        found = gauge(story.text)
        assert found.truth == story.truth, story.text
        assert found.formed
        assert found.coherent
        for source, promise in story.plan.items():
            assert promise in found.promises[source]


def test_a_fact_between_two_parts_changes_nothing() -> None:
    for pair in factual_pairs(24, 5):
        for text in (pair.good, pair.degraded):
            found = gauge(text)
            assert (found.formed, set(found.truth.values())) == (True, {1})


def test_a_degraded_text_is_violated_in_its_own_dimension_alone() -> None:
    pairs = literary_pairs(24, 6)
    table = measured([p.degraded for p in pairs], [p.constraints for p in pairs])
    for (_, row), pair in zip(table.iterrows(), pairs, strict=True):
        assert {d: row[d] for d in g.DIMENSIONS} == {
            d: float(d != pair.dimension) for d in g.DIMENSIONS
        }
    assert table["good"].tolist() == [pytest.approx(2 / 3)] * 24


def test_another_tale_s_constraints_are_not_taken_up() -> None:
    pairs = literary_pairs(48, 7)
    own = measured([p.good for p in pairs], [p.constraints for p in pairs])
    others = measured([p.good for p in pairs], [pairs[i - 1].constraints for i in range(48)])
    assert own["follows"].min() == 1.0
    # A tone is one of two, so that half of the tales meet it by chance.
    assert others["follows"].mean() < 0.35


def test_a_sentence_is_of_one_kind_only() -> None:
    for story in draw_stories(64, 8):
        for sentence in story.sentences:
            kinds = [k for k, p in gauging._patterns().items() if p.fullmatch(sentence)]
            assert len(kinds) == 1, sentence


@pytest.mark.parametrize(
    "text",
    ["", "the", "craft : i note mood line of rain .", "quill reached the moon at noon .", "? ? ."],
)
def test_what_is_no_tale_is_unread_and_never_violated(text: str) -> None:
    found = gauge(text)
    assert (found.formed, found.truth) == (False, NO_TRUTH)
    row = measured([text], [Constraints(intent="tone fresh")]).iloc[0]
    assert math.isnan(row["good"])
    assert row["follows"] == 0.0


def test_a_tale_that_breaks_off_is_not_formed_and_keeps_what_can_be_read() -> None:
    story = next(s for s in draw_stories(64, 9) if s.drawn.order[0] == 0)
    begun = " ".join(story.sentences[:3])
    found = gauge(begun + " the rain")
    assert not found.formed
    assert found.truth == {**NO_TRUTH, "craft": story.truth["craft"]}


def test_two_detectives_or_a_victim_who_is_the_killer_are_not_coherent() -> None:
    told = "quill reached the attic at noon . in the attic wilma found jasper dead ."
    assert gauge(f"{told} thorne said : i heard a step upstairs .").coherent is False
    assert gauge(f"{told} jasper was the killer after all .").coherent is False
    assert gauge(f"{told} wilma was the killer after all .").coherent is True


def test_the_spoken_share_is_that_of_lines_alone() -> None:
    assert gauging.spoken("quill said : i heard a step upstairs .") == pytest.approx(5 / 9)
    assert gauging.spoken("wilma was the killer after all .") == 0.0
