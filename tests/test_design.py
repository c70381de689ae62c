from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqa_helpers.design import Design, DesignError, Sheet, design, imbalance


def named(letter: str, n: int) -> list[str]:
    return [f"{letter}{i}" for i in range(n)]


def dealt(n_passages: int, n_judges: int, n_raters: int, **more: object) -> Design:
    names = named("p", n_passages), named("j", n_judges), named("r", n_raters)
    return design(*names, spare=named("s", 12), **more)  # type: ignore[arg-type]


def items(made: Design) -> list[Sheet]:
    return [s for s in made.sheets if s.kind == "item"]


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_counts_are_equal_to_within_one_and_nobody_meets_what_is_excluded(
    data: st.DataObject,
) -> None:
    n_passages, n_judges = data.draw(st.integers(4, 16)), data.draw(st.integers(2, 5))
    n_raters = data.draw(st.integers(2, 6))
    size = data.draw(st.integers(2, n_judges))
    each = data.draw(st.integers(1, n_raters - 1))
    # One excluded passage a rater, each of them another: always possible.
    excluded = {(f"r{i}", f"p{i}") for i in range(min(n_raters, n_passages))}
    if n_raters > n_passages:
        excluded = set()
    made = dealt(
        n_passages, n_judges, n_raters, per_sheet=size, raters_a_passage=each,
        excluded=excluded, seed=data.draw(st.integers(0, 99)),
    )  # fmt: skip
    sheets = items(made)
    found = imbalance(made)
    assert found.raters_a_passage == 0
    assert found.sheets_a_rater <= 1
    assert len(sheets) == n_passages * each
    assert not {(s.rater, s.passage) for s in sheets} & excluded
    assert len({(s.rater, s.passage) for s in sheets}) == len(sheets)
    assert all(len(set(s.judges)) == size for s in sheets)
    assert found.judge_pairs <= 2
    if size == n_judges:
        assert (found.judge_pairs, found.judges_a_passage, found.early) == (0, 0, 0)
    for rater in made.raters:
        assert [s.position for s in made.of(rater)] == list(range(1, len(made.of(rater)) + 1))


@pytest.mark.parametrize(
    ("n_judges", "size"),
    [(3, 2), (4, 3), (7, 3), (11, 5), (13, 4)],
)
def test_each_two_judges_meet_equally_often_where_a_symmetric_design_exists(
    n_judges: int, size: int
) -> None:
    made = dealt(n_judges, n_judges, 2, per_sheet=size)
    met = Counter(p for s in items(made) for p in itertools.combinations(sorted(s.judges), 2))
    each = 2 * size * (size - 1) // (n_judges - 1)
    assert len(met) == n_judges * (n_judges - 1) // 2
    assert set(met.values()) == {each}
    assert imbalance(made).judge_pairs == 0


@pytest.mark.parametrize("seed", range(3))
def test_labels_and_halves_are_dealt_evenly(seed: int) -> None:
    made = dealt(40, 3, 5, seed=seed)
    under = Counter((s.rater, j, at) for s in items(made) for at, j in enumerate(s.judges))
    # 40 sheets under three labels: 13 or 14 each.
    assert set(under.values()) <= {13, 14}
    found = imbalance(made)
    assert found.label == pytest.approx(2 / 3)
    assert found.label_overall < 1
    pairs = imbalance(dealt(40, 3, 5, per_sheet=2, seed=seed))
    assert pairs.early <= 2
    assert pairs.early_overall <= 2


def test_raters_share_passages_evenly() -> None:
    assert imbalance(dealt(40, 3, 8, raters_a_passage=3)).rater_pairs <= 1


def test_imbalance_sees_what_is_uneven() -> None:
    sheets = tuple(
        Sheet(rater, i, passage, ("a", "b", "c")[:n])
        for rater, i, passage, n in [
            ("r", 1, "p", 2), ("r", 2, "q", 2), ("r", 3, "s", 2), ("t", 1, "p", 2),
        ]
    )  # fmt: skip
    found = imbalance(Design(("p", "q", "s"), ("a", "b", "c"), ("r", "t"), sheets))
    assert found.raters_a_passage == 1
    assert found.sheets_a_rater == 2
    assert found.judge_pairs == 4
    assert found.rater_pairs == 0
    assert found.judges_a_passage == 2
    # Three times under A, never under B.
    assert found.label == 1.5
    assert found.label_overall == 2.0
    assert found.early == 0
    assert found.repeat_gap is None


@pytest.mark.parametrize("size", [2, 3])
def test_repeats_come_late_under_other_labels(size: int) -> None:
    made = dealt(20, 3, 4, per_sheet=size, repeats=0.2, attention=2)
    for rater in made.raters:
        mine = {s.position: s for s in made.of(rater)}
        again = [s for s in mine.values() if s.kind == "repeat"]
        assert len(again) == 4
        for sheet in again:
            assert sheet.of is not None
            first = mine[sheet.of]
            assert (first.passage, first.kind) == (sheet.passage, "item")
            assert sorted(first.judges) == sorted(sheet.judges)
            assert all(a != b for a, b in zip(first.judges, sheet.judges, strict=True))
            assert sheet.position - first.position >= 10
    assert (imbalance(made).repeat_gap or 0) >= 10
    # No passage is repeated twice while others were not at all.
    assert max(Counter(s.passage for s in made.sheets if s.kind == "repeat").values()) <= 2


def test_attention_sheets_have_one_diagnosis_of_another_work_that_is_wrong() -> None:
    works = {f"s{i}": f"w{i // 2}" for i in range(12)}
    made = dealt(12, 3, 6, attention=3, works=works)
    sheets = [s for s in made.sheets if s.kind == "attention"]
    assert len(sheets) == 18
    for s in sheets:
        assert s.donor is not None
        assert s.swapped is not None
        assert works[s.donor] != works[s.passage]
        rated = {i.passage for i in made.of(s.rater) if i is not s}
        assert s.passage not in rated
    wrong = Counter((s.judges[s.swapped or 0], s.swapped) for s in sheets)
    assert set(wrong.values()) == {2}


def test_a_seed_repeats_a_design_and_another_gives_another() -> None:
    assert dealt(12, 3, 4, seed=1) == dealt(12, 3, 4, seed=1)
    assert dealt(12, 3, 4, seed=1) != dealt(12, 3, 4, seed=2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"per_sheet": 4}, "per_sheet is 4: 2 to 3"),
        ({"sheets_a_rater": 9}, "sheets_a_rater is 9: 1 to 8"),
        ({"raters_a_passage": 5}, "raters_a_passage is 5: 1 to 4"),
        ({"raters_a_passage": 2, "sheets_a_rater": 2}, "one follows from the other"),
        ({"repeats": 0.6}, "repeats is 0.6"),
        ({"excluded": {("r0", "p0")}}, "32 sheets cannot be shared out .* 1 excluded"),
        ({"attention": 12}, "r0 rates all but 12 passages; 12 attention .* need 13"),
    ],
)
def test_numbers_without_a_design_are_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(DesignError, match=said):
        dealt(8, 3, 4, **changes)


def test_names_given_twice_and_none_at_all_are_refused() -> None:
    with pytest.raises(DesignError, match="raters stand twice: r"):
        design(["p"], ["a", "b"], ["r", "r"])
    with pytest.raises(DesignError, match="No passages"):
        design([], ["a", "b"], ["r"])
