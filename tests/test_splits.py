from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqa_helpers import splits
from cqa_helpers.overlap import Twins
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


def test_a_near_duplicate_across_the_split_stops_it_and_is_named() -> None:
    known = by_id([passage("a", "w1"), passage("b", "w2"), passage("c", "w3")])
    twins = [Twins("b", "a", 0.8), Twins("b", "c", 0.7)]
    splits.check(Split(("a",), ("c",)), known, twins)
    assert splits.across(Split(("a", "b"), ("c",)), twins) == [twins[1]]
    with pytest.raises(SplitError, match=r"1 near-duplicate\(s\) .*: b and a \(0.8\)"):
        splits.check(Split(("a",), ("b",)), known, twins)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=4, max_size=12),
    linked=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=4),
    seed=st.integers(0, 99),
)
def test_works_that_share_a_near_duplicate_stay_on_one_side(
    sizes: list[int], linked: list[tuple[int, int]], seed: int
) -> None:
    passages = library(sizes)
    twins = [
        Twins(f"w{a}-0", f"w{b}-0", 0.9) for a, b in linked if max(a, b) < len(sizes) and a != b
    ]
    try:
        split = splits.by_work(passages, 3, 3, seed, twins=twins)
    except SplitError:
        return
    splits.check(split, by_id(passages), twins)


@pytest.mark.parametrize("seed", range(5))
def test_each_side_holds_the_strata_in_proportion(seed: int) -> None:
    passages = library([1] * 40)
    strata = {p.id: "zh" if k < 10 else "en" for k, p in enumerate(passages)}
    split = splits.by_work(passages, 20, 20, seed, strata)
    assert abs(sum(strata[i] == "zh" for i in split.train) - 5) <= 1
    assert splits.by_work(passages, 20, 20, seed, strata).train == split.train


def test_only_annotated_passages_train_and_only_judged_ones_test() -> None:
    passages = library([2] * 6)
    annotated = {f"w{w}-0" for w in range(4)}
    judged = {f"w{w}-1" for w in range(6)}
    split = splits.by_work(passages, 3, 9, 0, trainable=annotated, testable=judged)
    assert set(split.train) < annotated
    assert set(split.test) < judged
    splits.check(split, by_id(passages))


def test_the_fingerprint_is_of_the_sides_and_not_of_their_order() -> None:
    assert Split(("a", "b"), ("c",)).fingerprint() == Split(("b", "a"), ("c",)).fingerprint()
    assert Split(("a", "b"), ("c",)).fingerprint() != Split(("a",), ("b", "c")).fingerprint()


def test_a_second_grouping_tells_which_test_passages_it_touches() -> None:
    known = by_id([passage("a", "w1"), passage("b", "w2"), passage("c", "w3")])
    writer = {"a": "x", "b": "x", "c": None}
    found = splits.shared(Split(("a",), ("b", "c")), known, lambda p: writer[p.id])
    assert found == splits.Shared(("x",), ("b",))
