from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqa_helpers import juries
from cqa_helpers.records import Verdict

MEMBERS = ["a", "b", "c"]


def said(
    judge: str,
    value: int | None,
    probability: float | None = None,
    item: str = "i",
    repeat: int = 0,
    scale: str = "0-1",
) -> Verdict:
    return Verdict(
        item_id=item, dimension="d", judge_id=judge, value=value, probability=probability,
        repeat=repeat, scale=scale, status="unparsed" if value is None else "ok",
    )  # fmt: skip


def only(rows: list[Verdict], members: list[str] = MEMBERS) -> Verdict:
    (found,) = juries.verdicts("jury", members, rows)
    return found


def test_the_majority_wins_and_the_votes_are_kept() -> None:
    found = only([said("a", 1), said("b", 0), said("c", 1), said("stranger", 0)])
    assert (found.judge_id, found.value, found.status, found.repeat) == ("jury", 1, "ok", 0)
    assert found.probability is None
    assert found.meta == {"votes": {"a": 1, "b": 0, "c": 1}, "silent": []}
    assert found.reason == "2 of 3 votes"


def test_the_probability_is_the_mean_where_all_voters_have_one() -> None:
    # The majority is not overruled by a mean that leans the other way.
    found = only([said("a", 0, 0.4), said("b", 0, 0.4), said("c", 1, 1.0)])
    assert (found.value, found.probability) == (0, pytest.approx(0.6))
    assert only([said("a", 0, 0.4), said("b", 0), said("c", 1, 1.0)]).probability is None
    silent = only([said("a", 1, 0.9), said("b", 1, 0.7), said("c", None)])
    assert silent.probability == pytest.approx(0.8)
    assert silent.meta["silent"] == ["c"]


def test_a_tie_goes_by_the_probability_or_fails() -> None:
    two = [said("c", None)]
    high = only([said("a", 0, 0.3), said("b", 1, 0.9), *two])
    assert (high.value, high.reason) == (1, "1 of 2 votes, a tie that the probability decides")
    assert only([said("a", 0, 0.1), said("b", 1, 0.7), *two]).value == 0
    for p, q in ((0.25, 0.75), (None, 0.9), (None, None)):
        tied = only([said("a", 0, p), said("b", 1, q), *two])
        assert (tied.value, tied.probability, tied.status) == (None, None, "failed")
        assert tied.reason == "a tie, 1 to 1, and no probability decides it"
        assert tied.meta["votes"] == {"a": 0, "b": 1}


def test_fewer_than_half_of_the_members_are_no_jury() -> None:
    found = only([said("a", 1), said("b", None), said("c", None)])
    assert (found.value, found.status) == (None, "failed")
    assert found.reason == "1 of 3 members gave a verdict, fewer than half"
    half = only([said("a", 1), said("b", None)], ["a", "b"])
    assert half.value == 1


def test_a_cell_that_a_member_was_never_asked_counts_as_its_silence() -> None:
    rows = [said(m, 1) for m in MEMBERS] + [said("a", 0, item="j")]
    found = juries.verdicts("jury", MEMBERS, rows)
    assert [(v.item_id, v.status) for v in found] == [("i", "ok"), ("j", "failed")]
    assert found[1].meta == {"votes": {"a": 0}, "silent": ["b", "c"]}


def test_a_member_with_many_repeats_has_one_vote() -> None:
    many = [said("a", 1, repeat=r) for r in range(4)] + [said("a", 0, repeat=4)]
    found = only([*many, said("b", 0), said("c", 0)])
    assert (found.value, found.meta["votes"]) == (0, {"a": 1, "b": 0, "c": 0})
    # Its own tie is no vote, unless its probabilities decide.
    tied = [said("a", 1, repeat=0), said("a", 0, repeat=1)]
    assert only([*tied, said("b", 0), said("c", 0)]).meta["silent"] == ["a"]
    leaning = [said("a", 1, 0.9, repeat=0), said("a", 0, 0.4, repeat=1)]
    assert only([*leaning, said("b", 0), said("c", 0)]).meta["votes"]["a"] == 1


def test_on_other_scales_the_median_is_a_value_that_somebody_gave() -> None:
    found = only([said(m, v, scale="1-5") for m, v in zip(MEMBERS, (1, 4, 5), strict=True)])
    assert (found.value, found.scale, found.reason) == (4, "1-5", "median of 3 votes")
    two = [said("a", 2, scale="1-5"), said("b", 5, scale="1-5"), said("c", None, scale="1-5")]
    assert only(two).value == 2


votes = st.lists(
    st.tuples(st.sampled_from([0, 1, None]), st.sampled_from([0.1, 0.5, 0.9, None])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=80, deadline=None)
@given(votes, st.randoms())
def test_no_jury_goes_against_its_majority_nor_hangs_on_the_order(
    given_votes: list[tuple[int | None, float | None]], random: object
) -> None:
    members = [f"m{k}" for k in range(len(given_votes))]
    rows = [said(m, v, p) for m, (v, p) in zip(members, given_votes, strict=True)]
    found = only(rows, members)
    known = [v for v, _ in given_votes if v is not None]
    if 2 * len(known) < len(members):
        assert found.status == "failed"
    elif 2 * sum(known) != len(known):
        assert found.value == int(2 * sum(known) > len(known))
    random.shuffle(rows)  # type: ignore[attr-defined]
    assert only(rows, members) == found


def test_faults_of_a_jury_are_said() -> None:
    rows = [said("a", 1), said("b", 0)]
    for members, match in (
        ([], "no member"),
        (["a", "a"], "named twice"),
        (["a", "z"], "no rows of z; there are: a, b"),
    ):
        with pytest.raises(ValueError, match=match):
            juries.verdicts("jury", members, rows)
    with pytest.raises(ValueError, match="already has this name"):
        juries.verdicts("a", ["a", "b"], rows)
    with pytest.raises(ValueError, match="repeat 0 of a on d of i stands twice"):
        juries.verdicts("jury", ["a", "b"], [*rows, said("a", 0)])
    with pytest.raises(ValueError, match="one scale"):
        juries.verdicts("jury", ["a", "b"], [said("a", 1), said("b", 3, scale="1-5")])
