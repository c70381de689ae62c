from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqa_helpers.rehearsal import grammar as g
from cqa_helpers.rehearsal.voices import MARKERS, vocabulary
from cqa_helpers.rehearsal.world import (
    GOOD,
    PATTERNS,
    SHAPES,
    Dice,
    Story,
    draw,
    draw_stories,
    factual_pairs,
    literary_pairs,
    story_sets,
    tell,
    to_passage,
)

seeds = st.integers(0, 2**31)


def _sentences(text: str) -> list[str]:
    """Split at sentence ends; a colon or comma does not end one."""
    marked = text.replace(" ?", " ? |").replace(" .", " . |")
    return [s.strip() for s in marked.split("|") if s.strip()]


def test_64_stories_hold_every_pattern_with_every_shape_once() -> None:
    cells = Counter(
        (tuple(s.truth.values()), tuple(s.subtypes.values())) for s in draw_stories(64, seed=3)
    )
    assert set(cells) == {(p, s) for p in PATTERNS for s in SHAPES}
    assert set(cells.values()) == {1}


@given(seed=seeds, n=st.integers(1, 30))
def test_patterns_and_shapes_stay_within_one_of_balance(seed: int, n: int) -> None:
    stories = draw_stories(n, seed)
    for known, key in ((PATTERNS, "truth"), (SHAPES, "subtypes")):
        counts = Counter(tuple(getattr(s, key).values()) for s in stories)
        assert max(counts.values()) - min(counts[k] for k in known) <= 1


@given(seed=seeds, shape=st.sampled_from(SHAPES), truth=st.sampled_from(PATTERNS))
def test_the_planted_truth_is_what_the_relevant_note_says(
    seed: int, shape: tuple[str, str, str], truth: tuple[int, ...]
) -> None:
    story = tell(draw(Dice(np.random.default_rng(seed)), shape), truth, "t")
    assert tuple(story.truth.values()) == truth
    for d in g.DIMENSIONS:
        note = story.note(d)
        assert g.STANDARDS[note.kind][:2] == (d, story.subtypes[d])
        assert story.truth[d] == int(note.answer == note.good)


def _reading_from_text(story: Story, dimension: str) -> bool:
    """Decide goodness from the words alone, without the notes: an independent oracle."""
    text = story.text
    part = " ".join(story.parts[dimension]).split()
    kind = story.note(dimension).kind
    if kind == "mood":
        return " ".join(part) not in {phrase for _, phrase in g.WORN_MOODS}
    if kind == "speech":
        return any(line in text for line in g.PLAIN_LINES)
    if kind == "clue":
        reveal = set(" ".join(story.parts["reveal"]).split())
        return bool(reveal & set(part) & set(g.OBJECTS))
    if kind == "question":
        return len(set(part) & set(g.PLACES)) == 1 and len(set(part) & set(g.DEEDS)) == 1
    if kind == "alibi":
        return len(set(part) & set(g.PLACES)) == 1
    body = " ".join(story.parts["body"]).split()
    victim = body[body.index("dead") - 1] if "dead" in body else body[body.index("of") + 1]
    return victim not in part


@given(seed=seeds)
def test_the_text_itself_carries_the_planted_truth(seed: int) -> None:
    for story in draw_stories(16, seed):
        for d in g.DIMENSIONS:
            assert _reading_from_text(story, d) == bool(story.truth[d]), (d, story.text)


def test_every_word_is_in_the_vocabulary_and_no_special_token_in_a_text() -> None:
    known = set(vocabulary())
    texts = [s.text for s in draw_stories(128, seed=5)]
    texts += [t for p in literary_pairs(24, 5) + factual_pairs(48, 5) for t in (p.good, p.degraded)]
    for text in texts:
        tokens = set(text.split())
        assert tokens <= known - set(MARKERS)
        assert "<" not in text


def test_the_same_seed_gives_the_same_stories_and_another_seed_others() -> None:
    one, again, other = (draw_stories(20, seed) for seed in (7, 7, 8))
    assert one == again
    assert not {s.text for s in one} & {s.text for s in other}


def test_an_excluded_text_is_drawn_anew() -> None:
    first = draw_stories(8, seed=2)
    barred = frozenset(s.text for s in first[:4])
    second = draw_stories(8, seed=2, exclude=barred)
    assert not barred & {s.text for s in second}
    assert [s.truth for s in first] == [s.truth for s in second]


def test_named_sets_share_no_text_and_no_id() -> None:
    sets = story_sets({"train": 100, "test": 240}, seed=1)
    assert [len(s) for s in sets.values()] == [100, 240]
    both = [*sets["train"], *sets["test"]]
    assert len({s.text for s in both}) == len({s.id for s in both}) == 340


@given(seed=seeds)
def test_a_literary_pair_differs_in_one_sentence_of_its_dimension(seed: int) -> None:
    for pair in literary_pairs(6, seed):
        good, bad = _sentences(pair.good), _sentences(pair.degraded)
        assert len(good) == len(bad)
        assert sum(a != b for a, b in zip(good, bad, strict=True)) == 1
        assert pair.dimension in g.DIMENSIONS
        assert (pair.group, pair.origin) == ("literary", "simulated")


def test_literary_pairs_are_balanced_over_dimensions_and_subtypes() -> None:
    pairs = literary_pairs(120, seed=4)
    counts = Counter((p.dimension, p.meta["subtype"]) for p in pairs)
    assert set(counts.values()) == {20}


@given(seed=seeds)
def test_a_factual_pair_differs_in_one_value_of_the_same_category(seed: int) -> None:
    for pair in factual_pairs(8, seed):
        good, bad = pair.good.split(), pair.degraded.split()
        assert len(good) == len(bad)
        ((right, wrong),) = [(a, b) for a, b in zip(good, bad, strict=True) if a != b]
        assert any({right, wrong} <= set(table.values()) for table in g.FACTS.values())
        assert pair.dimension == "fact"
        assert pair.group == "factual"


def test_pairs_never_retell_the_stories_of_their_seed() -> None:
    stories = {s.text for s in draw_stories(64, seed=9)}
    literary, factual = literary_pairs(64, seed=9), factual_pairs(64, seed=9)
    assert not stories & {t for p in literary for t in (p.good, p.degraded)}
    assert not {p.good for p in literary} & {p.good for p in factual}


def test_the_plan_names_the_story_s_own_people_and_things() -> None:
    story = next(
        s for s in draw_stories(64, seed=1)
        if s.subtypes["reality_logic"] == s.subtypes["audience"] == "a" and s.truth["audience"]
    )  # fmt: skip
    word, killer, place = story.plan["reality"].split()
    assert word == "alibi"
    assert {killer, place} <= set(story.text.split())
    assert story.plan["audience"].split()[1] in " ".join(story.parts["reveal"])


@pytest.mark.parametrize("drop", ["truth", "subtypes", "plan"])
def test_a_passage_carries_the_story_without_its_truth(drop: str) -> None:
    passage = to_passage(draw_stories(1, seed=1)[0])
    assert drop not in passage.model_dump_json()
    assert (passage.origin, passage.licence, passage.source) == (
        "simulated",
        "CC-BY-4.0",
        "rehearsal grammar",
    )
    assert passage.work_id == passage.id


def test_an_aside_changes_neither_truth_nor_notes() -> None:
    drawn = draw(Dice(np.random.default_rng(1)), ("a", "b", "a"))
    bare, told = (tell(drawn, GOOD, "t", aside=s) for s in (None, "ruth works as a baker ."))
    assert (bare.truth, bare.notes) == (told.truth, told.notes)
    assert len(told.sentences) == len(bare.sentences) + 1


def test_no_two_wordings_of_notes_share_a_first_word() -> None:
    heads = [w.split()[0] for pair in g.NOTES.values() for w in pair]
    assert len(heads) == len(set(heads))


def test_no_detective_s_name_is_a_word_of_the_tales() -> None:
    others = g.words() - set(g.DETECTIVES)
    assert not others & set(g.DETECTIVES)
    sentences = " ".join(s for s in (*g.OPENINGS, *g.BODIES, *g.MODERN_LINES, *g.PLAIN_LINES))
    assert not set(sentences.split()) & set(g.DETECTIVES)
