from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook

from cqa_helpers import spreadsheets
from cqa_helpers.spreadsheets import TableError

HOSTILE = [
    "=cmd()|'/c calc'!A0", "+1+1", "-2", "@SUM(A1)", "\t=1", "<script>alert(1)</script>",
    "</textarea>", "left\u202eright", "http://example.org", "_x0041_", "bell\x07", "a\r\nb\rc",
    "𠮷",
]  # fmt: skip
GB = "条目,维度,分值\n周某某,技艺,１\n李某某,读者,0\n"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (GB.encode(), "utf-8"),
        (GB.encode("utf-8-sig"), "utf-8-sig"),
        (GB.encode("gb18030"), "gb18030"),
        (GB.encode("utf-16"), "utf-16"),
        (GB.replace("\n", "\r\n").encode("gb18030"), "gb18030"),
        (GB.replace(",", ";").encode(), "utf-8"),
        (GB.replace(",", "\t").encode("utf-16"), "utf-16"),
    ],
)
def test_what_excel_saves_is_read_and_its_encoding_told(
    tmp_path: Path, data: bytes, encoding: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    table = spreadsheets.read(path)
    assert table.encoding == encoding
    assert table.columns == ("条目", "维度", "分值")
    assert table.rows[0] == spreadsheets.Row(2, {"条目": "周某某", "维度": "技艺", "分值": "１"})


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text("的一是在不了有和人这中大为上个国我以要他", min_size=1, max_size=30), min_size=1
    )
)
def test_chinese_saved_as_gb18030_is_never_taken_for_a_mixture(lines: list[str]) -> None:
    text = "\n".join([*lines, "镕"])
    assert spreadsheets.decode(text.encode("gb18030"), "t")[0] == text


def test_a_file_in_two_encodings_is_refused_with_the_lines_of_each() -> None:
    data = "条目,理由\n甲,写得很好\n".encode() + "乙,写得不好\n".encode("gb18030")
    with pytest.raises(TableError, match=r"t: mixed encodings. UTF-8 on line\(s\) 1, 2, another "
                       r"on line\(s\) 3"):  # fmt: skip
        spreadsheets.decode(data, "t")


def test_bytes_in_no_encoding_are_refused_with_the_line() -> None:
    with pytest.raises(TableError, match="t:2: neither UTF-8 nor GB18030"):
        spreadsheets.decode(b"a,b\n\xff\xff,1\n", "t")


def test_hostile_text_comes_back_unchanged_and_no_cell_is_a_formula(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    rows = [{"text": t, "n": k} for k, t in enumerate(HOSTILE)]
    spreadsheets.write(path, rows)
    assert [row.cells for row in spreadsheets.read(path).rows] == rows
    sheet = load_workbook(path).worksheets[0]
    cells = [cell for row in sheet.iter_rows() for cell in row]
    assert {cell.data_type for cell in cells} == {"s", "n"}
    assert all(cell.hyperlink is None for cell in cells)


def test_a_megabyte_cell_is_read_from_csv_and_refused_by_a_spreadsheet(tmp_path: Path) -> None:
    long = "长" * 350_000
    path = tmp_path / "t.csv"
    path.write_text(f'item_id,reason\np,"{long}"\n', "utf-8")
    assert spreadsheets.read(path).rows[0].cells["reason"] == long
    with pytest.raises(TableError, match="row 2, reason: 350000 characters"):
        spreadsheets.write(tmp_path / "t.xlsx", [{"reason": long}])
    assert not (tmp_path / "t.xlsx").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no rows"),
        ("a,a\n1,2\n", "named twice"),
        ("a,b\n1,2,3\n", "2: 3 cells and 2 columns"),
        ('a,b\n1,"2\n', r"2: not readable as CSV .*not closed"),
    ],
)
def test_tables_that_do_not_hold_together_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=said):
        spreadsheets.read(path)


def test_lines_are_those_of_the_file_where_cells_span_several(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,"two\nlines"\n\n3,4\n')
    assert [row.line for row in spreadsheets.read(path).rows] == [2, 5]


def test_a_file_that_is_no_workbook_says_so(tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").write_text("not a workbook")
    with pytest.raises(TableError, match="not readable as XLSX"):
        spreadsheets.read(tmp_path / "t.xlsx")
