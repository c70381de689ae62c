from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from cqa_helpers import annotations as notes
from cqa_helpers.annotations import (
    Annotation,
    Claim,
    Counterfactual,
    Judgement,
    Probe,
    Span,
    Step,
)

CLOSED = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def annotation(**changes: object) -> Annotation:
    known = {"id": "a", "passage_id": "p", "protocol": "bc", "expert_id": "e",
             "engineer_id": "k", "cot_body": "c",
             "judgements": (Judgement(dimension="craft", value=1, reason="r"),)}  # fmt: skip
    return Annotation(**known | changes)


def test_a_quote_as_long_as_its_span_is_kept_and_another_is_refused() -> None:
    assert Span(start=2, end=4, dimension="craft", quote="𠮷野").quote == "𠮷野"
    with pytest.raises(ValidationError, match=r"holds 3 character\(s\), its quote 2"):
        Span(start=2, end=5, dimension="craft", quote="𠮷野")


def test_probes_come_after_the_unprompted_recall() -> None:
    def probe(minutes: int) -> Probe:
        return Probe(asked="?", reply="!", kind="follow-up", at=CLOSED + timedelta(minutes=minutes))

    assert annotation(recall_closed=CLOSED, probes=(probe(1),)).probes
    with pytest.raises(ValidationError, match=r"probe\(s\) 1 were logged before the unprompted"):
        annotation(recall_closed=CLOSED, probes=(probe(1), probe(-1)))


def test_counterfactual_density_counts_explicit_ones_of_claims_that_bear_load() -> None:
    def claim(bearing: bool, *explicit: bool) -> Claim:
        return Claim(text="t", dimension="craft", load_bearing=bearing, counterfactuals=tuple(
            Counterfactual(premise="p", outcome="o", explicit=e) for e in explicit))  # fmt: skip

    assert annotation().counterfactual_density() is None
    assert annotation(claims=(claim(False, True),)).counterfactual_density() is None
    found = annotation(claims=(claim(True, True, False), claim(True), claim(False, True)))
    assert found.counterfactual_density() == 0.5


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("One might think it fails. It achieves its purpose.", True),
        ("It works at first. In the end the clue does not work.", False),
        ("这一笔奏效。可是时间对不上，不成立。", False),
        ("起初以为不成立。但这里的伏笔兑现了。", True),
        ("所以这个选择没有达成它的目的", False),
        ("The rain is cold.", None),
        ("It works and it fails.", None),
        ("", None),
    ],
)
def test_a_reason_s_closing_words_tell_its_stance_or_nothing(
    reason: str, said: bool | None
) -> None:
    assert notes.stance(reason) is said


def test_steps_join_with_spaces_in_english_and_without_in_chinese() -> None:
    steps = [Step(kind="observation", text="一 "), Step(kind="verdict", text="二")]
    assert notes.compose(steps, "zh-Hans") == "一二"
    assert notes.compose(steps, "en") == "一 二"
