from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers import cli, golden, intake, taxonomy
from cqa_helpers.annotations import Annotation, Judgement, Span
from cqa_helpers.records import Passage, Verdict, write_jsonl
from cqa_helpers.taxonomy import Taxonomy

TEXT = "𠮷野把登记簿合上，说：「今天没有人来过。」雨还在下。"
DIMENSIONS = ("craft", "audience", "reality_logic")


@pytest.fixture(scope="module")
def of() -> Taxonomy:
    return taxonomy.load("cqa")


def passage(name: str = "p", **changes: Any) -> Passage:
    known = {"id": name, "work_id": f"w-{name}", "language": "zh", "text": TEXT,
             "origin": "model-authored", "licence": "CC-BY-4.0", "source": "test"}  # fmt: skip
    return Passage(**known | changes)


def annotation(name: str = "a", **changes: Any) -> Annotation:
    known: dict[str, Any] = {
        "id": name, "passage_id": "p", "protocol": "solo", "expert_id": "e", "cot_body": "想。",
        "judgements": [Judgement(dimension=d, value=1, reason="奏效。") for d in DIMENSIONS],
        "evidence": [Span(start=0, end=2, dimension="craft", quote="𠮷野")],
    }  # fmt: skip
    return Annotation(**known | changes)


def found(tmp_path: Path, of: Taxonomy, *rows: Any) -> list[str]:
    write_jsonl(tmp_path / "in.jsonl", rows)
    return [str(f) for f in golden.check(intake.read([tmp_path / "in.jsonl"], of), of)]


def test_records_that_fit_have_no_findings(tmp_path: Path, of: Taxonomy) -> None:
    assert found(tmp_path, of, passage(), annotation()) == []


@pytest.mark.parametrize(
    ("rows", "severe", "said"),
    [
        ([annotation()], True, "no passage 'p' is known"),
        ([passage(), annotation(evidence=[Span(start=20, end=99, dimension="craft")])], True,
         "characters 20-99 lie outside the text of 'p', which has 26"),
        ([passage(), annotation(evidence=[Span(start=1, end=3, dimension="craft",
                                               quote="𠮷野")])], True, "are '野把'"),
        ([passage(), annotation(judgements=[Judgement(dimension=d, value=3 if d == "craft" else 1,
                                                      reason="奏效。") for d in DIMENSIONS])],
         True, "judgements.0.value: a: 3 lies outside the scale 0-1"),
        ([passage(), annotation(judgements=[Judgement(dimension="rhyme", value=1, reason="r")])],
         True, "'rhyme' is not a dimension"),
        ([passage(), annotation(judgements=[
            Judgement(dimension=d, value=0, reason="写得细。所以这一笔奏效。")
            for d in DIMENSIONS])], False, "the reason ends by finding the choice effective"),
        ([passage(), annotation(judgements=[
            Judgement(dimension=d, value=1, score=1, reason="奏效。") for d in DIMENSIONS])],
         False, "score 1 of 5 speaks against the verdict 1"),
        ([passage(), annotation(judgements=[
            Judgement(dimension="craft", value=1, reason="奏效。")])], False,
         "no verdict on audience, reality_logic: counted as missing"),
        ([passage(), annotation(protocol="bc")], False, "(bc) needs the engineer's id"),
        ([passage(), annotation(), annotation(cot_body="又想。")], True, "with other content"),
        ([passage(), annotation(), annotation()], False, "with the same content"),
        ([passage(), annotation(), annotation("b", judgements=[
            Judgement(dimension=d, value=0, reason="不奏效。") for d in DIMENSIONS])],
         True, "e judged p on craft otherwise in a"),
        ([passage(), annotation(), Verdict(item_id="p", dimension="craft", judge_id="e", value=0)],
         True, "the annotation a says 1, this row 0"),
        ([passage(), Verdict(item_id="q", dimension="craft", judge_id="e", value=0)], True,
         "no passage 'q' is known"),
        ([passage(), Verdict(item_id="p", dimension="craft", judge_id="e", value=3, scale="1-5")],
         True, "craft is judged on 0-1"),
        ([passage(), Verdict(item_id="p", dimension="craft", judge_id="e", value=1,
                             reason="It fails.")], False, "ends by finding the choice ineffective"),
        ([passage(text="雨\ufffd停了")], True, "a lost character (U+FFFD)"),
        ([passage(text="雨\x07停了\r\n")], False, "control character(s) U+0007, U+000D"),
        ([passage(text="雨停了,他走了")], False, "1 half-width punctuation mark(s)"),
        ([passage(text="雨\u202e停了")], False, "change the direction of writing"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_found_and_only_what_is_wrong_stops_an_import(
    tmp_path: Path, of: Taxonomy, rows: list[Any], severe: bool, said: str
) -> None:
    said_all = found(tmp_path, of, *rows)
    hits = [text for text in said_all if said in text]
    assert hits, said_all
    assert all(text.startswith("error" if severe else "note") for text in hits)
    if not severe:
        assert not any(text.startswith("error") for text in said_all)


def back(path: Path, *rows: Annotation, text: str = TEXT) -> Path:
    """Write what the annotation form exports."""
    whole = {
        "kind": "cqa-annotations", "version": 1, "form_id": "f", "taxonomy": "cqa",
        "passages": [{"id": "p", "sha256": hashlib.sha256(text.encode()).hexdigest()}],
        "annotations": [json.loads(r.model_dump_json()) for r in rows], "unfinished": [],
    }  # fmt: skip
    path.write_text(json.dumps(whole, ensure_ascii=False, indent=1), "utf-8")
    return path


def test_an_import_keeps_every_character_and_a_second_one_changes_nothing(
    tmp_path: Path, of: Taxonomy
) -> None:
    folder = tmp_path / "golden"
    write_jsonl(folder / "passages.jsonl", [passage()])
    sent = back(tmp_path / "back.json", annotation())
    outcome = golden.import_files([sent], folder, of)
    assert outcome.ok()
    assert outcome.added["annotations"] == 1
    assert golden.read(folder, of).annotations == [annotation()]
    bytes_before = (folder / "annotations.jsonl").read_bytes()
    again = golden.import_files([sent], folder, of)
    assert (again.added["annotations"], again.unchanged) == (0, 1)
    assert (folder / "annotations.jsonl").read_bytes() == bytes_before


def test_one_bad_record_stops_the_whole_import_and_nothing_is_written(
    tmp_path: Path, of: Taxonomy
) -> None:
    folder = tmp_path / "golden"
    write_jsonl(folder / "passages.jsonl", [passage()])
    before = {p: p.read_bytes() for p in folder.iterdir()}
    bad = annotation("b", passage_id="q")
    outcome = golden.import_files([back(tmp_path / "b.json", annotation(), bad)], folder, of)
    assert not outcome.ok()
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


def test_a_changed_annotation_replaces_the_old_one_only_when_told_to(
    tmp_path: Path, of: Taxonomy
) -> None:
    folder = tmp_path / "golden"
    write_jsonl(folder / "passages.jsonl", [passage()])
    golden.import_files([back(tmp_path / "1.json", annotation())], folder, of)
    changed = back(tmp_path / "2.json", annotation(summary="改过了。"))
    assert not golden.import_files([changed], folder, of).ok()
    assert golden.read(folder, of).annotations[0].summary == ""
    outcome = golden.import_files([changed], folder, of, replace=True)
    assert outcome.replaced == 1
    assert golden.read(folder, of).annotations[0].summary == "改过了。"


def test_an_annotation_of_another_version_of_the_text_is_refused(
    tmp_path: Path, of: Taxonomy
) -> None:
    folder = tmp_path / "golden"
    write_jsonl(folder / "passages.jsonl", [passage()])
    sent = back(tmp_path / "b.json", annotation(), text=TEXT + "改")
    (fault,) = golden.import_files([sent], folder, of).findings
    assert "the form showed another text" in fault.message
    assert fault.severe


def test_verdicts_of_the_instruments_go_to_files_of_their_own(tmp_path: Path, of: Taxonomy) -> None:
    folder = tmp_path / "golden"
    write_jsonl(folder / "passages.jsonl", [passage()])
    quality = taxonomy.load("cot-quality").ids()[0]
    screening = taxonomy.load("pair-screening").ids()[0]
    rows = [
        Verdict(
            item_id=golden.rating_code("a"), dimension=quality, judge_id="r", value=4, scale="1-5"
        ),
        Verdict(item_id="e+k", dimension=screening, judge_id="r", value=2, scale="1-5"),
        Verdict(item_id="p", dimension="craft", judge_id="x", value=1),
    ]
    write_jsonl(tmp_path / "rows.jsonl", [annotation(), *rows])
    assert golden.import_files([tmp_path / "rows.jsonl"], folder, of).ok()
    data = golden.read(folder, of)
    assert data.quality == [rows[0].model_copy(update={"item_id": "a"})]
    assert data.screening == [rows[1]]
    assert len(data.verdicts) == len(DIMENSIONS) + 1
    assert sorted(p.name for p in folder.iterdir()) == [
        "annotations.jsonl", "passages.jsonl", "quality.jsonl", "screening.jsonl",
        "verdicts.jsonl",
    ]  # fmt: skip


def test_the_command_says_what_it_found_and_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "golden"
    write_jsonl(folder / "passages.jsonl", [passage()])
    sent = back(tmp_path / "b.json", annotation())
    at = ["--folder", str(folder)]
    assert cli.main(["validate", str(sent), *at]) == 0
    assert "1 record(s) in 1 file(s) read." in capsys.readouterr().out
    assert cli.main(["validate", str(sent), *at, "--alone"]) == 1
    assert f"error {sent}:" in capsys.readouterr().err
    assert cli.main(["import-annotations", str(sent), *at]) == 0
    assert "1 annotations; 0 replaced, 0 there already." in capsys.readouterr().out
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    assert cli.main(["import-annotations", str(tmp_path / "bad.csv"), *at]) == 1
    assert "Nothing was imported." in capsys.readouterr().err
    assert cli.main(["export-table", str(tmp_path / "none.jsonl"), "o.xlsx"]) == 1
    assert "none.jsonl" in capsys.readouterr().err


def test_raters_of_reasoning_do_not_see_who_made_it_or_how(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_jsonl(tmp_path / "a.jsonl", [annotation("p.e.solo"), annotation("p.e.bc")])
    out = tmp_path / "q.html"
    assert cli.main(["form", "quality", "--annotations", str(tmp_path / "a.jsonl"),
                     "--out", str(out)]) == 0  # fmt: skip
    page = out.read_text("utf-8")
    assert "p.e.solo" not in page
    assert golden.rating_code("p.e.solo") in page
    assert "2 annotation(s) to rate" in capsys.readouterr().out
