from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers import intake, spreadsheets, taxonomy
from cqa_helpers.annotations import Annotation
from cqa_helpers.records import Passage, Verdict
from cqa_helpers.taxonomy import Taxonomy

VERDICT = {"item_id": "p", "dimension": "craft", "judge_id": "e", "value": 1}
ANNOTATION = {
    "id": "a", "passage_id": "p", "protocol": "solo", "expert_id": "e", "cot_body": "想了想。",
    "judgements": [{"dimension": "craft", "value": 1, "reason": "好。"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def of() -> Taxonomy:
    return taxonomy.load("cqa")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), "utf-8")
    return path


def form(path: Path, **changes: Any) -> Path:
    whole = {"kind": "cqa-annotations", "version": 1, "form_id": "f", "taxonomy": "cqa",
             "passages": [{"id": "p", "sha256": "0"}], "annotations": [ANNOTATION],
             "unfinished": []}  # fmt: skip
    path.write_text(json.dumps(whole | changes, ensure_ascii=False, indent=1), "utf-8")
    return path


def test_each_kind_of_row_is_known_by_its_fields(tmp_path: Path, of: Taxonomy) -> None:
    passage = {"id": "p", "work_id": "w", "text": "t", "origin": "published", "licence": "l",
               "source": "s"}  # fmt: skip
    taken = intake.read([write(tmp_path / "all.jsonl", [VERDICT, ANNOTATION, passage])], of)
    assert taken.findings == []
    assert [type(p.record) for p in taken.placed] == [Verdict, Annotation, Passage]
    assert [p.line for p in taken.placed] == [1, 2, 3]


def test_every_fault_is_found_at_once_with_file_line_field_and_expectation(
    tmp_path: Path, of: Taxonomy
) -> None:
    path = tmp_path / "bad.jsonl"
    rows = [
        json.dumps(VERDICT | {"value": 7}),
        "{not json",
        json.dumps({"a": 1}),
        json.dumps(VERDICT | {"colour": "red"}),
        '{"item_id": "p", "item_id": "q", "judge_id": "e"}',
        "[" * 100_000,
        json.dumps({k: v for k, v in VERDICT.items() if k != "dimension"}),
    ]
    path.write_text("\r\n".join(rows), "utf-8")
    found = intake.read([path, tmp_path / "absent.jsonl"], of).findings
    assert [f.line for f in found] == [1, 2, 3, 4, 5, 6, 7, None]
    said = [str(f) for f in found]
    assert all(f"error {path}:{n}: " in s for n, s in enumerate(said[:-1], start=1))
    for text, part in zip(said, (
        "7 lies outside the scale 0-1", "not JSON", "neither a passage", "unknown field; Verdict "
        "has item_id", "field given twice: ['item_id']", "not JSON", "dimension: Field required",
        "cannot be read: No such file",
    ), strict=True):  # fmt: skip
        assert part in text


def test_a_form_s_faults_are_placed_on_their_own_lines(tmp_path: Path, of: Taxonomy) -> None:
    bad = ANNOTATION | {"id": "b", "judgements": [{"dimension": "craft", "value": "x",
                                                   "reason": "r"}]}  # fmt: skip
    path = form(tmp_path / "back.json", annotations=[ANNOTATION, bad], unfinished=["q"])
    taken = intake.read([path], of)
    (fault, note) = taken.findings
    lines = path.read_text("utf-8").split("\n")
    assert lines[(fault.line or 0) - 1].strip().startswith('"value": "x"')
    assert fault.field == "judgements.0.value"
    assert "given: 'x'" in fault.message
    assert not note.severe
    assert "1 passage(s) begun and not finished stay in this file" in note.message
    assert [p.record.id for p in taken.placed] == ["a"]
    assert taken.seen == {(str(path), "p"): "0"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"kind": "other"}, "not a file of this project"), ({"version": 9}, "version 9"),
     ({"annotations": None}, "missing or not a list")],
)  # fmt: skip
def test_a_file_of_another_form_or_version_is_refused(
    tmp_path: Path, of: Taxonomy, changes: dict[str, Any], said: str
) -> None:
    (fault,) = intake.read([form(tmp_path / "f.json", **changes)], of).findings
    assert fault.severe
    assert said in fault.message


def test_a_cut_off_form_says_where_it_ends(tmp_path: Path, of: Taxonomy) -> None:
    path = form(tmp_path / "cut.json")
    text = path.read_text("utf-8")
    path.write_text(text[: len(text) // 2], "utf-8")
    (fault,) = intake.read([path], of).findings
    assert fault.line == text[: len(text) // 2].count("\n") + 1
    assert "not JSON" in fault.message


def test_json_with_bom_and_in_gb18030_is_read_and_the_encoding_noted(
    tmp_path: Path, of: Taxonomy
) -> None:
    line = json.dumps(ANNOTATION, ensure_ascii=False)
    (tmp_path / "bom.jsonl").write_bytes(b"\xef\xbb\xbf" + line.encode())
    (tmp_path / "gb.jsonl").write_bytes(line.encode("gb18030"))
    taken = intake.read([tmp_path / "bom.jsonl", tmp_path / "gb.jsonl"], of)
    assert [p.record.cot_body for p in taken.placed] == ["想了想。", "想了想。"]
    (note,) = taken.findings
    assert "read as gb18030" in note.message
    assert not note.severe


def test_a_table_takes_english_or_chinese_heads_full_width_digits_and_words(
    tmp_path: Path, of: Taxonomy
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "条目,维度,评委,分值,理由,页码\np1,技艺,赵,１,“好”，确实,7\np1,Audience,赵,否,,\n"
        "p1,reality_logic,赵,1.0,,\np2,craft,赵,,没看完,\np2,audience,赵,0.5,,\n",
        "utf-8",
    )
    taken = intake.read([path], of)
    rows = [(v.item_id, v.dimension, v.value, v.reason, v.meta) for v in
            (p.record for p in taken.placed)]  # fmt: skip
    assert rows == [
        ("p1", "craft", 1, "“好”，确实", {"页码": "7"}),
        ("p1", "audience", 0, "", {}),
        ("p1", "reality_logic", 1, "", {}),
    ]
    ignored, empty, half = taken.findings
    assert (ignored.field, ignored.severe) == ("页码", False)
    assert (empty.line, empty.severe) == (5, False)
    assert (half.line, half.severe) == (6, True)
    assert "0.5" in half.message


def test_a_table_without_its_columns_says_which(tmp_path: Path, of: Taxonomy) -> None:
    (tmp_path / "t.csv").write_text("item,score\np,1\n")
    (fault,) = intake.read([tmp_path / "t.csv"], of).findings
    assert fault.field == "dimension, judge_id"
    assert "this one has item, score" in fault.message


def test_a_spreadsheet_we_export_comes_back_row_for_row(tmp_path: Path, of: Taxonomy) -> None:
    verdicts = [Verdict(item_id=t, dimension="craft", judge_id="e", value=None, status="refused",
                        reason=t) for t in ("=cmd()", "<script>", "\u202e", "+1")]  # fmt: skip
    path = tmp_path / "t.xlsx"
    spreadsheets.write(path, [v.model_dump(exclude={"meta"}) for v in verdicts])
    taken = intake.read([path], of)
    assert [p.record for p in taken.placed] == verdicts
    assert not any(f.severe for f in taken.findings)
