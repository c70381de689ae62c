"""What people send back, read whole: every fault at once, each with its file, line and field.

Taken are the files of our forms (JSON), JSON Lines of passages, annotations, verdicts and pairs,
and tool-neutral tables (CSV, XLSX) with one verdict a row. Nothing here writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from cqa_helpers import spreadsheets
from cqa_helpers.annotations import Annotation
from cqa_helpers.records import Pair, Passage, Record, Verdict
from cqa_helpers.spreadsheets import fold
from cqa_helpers.taxonomy import Taxonomy

# A JSON Lines row is known by a field that only its kind has.
KINDS: dict[str, type[Record]] = {
    "judgements": Annotation, "work_id": Passage, "judge_id": Verdict, "degraded": Pair,
}  # fmt: skip
_FORMS: dict[str, tuple[str, type[Record]]] = {
    "cqa-annotations": ("annotations", Annotation), "cqa-ratings": ("verdicts", Verdict),
}  # fmt: skip
COLUMNS = {
    "item_id": ("item_id", "item", "passage_id", "passage", "条目", "段落", "篇目"),
    "dimension": ("dimension", "test", "question", "维度", "问题"),
    "judge_id": ("judge_id", "judge", "rater", "expert", "expert_id", "评委", "专家", "评分人"),
    "value": ("value", "verdict", "score", "rating", "分值", "评分", "判断", "结论"),
    "reason": ("reason", "explanation", "comment", "理由", "说明"),
    "repeat": ("repeat", "重复"),
    "probability": ("probability", "概率"),
    "status": ("status", "状态"),
    "scale": ("scale", "量表"),
}
NEEDED = ("item_id", "dimension", "judge_id", "value")
WORDS = {"yes": 1, "no": 0, "y": 1, "n": 0, "true": 1, "false": 0, "是": 1, "否": 0, "有效": 1,
         "无效": 0}  # fmt: skip


Place = tuple[int | str, ...]


class Finding(NamedTuple):
    """One thing found in a file. ``severe`` stops an import; the rest is for a person to read."""

    file: str
    line: int | None
    field: str
    message: str
    severe: bool = True

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{'error' if self.severe else 'note '} {place}: {self.field}: {self.message}"


class Placed(NamedTuple):
    """A record and where it was read."""

    record: Any
    file: str
    line: int | None

    def finding(self, field: str, message: str, severe: bool = True) -> Finding:
        """Return a finding at this place."""
        return Finding(self.file, self.line, field, message, severe)


class Intake(NamedTuple):
    """All that a set of files holds: records with their places, and what does not fit.

    ``seen`` is the hash of each passage's text as the forms showed it, by file and passage id.
    """

    placed: list[Placed]
    findings: list[Finding]
    seen: dict[tuple[str, str], str]

    def of(self, kind: type[Record]) -> list[Placed]:
        """Return the records of one kind."""
        return [p for p in self.placed if isinstance(p.record, kind)]


def read(files: Sequence[Path], taxonomy: Taxonomy) -> Intake:
    """Read files of any accepted form; a file that cannot be read is a finding like any other."""
    found = Intake([], [], {})
    for file in files:
        name = str(file)
        try:
            data = file.read_bytes()
            if file.suffix.lower() in (".csv", ".tsv", ".txt", ".xlsx", ".xlsm"):
                _table(file, taxonomy, found)
                continue
            text, encoding = spreadsheets.decode(data, name)
        except OSError as error:
            found.findings.append(Finding(name, None, "file", f"cannot be read: {error.strerror}"))
            continue
        except spreadsheets.TableError as error:
            found.findings.append(_from_message(name, str(error)))
            continue
        if encoding not in ("utf-8", "utf-8-sig"):
            found.findings.append(Finding(name, None, "file", f"read as {encoding}; UTF-8 is "
                                          "expected, look at a line or two", False))  # fmt: skip
        _json(name, text, found)
    return found


def _from_message(name: str, message: str) -> Finding:
    place = re.match(re.escape(name) + r"(?::(\d+))?: (.*)", message, re.S)
    line = int(place[1]) if place and place[1] else None
    return Finding(name, line, "file", place[2] if place else message)


# ---- JSON and JSON Lines ---------------------------------------------------------------------


def _json(name: str, text: str, found: Intake) -> None:
    whole = None
    if re.match(r'\s*\{\s*"kind"\s*:|\s*\{\s*\n', text):
        try:
            whole = json.loads(text, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            if '"kind"' in text[:200]:
                found.findings.append(_syntax(name, error, 1))
                return
    if isinstance(whole, dict) and "kind" in whole:
        _form(name, text, whole, found)
        return
    # Split on "\n" alone: U+2028 and its kin may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            found.findings.append(_syntax(name, error, number))
            continue
        kind = next((k for f, k in KINDS.items() if isinstance(row, dict) and f in row), None)
        if kind is None:
            found.findings.append(
                Finding(name, number, "record", "neither a passage (work_id), an annotation "
                        "(judgements), a verdict (judge_id) nor a pair (degraded)")
            )  # fmt: skip
            continue
        _take(kind, row, name, _always(number), found)


def _form(name: str, text: str, whole: dict[str, Any], found: Intake) -> None:
    part, kind = _FORMS.get(str(whole["kind"]), ("", Record))
    if not part or whole.get("version") != 1:
        found.findings.append(
            Finding(name, 1, "kind", f"{whole['kind']!r}, version {whole.get('version')!r}: not a "
                    "file of this project's forms (cqa-annotations or cqa-ratings, version 1)")
        )  # fmt: skip
        return
    rows = whole.get(part)
    if not isinstance(rows, list):
        found.findings.append(Finding(name, 1, part, "missing or not a list"))
        return
    for shown in whole.get("passages") or []:
        if isinstance(shown, dict) and "id" in shown and "sha256" in shown:
            found.seen[name, str(shown["id"])] = str(shown["sha256"])
    starts = dict(_members(text, _start(text, 0, (part,))))
    for i, row in enumerate(rows):
        _take(kind, row, name, partial(_line, text, starts[i]), found)
    if left := [str(d) for d in whole.get("unfinished") or []]:
        found.findings.append(
            Finding(name, None, "unfinished", f"{len(left)} passage(s) begun and not finished stay "
                    f"in this file and are not imported: {', '.join(left[:5])}", False)
        )  # fmt: skip


def _take(
    kind: type[Record], row: Any, name: str, line: Callable[[Place], int], found: Intake
) -> None:
    try:
        found.placed.append(Placed(kind.model_validate(row), name, line(())))
    except ValidationError as error:
        errors = error.errors()
        for e in errors:
            # A list whose items are all bad is also called too short: that is no second fault.
            depth = len(e["loc"])
            if e["type"] == "too_short" and any(
                o["loc"][:depth] == e["loc"] and len(o["loc"]) > depth for o in errors
            ):
                continue
            field = ".".join(map(str, e["loc"])) or "record"
            given = ""
            if e["type"] == "extra_forbidden":
                e["msg"] = f"unknown field; {kind.__name__} has {', '.join(kind.model_fields)}"
            elif e["type"] != "missing" and e["loc"]:
                shown = repr(e["input"])
                given = f" (given: {shown if len(shown) <= 60 else shown[:57] + '...'})"
            found.findings.append(Finding(name, line(e["loc"]), field, e["msg"] + given))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's fields; one given twice is an error, not the last one's victory."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [k for k, _ in pairs]
        raise ValueError(f"field given twice: {sorted({n for n in names if names.count(n) > 1})}")
    return fields


def _syntax(name: str, error: Exception, line: int) -> Finding:
    if isinstance(error, json.JSONDecodeError):
        line = line + error.lineno - 1
        return Finding(name, line, f"column {error.colno}", f"not JSON: {error.msg}")
    return Finding(name, line, "record", f"not JSON: {error}")


def _always(line: int) -> Callable[[Place], int]:
    return lambda _: line


def _line(text: str, start: int, place: Place) -> int:
    """Return the line of a place below the value that starts here, or of its deepest part."""
    return text.count("\n", 0, _start(text, start, place)) + 1


def _start(text: str, at: int, place: Place) -> int:
    at = _skip(text, at)
    for part in place:
        inside = next((start for key, start in _members(text, at) if key == part), None)
        if inside is None:
            break
        at = inside
    return at


def _members(text: str, at: int) -> Iterator[tuple[int | str, int]]:
    """Yield key (or index) and start of each value of the object or list that starts here."""
    decoder = json.JSONDecoder()
    opened = text[at]
    if opened not in "{[":
        return
    at, index = _skip(text, at + 1), 0
    while text[at] not in "}]":
        key: int | str = index
        if opened == "{":
            key, at = decoder.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
        yield key, at
        _, at = decoder.raw_decode(text, at)
        at, index = _skip(text, at), index + 1
        if text[at] == ",":
            at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n\ufeff":
        at += 1
    return at


# ---- tables ----------------------------------------------------------------------------------


def _table(file: Path, taxonomy: Taxonomy, found: Intake) -> None:
    table = spreadsheets.read(file)
    name = str(file)
    columns = {}
    for column, names in COLUMNS.items():
        if there := [c for c in table.columns if c in {fold(n) for n in names}]:
            columns[column] = there[0]
    if missing := [c for c in NEEDED if c not in columns]:
        found.findings.append(
            Finding(name, 1, ", ".join(missing), "column(s) missing; a table of verdicts has "
                    f"{', '.join(NEEDED)} and may have reason; this one has "
                    f"{', '.join(table.columns)}")
        )  # fmt: skip
        return
    if table.encoding not in ("utf-8", "utf-8-sig", "xlsx"):
        found.findings.append(Finding(name, None, "file", f"read as {table.encoding}", False))
    if ignored := [c for c in table.columns if c and c not in columns.values()]:
        found.findings.append(
            Finding(name, 1, ", ".join(ignored), "column(s) kept in meta only", False)
        )
    scales = {d.id: d.scale for d in taxonomy.dimensions}
    names_of = _names(taxonomy)
    for line, cells in table.rows:
        given = {c: cells[source] for c, source in columns.items() if cells[source] is not None}
        extra = {c: cells[c] for c in table.columns if c in ignored and cells[c] is not None}
        row: dict[str, Any] = {c: str(v) for c, v in given.items()} | {"meta": extra}
        row["dimension"] = names_of.get(fold(row.get("dimension", "")), row.get("dimension", ""))
        row.setdefault("scale", scales.get(row["dimension"], "0-1"))
        if "value" not in given and "status" not in given:
            found.findings.append(Finding(name, line, "value", "empty: this verdict is left out "
                                          "and counts as missing", False))  # fmt: skip
            continue
        row["value"] = _value(given["value"]) if "value" in given else None
        for number in ("repeat", "probability"):
            if number in row:
                row[number] = row[number].strip()
        _take(Verdict, row, name, _always(line), found)


def _names(taxonomy: Taxonomy) -> Mapping[str, str]:
    """Return the dimension of each id and label, folded: people write either."""
    return {
        fold(name): d.id for d in taxonomy.dimensions for name in (d.id, d.label.en, d.label.zh)
    }


def _value(given: Any) -> Any:
    """Return a whole number from a cell (``1``, ``１``, ``1.0``, yes, 是), else the cell."""
    if isinstance(given, bool):
        return int(given)
    text = fold(str(given))
    if text in WORDS:
        return WORDS[text]
    if re.fullmatch(r"[+-]?\d+(\.0+)?", text):
        return int(float(text))
    return given
