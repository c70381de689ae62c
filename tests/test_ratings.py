from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqa_helpers import ballots, forms, ratings, spreadsheets, taxonomy
from cqa_helpers.ratings import Answer, Missing
from cqa_helpers.sheets import RANK, Sheet, Worked
from cqa_helpers.taxonomy import Taxonomy, Text

OF = taxonomy.load("blind-rating")
CRITERIA = OF.ids()
SHEETS = (
    Sheet("s3", "夜里停电。", "zh", (("k4", "有效。"), ("c9", "无效。"), ("m2", "看不出。"))),
    Sheet("s1", "She locked it.", "en", (("a7", "It holds."), ("t5", "It does not."))),
)
EXAMPLE = Sheet("w1", "An example.", "en", (("x1", "Good."), ("x2", "Bad.")))
EXPECTED = {"rater-1": SHEETS, "rater-2": SHEETS[:1]}
ALL = len(CRITERIA) + 1

Page = dict[str, Any]
Change = Callable[[dict[str, Any]], object]


def page(sheet: Sheet, turn: int, value: int = 3) -> Page:
    """Return a whole sheet as the form exports it: the later diagnosis, the worse."""
    return {
        "id": sheet.id, "turn": turn, "seconds": 60 + turn, "status": "done",
        "answers": [
            {"code": code, "position": n, "rank": n, "why": f"why {code}",
             "values": dict.fromkeys(CRITERIA, value)}
            for n, (code, _) in enumerate(sheet.diagnoses, start=1)
        ],
    }  # fmt: skip


def export(rater: str = "rater-1", at: str = "2026-11-21T10:00:00+08:00") -> dict[str, Any]:
    sent = EXPECTED.get(rater, SHEETS)
    return {
        "kind": "cqa-blind", "version": 1, "form_id": "f", "taxonomy": OF.id, "exported": at,
        "passages": [{"id": s.id, "sha256": s.sha256()} for s in (EXAMPLE, *sent)],
        "rater_id": rater, "consent": "2026-11-21T09:00:00+08:00", "language": "zh",
        "sheets": [page(s, n) for n, s in enumerate(sent, start=1)],
        "calibration": [page(EXAMPLE, 1, 5)], "unfinished": [], "header": {}, "drafts": {},
    }  # fmt: skip


def put(path: Path, content: Mapping[str, Any], *, signed: bool = True) -> Path:
    whole = dict(content) | ({"checksum": ballots.checksum(content)} if signed else {})
    path.write_text(json.dumps(whole, ensure_ascii=False, indent=1), encoding="utf-8")
    return path


def read(*files: Path, **options: Any) -> ratings.Returned:
    return ratings.read(files, EXPECTED, OF, worked=[EXAMPLE], **options)


def severe(found: ratings.Returned) -> list[str]:
    return [str(f) for f in found.findings if f.severe]


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def as_table(rater: str = "rater-2") -> list[dict[str, Any]]:
    found = [
        {"sheet": s["id"], "item_id": a["code"], "dimension": d, "judge_id": rater, "value": v,
         "reason": a["why"], "seconds": s["seconds"]}
        for s in export(rater)["sheets"] for a in s["answers"]
        for d, v in {**a["values"], RANK: a["rank"]}.items()
    ]  # fmt: skip
    return found


def test_a_whole_export_gives_a_verdict_for_each_question(tmp_path: Path) -> None:
    found = read(put(tmp_path / "1.json", export()), put(tmp_path / "2.json", export("rater-2")))
    assert found.findings == []
    assert found.missing == []
    assert len(found.rows) == ALL * (5 + 3)
    by = {(v.judge_id, v.item_id, v.dimension): v for v in found.rows}
    rank = by["rater-1", "m2", RANK]
    assert (rank.value, rank.scale, rank.reason, rank.repeat) == (3, "1-3", "why m2", 0)
    assert rank.meta == {"sheet": "s3", "turn": 1, "position": 3, "seconds": 61}
    assert by["rater-1", "a7", RANK].scale == "1-2"
    assert by["rater-1", "a7", "insight"].scale == "1-5"
    assert by["rater-1", "a7", "insight"].meta["turn"] == 2


def test_answers_to_worked_examples_are_kept_apart(tmp_path: Path) -> None:
    file = put(tmp_path / "1.json", export())
    found = read(file)
    assert {v.item_id for v in found.practice} == {"x1", "x2"}
    assert not {"x1", "x2"} & {v.item_id for v in found.rows}
    unread = ratings.read([file], {"rater-1": SHEETS}, OF)
    assert (unread.practice, len(unread.rows)) == ([], ALL * 5)
    assert ["2 answer(s) to worked examples" in str(f) for f in unread.findings] == [True]


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_a_table_says_the_same_as_the_export(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"r.{suffix}"
    if suffix == "csv":
        table(file, as_table())
    else:
        spreadsheets.write(file, as_table())
    found = read(file)
    assert severe(found) == []
    assert found.rows == read(put(tmp_path / "2.json", export("rater-2"))).rows


def test_a_table_may_use_the_names_people_see(tmp_path: Path) -> None:
    names = {d.id: d.label.zh for d in OF.dimensions} | {RANK: "名次"}
    rows = [{"条目": r["item_id"], "维度": names[r["dimension"]], "评分人": r["judge_id"],
             "评分": f"{r['value']}.0"} for r in as_table()]  # fmt: skip
    found = read(table(tmp_path / "r.csv", rows))
    assert severe(found) == []
    assert [v.value for v in found.rows] == [3, 3, 3, 3, 1, 3, 3, 3, 3, 2, 3, 3, 3, 3, 3]
    assert {v.meta["seconds"] for v in found.rows} == {None}


def test_a_partial_form_keeps_its_answers_and_lists_what_is_missing(tmp_path: Path) -> None:
    begun = export("rater-2")
    begun["sheets"][0]["answers"][1]["values"].pop("insight")
    for answer in begun["sheets"][0]["answers"]:
        answer["rank"] = None
    begun["sheets"][0]["answers"][2] |= {"values": {}}
    found = read(put(tmp_path / "2.json", begun))
    assert len(found.rows) == 2 * len(CRITERIA) - 1
    mine = [m for m in found.missing if m.rater == "rater-2"]
    assert Missing("rater-2", "s3", "c9", "insight") in mine
    assert len(mine) + len(found.rows) == ALL * 3
    assert severe(found) == []
    notes = [str(f) for f in found.findings]
    assert any("2.json" in n and "rater-2, sheet s3" in n and "8 answer(s) missing" in n
               for n in notes)  # fmt: skip
    assert any("a reason without any value is not kept: 'why m2'" in n for n in notes)
    assert any("no file" in n and "rater-1" in n for n in notes)
    assert sum(m.rater == "rater-1" for m in found.missing) == ALL * 5


def test_the_same_export_twice_counts_once(tmp_path: Path) -> None:
    one = put(tmp_path / "a.json", export())
    again = put(tmp_path / "b.json", export(at="2026-11-22T10:00:00+08:00"))
    found = read(one, again)
    assert found.rows == read(one).rows
    notes = [str(f) for f in found.findings if "rater-1" in str(f)]
    assert ["b.json" in n and "same answers as" in n for n in notes] == [True]


def test_of_two_different_exports_neither_counts_unless_the_later_is_asked_for(
    tmp_path: Path,
) -> None:
    # The later one by the clock on the wall of another zone.
    early = put(tmp_path / "a.json", export(at="2026-11-21T10:00:00+08:00"))
    changed = export(at="2026-11-21T04:00:00+00:00")
    changed["sheets"][0]["answers"][0]["values"]["accuracy"] = 1
    late = put(tmp_path / "b.json", changed)
    found = read(late, early)
    assert found.rows == []
    assert len(severe(found)) == 2
    assert all("a.json" in s and "b.json" in s and "rater-1" in s for s in severe(found))
    decided = read(late, early, later_wins=True)
    assert severe(decided) == []
    assert decided.rows == read(late).rows
    assert any("a.json" in str(f) and "set aside" in str(f) for f in decided.findings)
    timeless = table(tmp_path / "c.csv", as_table("rater-1")[:3])
    assert read(late, timeless, later_wins=True).rows == []


def test_an_edited_file_is_named_and_refused_unless_accepted(tmp_path: Path) -> None:
    whole = export() | {"checksum": ballots.checksum(export())}
    whole["sheets"][1]["answers"][0]["values"]["accuracy"] = 5
    file = put(tmp_path / "1.json", whole, signed=False)
    found = read(file)
    assert found.rows == []
    (said,) = severe(found)
    assert "1.json: rater-1: the checksum does not fit" in said
    taken = read(file, accept_edited=True)
    assert len(taken.rows) == ALL * 5
    assert severe(taken) == []
    assert any("the checksum does not fit" in str(f) for f in taken.findings)


@pytest.mark.parametrize(
    ("change", "said", "lost"),
    [
        (lambda w: w["sheets"][0]["answers"][0].update(code="zz"),
         "sheet s3, zz.accuracy: unknown code", ALL + 2),
        (lambda w: w["sheets"][0]["answers"][0]["values"].update(accuracy=6),
         "sheet s3, k4.accuracy: 6 lies outside the scale 1-5", 1),
        (lambda w: w["sheets"][0]["answers"][0]["values"].update(accuracy=2.5),
         "k4.accuracy: 2.5 lies outside", 1),
        (lambda w: w["sheets"][0]["answers"][0]["values"].update(accuracy=True),
         "k4.accuracy: True lies outside", 1),
        (lambda w: w["sheets"][0]["answers"][0]["values"].update(beauty=3),
         "k4.beauty: unknown dimension. Allowed: accuracy", 0),
        (lambda w: w["sheets"][0]["answers"][0].update(rank=3),
         "sheet s3, rank: k4 3, c9 2, m2 3 is no ranking", 3),
        (lambda w: w["sheets"][0]["answers"][0].update(rank=9),
         "k4.rank: 9 lies outside the scale 1-3", 3),
        (lambda w: w["sheets"][0]["answers"][0].update(rank=None),
         "orders 2 of 3 diagnoses, and a part is no ranking", 3),
        (lambda w: w["sheets"][1]["answers"].append(w["sheets"][0]["answers"][0]),
         "sheet s1, k4.accuracy: this code stands on sheet s3", 0),
        (lambda w: w["passages"][1].update(sha256="0"),
         "sheet s3: the rater was shown other texts", ALL * 3),
        (lambda w: w.update(consent=""), "no consent was given", ALL * 5),
        (lambda w: w.update(rater_id="rater-9"),
         "rater-9: unknown rater; nothing of it is taken. Expected: rater-1, rater-2", ALL * 5),
        (lambda w: w.update(kind="cqa-ratings"), "kind: ", ALL * 5),
        (lambda w: w.update(exported="yesterday"), "exported: ", ALL * 5),
        (lambda w: w.pop("sheets"), "sheets: Field required", ALL * 5),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_and_the_rest_is_kept(
    tmp_path: Path, change: Change, said: str, lost: int
) -> None:
    whole = export()
    change(whole)
    found = read(put(tmp_path / "1.json", whole))
    assert any(said in s and "1.json" in s for s in severe(found)), severe(found)
    assert len(found.rows) == ALL * 5 - lost
    assert sum(m.rater == "rater-1" for m in found.missing) == lost


@pytest.mark.parametrize(
    ("given", "kept"),
    [((1, 1, 2), (1, 1, 3)), ((1, 1, 3), (1, 1, 3)), ((1, 2, 2), (1, 2, 2)),
     ((1, 1, 1), (1, 1, 1)), ((3, 1, 2), (3, 1, 2)), ((2, 2, 3), None), ((2, 3, 3), None),
     ((1, 3, 3), None)],
)  # fmt: skip
def test_ties_come_out_in_one_convention_and_gaps_are_refused(
    tmp_path: Path, given: tuple[int, ...], kept: tuple[int, ...] | None
) -> None:
    whole = export("rater-2")
    for answer, rank in zip(whole["sheets"][0]["answers"], given, strict=True):
        answer["rank"] = rank
    found = read(put(tmp_path / "2.json", whole))
    assert tuple(v.value for v in found.rows if v.dimension == RANK) == (kept or ())
    assert bool(severe(found)) == (kept is None)


def test_every_fault_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    bad = tmp_path / "cut.json"
    bad.write_text(json.dumps(export())[:500], encoding="utf-8")
    rows = as_table()
    rows[0] |= {"value": 7}
    rows[1] |= {"item_id": "nope"}
    rows[2] |= {"dimension": "charm"}
    rows[3] |= {"sheet": "s1"}
    rows += [rows[5] | {"value": 1}, rows[6], rows[7] | {"judge_id": "someone"}]
    rows[8] |= {"value": ""}
    found = read(bad, tmp_path / "absent.json", table(tmp_path / "r.csv", rows))
    told = severe(found)
    for said in ("cut.json:1: file: not JSON", "absent.json: file: cannot be read",
                 "r.csv:2: rater-2, sheet s3, k4.accuracy: 7 lies outside the scale 1-5",
                 "r.csv:3: rater-2, sheet s3, nope.insight: unknown code",
                 "r.csv:4: rater-2, sheet s3, k4.charm: unknown dimension",
                 "r.csv:5: rater-2, sheet s1, k4.sign-it: this code stands on sheet s3",
                 "r.csv:17: rater-2, sheet s3, c9.accuracy: answered twice and differently",
                 "r.csv:19: someone: unknown rater"):  # fmt: skip
        assert any(said in line for line in told), (said, told)
    assert len(told) == 8
    mine = [m for m in found.missing if m.rater == "rater-2"]
    assert len(found.rows) == ALL * 3 - 6
    assert len(mine) == 6


def test_a_table_without_its_columns_says_which(tmp_path: Path) -> None:
    found = read(table(tmp_path / "r.csv", [{"item_id": "k4", "value": 1}]))
    assert "dimension, judge_id: column(s) missing" in severe(found)[0]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_the_checksum_knows_content_and_neither_order_nor_layout(value: Any) -> None:
    content = {"b": value, "a": 1}
    same = json.loads(json.dumps({"a": 1, "b": value}, ensure_ascii=False, indent=2))
    assert ballots.checksum(content) == ballots.checksum(same | {"checksum": "x"})
    assert ballots.checksum(content) != ballots.checksum({"b": [value], "a": 1})


def test_to_rows_leaves_out_what_was_not_answered() -> None:
    rows = ratings.to_rows([Answer("r", "s", "c", 2, 5, 4, {"insight": 4, RANK: 2})], OF)
    assert [(v.dimension, v.value, v.scale) for v in rows] == [
        ("insight", 4, "1-5"), (RANK, 2, "1-4"),
    ]  # fmt: skip


# ---- what the form is made of ------------------------------------------------------------------


def example(of: Taxonomy) -> Worked:
    values = {code: dict.fromkeys((*of.ids(), RANK), 1) for code, _ in EXAMPLE.diagnoses}
    why = {code: Text(en="so", zh="如此") for code, _ in EXAMPLE.diagnoses}
    return Worked(EXAMPLE, values, why)


@pytest.mark.parametrize(
    ("sheets", "options", "said"),
    [
        ((), {}, "at least one sheet"),
        ((SHEETS[0], SHEETS[0]), {}, "'s3' is given 2 times"),
        ((SHEETS[0]._replace(id="夜"),), {}, "sheet '夜': use letters"),
        ((SHEETS[0]._replace(passage=" "),), {}, "sheet s3: the passage has no text"),
        ((SHEETS[0]._replace(diagnoses=()),), {}, "sheet s3: 0 diagnoses"),
        ((SHEETS[0]._replace(diagnoses=(("k4", "As GPT-4 I say no."),)),),
         {"names": ["gpt-4", "qwen"]}, "the diagnosis k4 names 'GPT-4'"),
        ((SHEETS[0]._replace(id="s-qwen"),), {"names": ["gpt-4", "qwen"]}, "'s-qwen' names 'qwen'"),
        (SHEETS, {"worked": [example(OF)._replace(values={})]}, "x1 needs values of accuracy"),
        (SHEETS, {"worked": [example(OF)._replace(why={})]}, "the diagnosis x2 needs a why"),
    ],
)  # fmt: skip
def test_sheets_that_would_break_the_form_or_tell_are_refused(
    tmp_path: Path, sheets: tuple[Sheet, ...], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(forms.FormError, match=said):
        forms.blind(sheets, OF, tmp_path / "b.html", "en", "rater-1", **options)
    assert list(tmp_path.iterdir()) == []


def test_blank_lines_do_not_tell_who_wrote() -> None:
    neat, loose = (Sheet("s", "p", "en", (("c", text),)) for text in
                   ("One.\n\nTwo.", "\n One.  \r\n\r\n\r\n\nTwo.\n\n"))  # fmt: skip
    assert neat.sha256() == loose.sha256()
