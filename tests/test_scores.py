from __future__ import annotations

import pytest

from cqa_helpers import scores, taxonomy
from cqa_helpers.packets import Diagnosis
from cqa_helpers.records import Verdict
from cqa_helpers.scores import ScoreError

CRITERIA = taxonomy.load("blind-rating")


def coded(judge: str, code: str, rater: str = "r1", sheet: str = "s1", **more: object) -> Diagnosis:
    known = {"passage_id": "p1", "repeat": 0, "values": {}, "label": "A", "position": 1, "words": 9}
    return Diagnosis.model_validate(
        {"code": code, "judge_id": judge, "rater_id": rater, "sheet": sheet, **known, **more}
    )


def answer(
    code: str, criterion: str, value: int | None, rater: str = "r1", **meta: object
) -> Verdict:
    return Verdict(
        item_id=code, dimension=criterion, judge_id=rater, value=value,
        scale="1-2" if criterion == "rank" else "1-5",
        status="ok" if value is not None else "refused", meta=meta,
    )  # fmt: skip


KEY = [coded("tuned", "a", repeat=2), coded("reference", "b", label="B"),
       coded("tuned", "c", sheet="s2", position=2, kind="repeat", of="a", repeat=1)]  # fmt: skip


def test_every_answer_that_was_asked_for_has_a_row_and_one_that_did_not_come_has_no_value() -> None:
    given = [answer("a", "accuracy", 4, seconds=90, sheet="s1"), answer("a", "rank", 1)]
    table = scores.table(given, KEY, CRITERIA)
    assert tuple(table.columns) == scores.COLUMNS
    # A lone diagnosis on a sheet is not ranked.
    assert len(table) == 3 * len(CRITERIA.ids()) + 2
    assert table["value"].notna().sum() == 2
    mine = table.set_index(["code", "criterion"]).loc[("a", "accuracy")]
    assert (mine["value"], mine["judge"], mine["seed"], mine["seconds"]) == (
        4.0,
        "tuned",
        "tuned-2",
        90,
    )
    assert set(table.loc[table["code"] == "b", "seed"]) == {""}
    assert set(table.loc[table["code"] == "b", "seconds"]) == {90.0}
    again = table[table["code"] == "c"].iloc[0]
    assert (again["kind"], again["of"], again["position"], again["swapped"]) == (
        "repeat",
        "a",
        2,
        False,
    )


def test_a_refusal_is_missing_and_no_zero() -> None:
    table = scores.table([answer("a", "insight", None)], KEY, CRITERIA)
    assert table["value"].isna().all()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (answer("zzz", "accuracy", 3), "r1, zzz, accuracy: is of a code that no packet has"),
        (answer("a", "accuracy", 3, rater="r9"), "r9, a, accuracy: is by a rater who was not sent"),
        (answer("a", "beauty", 3), "r1, a, beauty: is on no criterion of the plan"),
        (answer("b", "accuracy", 3), "r1, b, accuracy: stands twice"),
        (answer("a", "accuracy", 3).model_copy(update={"scale": "1-7"}), "has the scale 1-7"),
    ],
)
def test_a_rating_that_does_not_belong_is_named_with_all_others(row: Verdict, said: str) -> None:
    given = [answer("b", "accuracy", 2), row, answer("yyy", "accuracy", 3)]
    with pytest.raises(ScoreError) as fault:
        scores.table(given, KEY, CRITERIA)
    assert said in str(fault.value)
    assert "yyy" in str(fault.value) or "and 1 more" in str(fault.value)
