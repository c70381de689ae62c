from __future__ import annotations

from cqa_helpers import rewordings
from cqa_helpers.overlap import Twins
from cqa_helpers.records import Passage

SOME = "the lamp in the upper window went out before the last guest had found her coat"
OTHER = "nobody on the quay could say afterwards which of the two boats had left first"


def passage(name: str, text: str, rewords: str | None = None) -> Passage:
    return Passage(
        id=name, work_id=rewords or name, text=text, origin="simulated", licence="l", source="s",
        meta={"rewords": rewords} if rewords else {},
    )  # fmt: skip


def test_passages_and_their_rewordings_are_told_apart() -> None:
    a, b, again = passage("a", SOME), passage("b", OTHER), passage("a2", "x", "a")
    assert rewordings.apart([a, again, b]) == ([a, b], [again])


def test_what_is_like_a_rewording_is_like_its_original() -> None:
    told = [passage("a", SOME), passage("b", OTHER)]
    again = passage("a2", OTHER + " of all", "a")
    ((first, second, similarity),) = rewordings.twins(told, [again])
    assert (first, second) == ("a", "b")
    assert 0.5 < similarity < 1


def test_an_original_and_its_rewording_are_no_twins_and_pairs_come_once() -> None:
    told = [passage("a", SOME), passage("b", SOME + " now")]
    again = [passage("a2", SOME, "a"), passage("b2", SOME, "b")]
    assert rewordings.twins(told[:1], again[:1]) == []
    assert rewordings.twins(told, again) == [Twins("a", "b", 1.0)]


def test_the_rewording_of_a_passage_that_does_not_count_ties_nothing() -> None:
    again = passage("z2", SOME, "z")
    assert rewordings.twins([passage("a", SOME)], [again]) == []
