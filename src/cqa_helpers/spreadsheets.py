"""Tables as people send them: CSV in whatever encoding Excel chose, or XLSX.

Reading never guesses silently: the encoding found is returned, a file that mixes encodings is
refused with its lines. Writing gives XLSX whose cells are text or numbers and never formulas, so
that a passage which begins with an equals sign stays a passage.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from openpyxl import Workbook, load_workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE, TYPE_STRING
from openpyxl.utils.exceptions import InvalidFileException

from cqa_helpers.records import write_atomically

# Excel's own limit for one cell; longer text would be cut in silence.
CELL_LIMIT = 32_767
_DELIMITERS = ",;\t，"
# Chinese in UTF-8. GB18030 can be valid UTF-8 by accident, but hardly with two of these in a line.
_THREE_BYTES = re.compile(rb"[\xe0-\xf4][\x80-\xbf]{2}")


class TableError(ValueError):
    """A table cannot be read or written; the message says where and what to do."""


class Row(NamedTuple):
    """One row of a table: its line in the file (the first line is 1) and its cells by column."""

    line: int
    cells: dict[str, Any]


class Table(NamedTuple):
    """Rows in order; ``encoding`` is how the file was read."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    encoding: str


def decode(data: bytes, name: str) -> tuple[str, str]:
    """Return text and encoding: UTF-8 (with or without BOM), UTF-16 with BOM, else GB18030.

    Raises
    ------
    TableError
        Lines in different encodings, or in none of these: which lines.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16"), "utf-16"
        except UnicodeDecodeError as error:
            raise TableError(f"{name}: begins as UTF-16 and goes on otherwise ({error})") from None
    try:
        text = data.decode("utf-8-sig")
        return text, "utf-8-sig" if data.startswith(b"\xef\xbb\xbf") else "utf-8"
    except UnicodeDecodeError:
        pass
    lines = list(enumerate(data.split(b"\n"), start=1))
    utf8 = [n for n, line in lines if _is_utf8(line) and len(_THREE_BYTES.findall(line)) >= 2]
    broken = [n for n, line in lines if not _is_utf8(line)]
    if utf8:
        raise TableError(
            f"{name}: mixed encodings. UTF-8 on line(s) {_some(utf8)}, another on line(s) "
            f"{_some(broken)}. Open it in an editor that shows encodings and save it as UTF-8."
        )
    try:
        return data.decode("gb18030"), "gb18030"
    except UnicodeDecodeError as error:
        at = data[: error.start].count(b"\n") + 1
        raise TableError(
            f"{name}:{at}: neither UTF-8 nor GB18030. Save the file as UTF-8 and try again."
        ) from None


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def read(path: Path | str) -> Table:
    """Read the first sheet of an XLSX, or a CSV separated by comma, semicolon or tab.

    Column names are folded (Unicode form, case, spaces to underscores); cells are left as they are,
    empty ones are ``None``.

    Raises
    ------
    TableError
        Not a table, no header, a column named twice, or more cells than columns: with the line.
    """
    path = Path(path)
    if path.suffix.lower() in (".xlsx", ".xlsm"):
        lines, encoding = _xlsx(path), "xlsx"
    else:
        text, encoding = decode(path.read_bytes(), str(path))
        lines = _csv(text, path)
    filled = [(n, cells) for n, cells in lines if any(c not in (None, "") for c in cells)]
    if not filled:
        raise TableError(f"{path}: no rows; the first line must name the columns.")
    number, head = filled[0]
    columns = tuple(fold(str(c)) if c is not None else "" for c in head)
    while columns and not columns[-1]:
        columns = columns[:-1]
    if twice := sorted({c for c in columns if columns.count(c) > 1}):
        raise TableError(f"{path}:{number}: column(s) named twice or not at all: {twice}")
    rows = []
    for line, cells in filled[1:]:
        if any(c not in (None, "") for c in cells[len(columns) :]):
            raise TableError(
                f"{path}:{line}: {len(cells)} cells and {len(columns)} columns: a reason that "
                "holds a separator must stand in double quotes."
            )
        padded = [*cells, *[None] * (len(columns) - len(cells))]
        rows.append(Row(line, {c: (None if v == "" else v)
                               for c, v in zip(columns, padded, strict=False)}))  # fmt: skip
    return Table(columns, tuple(rows), encoding)


def fold(name: str) -> str:
    """Return a column name without differences of width, case or spacing."""
    folded = unicodedata.normalize("NFKC", name).strip().strip("\ufeff").casefold()
    return re.sub(r"[\s\-]+", "_", folded)


def _csv(text: str, path: Path) -> list[tuple[int, list[Any]]]:
    first = text.split("\n", 1)[0]
    # Excel writes semicolons where the comma is the decimal sign.
    delimiter = max(_DELIMITERS, key=first.count)
    # A cell may hold a whole passage; the library's default limit is 128 KiB.
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines: list[tuple[int, list[Any]]] = []
    start = 1
    try:
        for cells in reader:
            lines.append((start, list(cells)))
            start = reader.line_num + 1
    except csv.Error as error:
        raise TableError(
            f"{path}:{start}: not readable as CSV ({error}): look for a quotation mark that is "
            "not closed."
        ) from None
    return lines


def _xlsx(path: Path) -> list[tuple[int, list[Any]]]:
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except (zipfile.BadZipFile, InvalidFileException, KeyError, OSError) as error:
        raise TableError(f"{path}: not readable as XLSX ({error})") from None
    try:
        sheet = book.worksheets[0]
        return [
            (n, [_unescaped(c) for c in cells])
            for n, cells in enumerate(sheet.iter_rows(values_only=True), start=1)
        ]
    finally:
        book.close()


def _unescaped(value: Any) -> Any:
    return re.sub(r"_x([0-9A-Fa-f]{4})_", lambda m: chr(int(m[1], 16)), value) \
        if isinstance(value, str) else value  # fmt: skip


def write(path: Path | str, rows: Sequence[Mapping[str, Any]], sheet: str = "Sheet1") -> None:
    """Write rows as XLSX: text cells are text, never formulas or links; in one piece or not at all.

    Control characters that XML forbids are written as ``_x0008_``, as Excel does.

    Raises
    ------
    TableError
        A text longer than a cell can hold: row, column and length.
    """
    columns = list(dict.fromkeys(c for row in rows for c in row))
    for number, row in enumerate(rows, start=2):
        for column, value in row.items():
            if isinstance(value, str) and len(value) > CELL_LIMIT:
                raise TableError(
                    f"{path}: row {number}, {column}: {len(value)} characters; a spreadsheet cell "
                    f"holds {CELL_LIMIT}. Use the JSON Lines or parquet file instead."
                )
    book = Workbook(write_only=True)
    page = book.create_sheet(sheet)
    page.append([_cell(page, c) for c in columns])
    for row in rows:
        page.append([_cell(page, row.get(c)) for c in columns])
    buffer = io.BytesIO()
    book.save(buffer)
    write_atomically(path, buffer.getvalue())


def _cell(page: Any, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    # A literal "_x0041_" would be read back as "A": its underscore is escaped first.
    safe = re.sub(r"_(?=x[0-9A-Fa-f]{4}_)", "_x005F_", value)
    safe = ILLEGAL_CHARACTERS_RE.sub(lambda m: f"_x{ord(m[0]):04X}_", safe).replace("\r", "_x000D_")
    cell = WriteOnlyCell(page, safe)
    cell.data_type = TYPE_STRING
    return cell


def _some(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return shown + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
