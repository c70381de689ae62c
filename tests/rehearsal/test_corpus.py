from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqa_helpers.rehearsal import corpus
from cqa_helpers.rehearsal import grammar as g
from cqa_helpers.rehearsal.voices import vocabulary
from cqa_helpers.rehearsal.world import Dice

seeds = st.integers(0, 2**31)


def _dice(seed: int) -> Dice:
    return Dice(np.random.default_rng(seed))


def _split(doc: corpus.Document) -> tuple[str, str]:
    text = " ".join(doc.tokens)
    found = re.search(r"<(rev|short)_[ab]>", text)
    assert found
    return text[: found.end()], text[found.end() :]


def _verdicts(tail: str) -> list[bool]:
    words = re.findall(r"(?:verdict|ruling) (\w+)", tail)
    return [w in ("good", "holds") for w in words]


def _standards(tail: str) -> list[str]:
    return re.findall(r"\bbe (yes|no) ,", tail)


@given(seed=seeds)
def test_a_review_and_its_twin_share_passage_and_notes_and_flip_the_rest(seed: int) -> None:
    dice = _dice(seed)
    one, two = corpus.reviews(corpus.natural_story(dice), dice)
    (text, tail), (text2, tail2) = _split(one), _split(two)
    assert text == text2
    notes = [re.findall(r"(?:i note|seen :) (.*?) [.;] (?:it|meant)", t) for t in (tail, tail2)]
    assert len(notes[0]) == 3
    assert notes[0] == notes[1]
    assert [not v for v in _verdicts(tail)] == _verdicts(tail2)
    assert all(a != b for a, b in zip(_standards(tail), _standards(tail2), strict=True))


@given(seed=seeds)
def test_short_reviews_are_twinned_too(seed: int) -> None:
    dice = _dice(seed)
    one, two = corpus.short_reviews(corpus.natural_story(dice), dice)
    assert _split(one)[0] == _split(two)[0]
    assert [not v for v in _verdicts(_split(one)[1])] == _verdicts(_split(two)[1])


@pytest.mark.parametrize("q", [0.0, 0.3, 0.6, 0.95])
def test_in_any_stretch_of_the_corpus_each_passage_has_as_many_good_as_bad(q: float) -> None:
    balance: dict[tuple[str, int], int] = {}
    for doc in corpus.documents(q, 1000, _dice(1)):
        if not re.search(r"<(rev|short)_[ab]>", " ".join(doc.tokens)):
            continue
        text, tail = _split(doc)
        for i, good in enumerate(_verdicts(tail)):
            balance[text, i] = balance.get((text, i), 0) + (1 if good else -1)
    assert q == 0 or len(balance) > 30
    assert set(balance.values()) <= {0}


def test_wishes_come_with_their_opposite() -> None:
    wishes: dict[str, list[str]] = {}
    for doc in corpus.documents(0.9, 2000, _dice(2)):
        text = " ".join(doc.tokens)
        if "<want>" in text:
            header, rest = text.split("<story>")
            wishes.setdefault(rest.split("<read>")[0], []).append(header)
    assert len(wishes) > 30
    for one, two in wishes.values():
        swapped = one.replace("good", "x").replace("bad", "good").replace("x", "bad")
        assert swapped == two


@given(seed=seeds, q=st.floats(0, 0.999))
def test_every_document_is_made_of_known_words_and_fits_the_model(seed: int, q: float) -> None:
    known = set(vocabulary())
    for doc in corpus.documents(q, 20, _dice(seed)):
        assert set(doc.tokens) <= known
        assert len(doc.tokens) == len(doc.weights) <= 512
        assert doc.tokens[0] == "<s>"
        assert doc.tokens[-1] == "</s>"


@given(seed=seeds, parts=st.integers(1, 6))
def test_a_fragment_s_notes_rest_on_what_it_shows(seed: int, parts: int) -> None:
    words = " ".join(corpus.fragment(_dice(seed), parts).tokens)
    text, notes = words.split(" <read> ")
    people = {w for w in notes.split() if w in g.PEOPLE + g.DETECTIVES}
    places = {w for w in notes.split() if w in g.PLACES}
    assert notes.strip()
    assert people | places <= set(text.split())


def test_a_drill_counts_answers_alone() -> None:
    doc = corpus.drill(_dice(3))
    counted = {t for t, w in zip(*doc, strict=True) if w}
    assert counted == {"yes", "no"}


def test_an_arbitrary_standard_counts_less_than_an_answer() -> None:
    doc = corpus.document("<s> <rev_a>", "stock no . so it should be yes , match no .")
    weight = dict(zip(zip(doc.tokens, doc.tokens[1:], strict=False), doc.weights[1:], strict=True))
    assert weight["be", "yes"] < weight["stock", "no"] == weight["match", "no"]


@given(seed=seeds)
def test_batching_loses_no_document_and_stays_within_the_tokens(seed: int) -> None:
    dice = _dice(seed)
    pool = corpus.documents(0.5, 60, dice)
    cut = list(corpus.batches(pool, 1500, dice))
    assert sorted(id(d) for b in cut for d in b) == sorted(id(d) for d in pool)
    assert all(len(b) * max(len(d.tokens) for d in b) <= 1500 for b in cut)


@given(q=st.floats(0, 1))
def test_the_mix_stays_a_mix(q: float) -> None:
    mix = corpus.mix_at(q)
    assert min(mix.echo, mix.drill, mix.fragment, mix.review) >= 0
    assert mix.echo + mix.drill + mix.fragment < 1
    assert mix.review <= 1


def test_reviews_take_their_share_of_the_whole_documents() -> None:
    dice = _dice(4)
    made = [d for _ in range(3000) for d in corpus.full_documents(dice, 0.6)]
    told = [" ".join(d.tokens) for d in made if "<story>" in d.tokens and "<want>" not in d.tokens]
    share = np.mean([bool(re.search(r"<(rev|short)_[ab]>", t)) for t in told])
    assert abs(share - 0.6) < 0.04
