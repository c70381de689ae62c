from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cqa_helpers import records
from cqa_helpers.annotations import Annotation, Judgement, Span
from cqa_helpers.records import Constraints, Pair, Passage, RecordError, Verdict


def verdict(**changes: Any) -> Verdict:
    given: dict[str, Any] = {"item_id": "p1", "dimension": "craft", "judge_id": "j", "value": 1}
    return Verdict(**given | changes)


@pytest.mark.parametrize("status", ["unparsed", "refused", "failed"])
def test_a_verdict_without_an_answer_has_no_value(status: str) -> None:
    assert verdict(value=None, status=status).value is None
    with pytest.raises(ValidationError, match="if and only if its status is 'ok'"):
        verdict(value=0, status=status)


def test_an_ok_verdict_has_a_value() -> None:
    with pytest.raises(ValidationError, match="if and only if its status is 'ok'"):
        verdict(value=None)


@pytest.mark.parametrize(("value", "scale"), [(2, "0-1"), (-1, "0-1"), (0, "1-5"), (6, "1-5")])
def test_a_value_outside_its_scale_is_refused(value: int, scale: str) -> None:
    with pytest.raises(ValidationError, match=f"outside the scale {scale}"):
        verdict(value=value, scale=scale)


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": "yes-no"},
        {"probability": 1.1},
        {"probability": float("nan")},
        {"repeat": -1},
        {"item_id": ""},
        {"status": "maybe"},
        {"extra": 1},
    ],
)
def test_a_field_that_does_not_fit_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changes))):
        verdict(**changes)


def test_a_passage_has_a_text_or_a_link() -> None:
    known: dict[str, Any] = {
        "id": "p", "work_id": "w", "origin": "published", "licence": "l", "source": "s",
    }  # fmt: skip
    assert Passage(**known, text=None, url="https://example.org/a").text is None
    with pytest.raises(ValidationError, match="needs a text, or a url"):
        Passage(**known, text=None)


def test_a_span_runs_forward_a_pair_differs_and_a_dimension_is_judged_once() -> None:
    with pytest.raises(ValidationError, match="not after its start"):
        Span(start=3, end=3, dimension="craft")
    with pytest.raises(ValidationError, match="are the same"):
        Pair(
            id="x", good="a", degraded="a", dimension="craft",
            constraints=Constraints(intent="i"), group="literary", origin="simulated",
        )  # fmt: skip
    twice = Judgement(dimension="craft", value=1, reason="r")
    with pytest.raises(ValidationError, match="judged twice"):
        Annotation(
            id="a", passage_id="p", protocol="bc", expert_id="e", cot_body="c",
            judgements=(twice, twice),
        )  # fmt: skip


def test_the_joint_constraint_leaves_out_what_is_not_said() -> None:
    assert Constraints(intent="a", reality="c").joint() == "a c"


def test_reading_names_every_error_with_file_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    good = verdict().model_dump_json()
    bad = json.loads(good) | {"value": 7, "repeat": 0}
    path.write_text(
        "\n".join([good, '{"item_id": "p"}', "not json", "", json.dumps(bad), good]) + "\n"
    )
    with pytest.raises(RecordError) as caught:
        records.read_jsonl(path, Verdict)
    said = str(caught.value)
    assert f"error(s) in {path}; nothing was read." in said
    for place in (f"{path}:2: dimension: ", f"{path}:2: value: ", f"{path}:3: ", f"{path}:5: "):
        assert place in said
    assert f"{path}:1" not in said
    assert f"{path}:6" not in said
    assert "outside the scale 0-1" in said


@pytest.mark.parametrize("strange", ["a\u2028b", "a\u2029b\x85c", "第一行\n第二行", "{x} \\ \" '"])
def test_any_text_survives_a_file(tmp_path: Path, strange: str) -> None:
    path = tmp_path / "v.jsonl"
    # Written as other tools write it: these characters bare inside the string.
    row = verdict(reason=strange).model_dump()
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
    assert records.read_jsonl(path, Verdict)[0].reason == strange
    records.write_jsonl(path, [verdict(reason=strange)] * 2)
    assert [v.reason for v in records.read_jsonl(path, Verdict)] == [strange] * 2


def test_a_byte_order_mark_and_dos_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    line = verdict().model_dump_json()
    path.write_bytes(b"\xef\xbb\xbf" + f"{line}\r\n{line}\r\n".encode())
    assert len(records.read_jsonl(path, Verdict)) == 2


def test_another_encoding_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    path.write_bytes(verdict(reason="é").model_dump_json().encode("latin-1"))
    with pytest.raises(RecordError, match=r"v\.jsonl: not UTF-8"):
        records.read_jsonl(path, Verdict)


def test_a_write_that_fails_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "v.jsonl"
    records.write_jsonl(path, [verdict()])
    before = path.read_bytes()

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        records.write_jsonl(path, [verdict(), verdict()])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["v.jsonl"]


def test_a_row_that_cannot_be_made_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    records.write_jsonl(path, [verdict()])

    def rows() -> Any:
        yield verdict()
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        records.write_jsonl(path, rows())
    assert len(records.read_jsonl(path, Verdict)) == 1


verdicts = st.builds(
    lambda value, p, reason, status, repeat, item, note: Verdict(
        item_id=item,
        dimension="craft",
        judge_id="j",
        repeat=repeat,
        value=value if status == "ok" else None,
        probability=p,
        reason=reason,
        status=status,
        meta={"note": note},
    ),
    st.integers(0, 1),
    st.none() | st.floats(0, 1),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["ok", "unparsed", "refused", "failed"]),
    st.integers(0, 3),
    st.text("abc一二", min_size=1),
    st.text(st.characters(exclude_categories=["Cs"])) | st.integers(-9, 9),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(verdicts, max_size=6))
def test_verdicts_come_back_from_a_table_as_they_went_in(rows: list[Verdict]) -> None:
    back = records.from_table(records.to_table(rows))
    assert sorted(map(repr, back)) == sorted(map(repr, rows))


def test_an_empty_table_has_all_columns_and_their_types() -> None:
    table = records.to_table([])
    assert list(table.columns) == list(Verdict.model_fields)
    assert (table["value"].dtype, table["probability"].dtype) == ("Int64", "Float64")


def test_a_missing_value_is_missing_in_a_table_and_after_parquet(tmp_path: Path) -> None:
    table = records.to_table([verdict(value=None, status="unparsed"), verdict(value=0)])
    table.to_parquet(tmp_path / "v.parquet", index=False)
    back = pd.read_parquet(tmp_path / "v.parquet")
    assert back["value"].isna().tolist() == table["value"].isna().tolist()
    assert int(back["value"].notna().sum()) == 1
    assert int(back["value"].dropna().iloc[0]) == 0


def test_the_order_of_a_table_does_not_depend_on_the_order_of_the_rows() -> None:
    rows = [verdict(item_id=i, judge_id=j) for i in "ba" for j in "yx"]
    pd.testing.assert_frame_equal(records.to_table(rows), records.to_table(rows[::-1]))
