from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqa_helpers import splits
from cqa_helpers.records import Passage
from cqa_helpers.splits import Split, SplitError


def passage(name: str, work: str, text: str | None = None) -> Passage:
    return Passage(
        id=name, work_id=work, text=text or f"words of {name}", origin="simulated",
        licence="none", source="test",
    )  # fmt: skip


def library(sizes: list[int]) -> list[Passage]:
    return [passage(f"w{w}-{k}", f"w{w}") for w, size in enumerate(sizes) for k in range(size)]


def by_id(passages: list[Passage]) -> dict[str, Passage]:
    return {p.id: p for p in passages}


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=4, max_size=12), n_train=st.integers(1, 6),
    n_test=st.integers(1, 6), seed=st.integers(0, 99),
)  # fmt: skip
def test_no_work_stands_on_both_sides_and_the_seed_fixes_the_split(
    sizes: list[int], n_train: int, n_test: int, seed: int
) -> None:
    passages = library(sizes)
    try:
        split = splits.by_work(passages, n_train, n_test, seed)
    except SplitError:
        return
    splits.check(split, by_id(passages))
    known = by_id(passages)
    assert not {known[i].work_id for i in split.train} & {known[i].work_id for i in split.test}
    assert len(split.train) == n_train
    assert 1 <= len(split.test) <= n_test
    turned = splits.by_work(passages[::-1], n_train, n_test, seed)
    assert {known[i].work_id for i in turned.train} == {known[i].work_id for i in split.train}
    assert splits.by_work(passages, n_train, n_test, seed) == split


def test_too_few_passages_for_two_sides_are_an_error_that_counts_them() -> None:
    with pytest.raises(SplitError, match="3 passages of 1 works give 3 for training and 0 for"):
        splits.by_work(library([3]), 2, 2, 0)
    with pytest.raises(SplitError, match="9 and 1 are asked for"):
        splits.by_work(library([3, 3]), 9, 1, 0)


def test_a_passage_a_work_or_a_text_on_both_sides_is_named() -> None:
    known = by_id([
        passage("a", "w1"), passage("b", "w1"), passage("c", "w2", "same"),
        passage("d", "w3", "same"),
    ])  # fmt: skip
    splits.check(Split(("a",), ("c",)), known)
    for split, said in (
        (Split(("a", "c"), ("c",)), r"1 passage\(s\) in training and in test: c"),
        (Split(("a",), ("b",)), r"1 work\(s\) in training and in test: w1"),
        (Split(("c",), ("d",)), r"1 text\(s\) in training and in test: same"),
    ):
        with pytest.raises(SplitError, match=said):
            splits.check(split, known)


def test_near_duplicates_across_the_split_are_found_with_their_likeness() -> None:
    long = " ".join(f"word{k}" for k in range(60))
    known = by_id([
        passage("a", "w1", long),
        passage("b", "w2", long.replace("word59", "other")),
        passage("c", "w3", " ".join(f"else{k}" for k in range(60))),
    ])  # fmt: skip
    (found,) = splits.near_duplicates(Split(("a",), ("b", "c")), known)
    assert (found.train_id, found.test_id) == ("a", "b")
    assert 0.9 <= found.similarity < 1
    assert splits.near_duplicates(Split(("a",), ("c",)), known) == []


def test_texts_too_short_to_compare_and_empty_sides_have_no_duplicates() -> None:
    known = by_id([passage("a", "w1", "one two"), passage("b", "w2", "one two")])
    assert splits.near_duplicates(Split(("a",), ("b",)), known) == []
    assert splits.near_duplicates(Split((), ("b",)), known) == []
