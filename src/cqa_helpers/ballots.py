"""One returned file of blind ratings, read and checked: the form's JSON, or a table.

A ballot is what one rater says in one file. What does not fit what the rater was sent becomes a
finding with file, line, rater and sheet; the rest of the ballot stands.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ValidationError

from cqa_helpers import spreadsheets
from cqa_helpers.intake import COLUMNS, NEEDED, Finding
from cqa_helpers.sheets import RANK, Sheet
from cqa_helpers.spreadsheets import fold
from cqa_helpers.taxonomy import Taxonomy

_RANK_NAMES = (RANK, "ranking", "排序", "名次")
_TABLES = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm")


class Answer(NamedTuple):
    """What one rater said of one diagnosis.

    ``values`` holds criteria by id and ``rank`` (1 is best, a tie shares the better place); what
    was not answered is absent. ``position`` is the diagnosis' place on its sheet and ``turn`` the
    sheet's place in the rater's packet, both from 1; ``of`` is the number of diagnoses on the
    sheet; ``seconds`` is the time on the whole sheet.
    """

    rater: str
    sheet: str
    code: str
    position: int
    turn: int
    of: int
    values: Mapping[str, int]
    why: str = ""
    seconds: int | None = None


class Ballot(NamedTuple):
    """The checked answers of one rater in one file; ``practice`` are those to worked examples."""

    file: str
    rater: str
    exported: AwareDatetime | None
    answers: list[Answer]
    practice: list[Answer]

    def said(self) -> dict[str, tuple[dict[str, int], str]]:
        """Return what the rater meant, by code: values and reason, without times."""
        return {a.code: (dict(a.values), a.why) for a in self.answers}


class _Answered(BaseModel):
    code: str
    values: dict[str, Any]
    rank: Any = None
    why: str = ""


class _Page(BaseModel):
    id: str
    seconds: Any = None
    answers: list[_Answered]


class _Shown(BaseModel):
    id: str
    sha256: str


class _Export(BaseModel):
    kind: Literal["cqa-blind"]
    version: Literal[1]
    rater_id: str
    consent: str
    exported: AwareDatetime
    passages: list[_Shown]
    sheets: list[_Page]
    calibration: list[_Page]


class _Entry(NamedTuple):
    """One answer as written, before it is checked."""

    line: int | None
    sheet: str
    code: str
    dimension: str
    value: Any
    why: str
    seconds: Any


class _Place(NamedTuple):
    sheet: Sheet
    turn: int
    position: int


def checksum(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 that the blind form writes: of all but ``checksum``, in canonical JSON."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read(
    file: Path,
    expected: Mapping[str, Sequence[Sheet]],
    taxonomy: Taxonomy,
    worked: Sequence[Sheet],
    accept_edited: bool,
    findings: list[Finding],
) -> Iterator[Ballot]:
    """Yield the ballots of one file, and append what does not fit to the findings."""
    try:
        if file.suffix.lower() in _TABLES:
            yield from _table(file, expected, taxonomy, findings)
            return
        text, _ = spreadsheets.decode(file.read_bytes(), str(file))
        whole = json.loads(text)
        export = _Export.model_validate(whole)
    except (OSError, spreadsheets.TableError, RecursionError) as error:
        findings.append(Finding(str(file), None, "file", f"cannot be read: {error}"))
        return
    except json.JSONDecodeError as error:
        findings.append(Finding(str(file), error.lineno, "file", f"not JSON: {error.msg}. Ask for "
                                "the file as the form exported it."))  # fmt: skip
        return
    except ValidationError as error:
        findings += [
            Finding(str(file), None, ".".join(map(str, e["loc"])) or "file", f"{e['msg']}: not a "
                    "file of the blind form. Ask for the file as the form exported it.")
            for e in error.errors()
        ]  # fmt: skip
        return
    if _acceptable(file, whole, export, expected, accept_edited, findings):
        yield _ballot(file, export, expected[export.rater_id], taxonomy, worked, findings)


def _acceptable(
    file: Path,
    whole: Mapping[str, Any],
    export: _Export,
    expected: Mapping[str, Sequence[Sheet]],
    accept_edited: bool,
    findings: list[Finding],
) -> bool:
    """Return whether a file may be taken at all; say each reason why not."""
    rater = export.rater_id
    faults: list[Finding] = []
    if whole.get("checksum") != checksum(whole):
        said = "the checksum does not fit: the file was edited or cut short after its export"
        what = "taken all the same, as asked" if accept_edited else (
            "nothing of it is taken. Ask the rater to export again, or accept edited files"
        )  # fmt: skip
        faults.append(Finding(str(file), None, rater, f"{said}; {what}.", not accept_edited))
    if rater not in expected:
        faults.append(Finding(str(file), None, rater, "unknown rater; nothing of it is taken. "
                              f"Expected: {', '.join(sorted(expected))}."))  # fmt: skip
    if not export.consent:
        faults.append(Finding(str(file), None, rater, "no consent was given in the form; nothing "
                              "of it is taken. Ask the rater to open the form again."))  # fmt: skip
    findings += faults
    return not any(f.severe for f in faults)


def _ballot(
    file: Path,
    export: _Export,
    sheets: Sequence[Sheet],
    taxonomy: Taxonomy,
    worked: Sequence[Sheet],
    findings: list[Finding],
) -> Ballot:
    shown = {p.id: p.sha256 for p in export.passages}
    taken: list[list[Answer]] = []
    practised = sum(bool(a.values) for page in export.calibration for a in page.answers)
    if practised and not worked:
        findings.append(Finding(str(file), None, export.rater_id, f"{practised} answer(s) to "
                                "worked examples are not read: the examples were not given here",
                                False))  # fmt: skip
    for pages, of in ((export.sheets, sheets), (export.calibration if worked else [], worked)):
        hashes = {s.id: s.sha256() for s in of}
        entries: list[_Entry] = []
        for page in pages:
            if page.id in hashes and shown.get(page.id) != hashes[page.id]:
                findings.append(
                    Finding(str(file), None, f"{export.rater_id}, sheet {page.id}", "the rater was "
                            "shown other texts than the ones expected here; the sheet is left out. "
                            "Compare with the sheets that were sent.")
                )  # fmt: skip
                continue
            for a in page.answers:
                given = a.values | ({} if a.rank is None else {RANK: a.rank})
                if a.why and not given:
                    findings.append(
                        Finding(str(file), None, f"{export.rater_id}, sheet {page.id}, {a.code}",
                                f"a reason without any value is not kept: {a.why!r}", False)
                    )  # fmt: skip
                entries += [_Entry(None, page.id, a.code, d, v, a.why, page.seconds)
                            for d, v in given.items()]  # fmt: skip
        taken.append(_checked(str(file), export.rater_id, entries, of, taxonomy, findings))
    return Ballot(str(file), export.rater_id, export.exported, *taken)


def _table(
    file: Path,
    expected: Mapping[str, Sequence[Sheet]],
    taxonomy: Taxonomy,
    findings: list[Finding],
) -> Iterator[Ballot]:
    table = spreadsheets.read(file)
    columns = {}
    for column in (*NEEDED, "reason", "sheet", "seconds"):
        names = {fold(n) for n in COLUMNS.get(column, (column,))}
        if there := [c for c in table.columns if c in names]:
            columns[column] = there[0]
    if lacking := [c for c in NEEDED if c not in columns]:
        findings.append(Finding(str(file), 1, ", ".join(lacking), "column(s) missing; a table of "
                                f"ratings has {', '.join(NEEDED)}"))  # fmt: skip
        return
    names_of = {fold(n): d.id for d in taxonomy.dimensions
                for n in (d.id, d.label.en, d.label.zh)}  # fmt: skip
    names_of |= {fold(n): RANK for n in _RANK_NAMES}
    entries: dict[str, list[_Entry]] = {}
    for line, cells in table.rows:
        given = {c: cells[source] for c, source in columns.items() if cells[source] is not None}
        said = str(given.get("dimension", "")).strip()
        # An empty value is a question that was not answered: it is listed as missing.
        if "value" in given:
            entries.setdefault(str(given.get("judge_id", "")).strip(), []).append(
                _Entry(line, str(given.get("sheet", "")).strip(), str(given.get("item_id", ""))
                       .strip(), names_of.get(fold(said), said), given["value"],
                       str(given.get("reason", "")), given.get("seconds"))
            )  # fmt: skip
    for rater, rows in entries.items():
        if rater in expected:
            answers = _checked(str(file), rater, rows, expected[rater], taxonomy, findings)
            yield Ballot(str(file), rater, None, answers, [])
        else:
            findings.append(Finding(str(file), rows[0].line, rater or "rater", f"unknown rater in "
                                    f"{len(rows)} row(s), which are left out. Expected: "
                                    f"{', '.join(sorted(expected))}."))  # fmt: skip


def _checked(
    file: str,
    rater: str,
    entries: Sequence[_Entry],
    sheets: Sequence[Sheet],
    taxonomy: Taxonomy,
    findings: list[Finding],
) -> list[Answer]:
    """Return the answers that fit; each that does not becomes a finding."""
    places = {code: _Place(sheet, turn, n) for turn, sheet in enumerate(sheets, start=1)
              for n, (code, _) in enumerate(sheet.diagnoses, start=1)}  # fmt: skip
    values: dict[str, dict[str, int]] = {}
    notes: dict[str, tuple[str, int | None]] = {}
    clashes: set[tuple[str, str]] = set()
    for e in entries:
        place = places.get(e.code)
        on = e.sheet or (place.sheet.id if place else "?")
        where = f"{rater}, sheet {on}, {e.code}.{e.dimension}"
        value = _whole(e.value)
        fault = _fault(e, place, value, taxonomy)
        if not fault and values.get(e.code, {}).get(e.dimension, value) != value:
            clashes.add((e.code, e.dimension))
            fault = "answered twice and differently; neither counts. Keep the row that is right."
        if fault:
            findings.append(Finding(file, e.line, where, fault))
            continue
        assert value is not None
        values.setdefault(e.code, {})[e.dimension] = value
        why, seconds = notes.get(e.code, ("", None))
        notes[e.code] = (why or e.why, seconds if _whole(e.seconds) is None else _whole(e.seconds))
    for code, dimension in clashes:
        del values[code][dimension]
    for sheet in sheets:
        _ranked(file, rater, sheet, values, findings)
    return [
        Answer(rater, place.sheet.id, code, place.position, place.turn,
               len(place.sheet.diagnoses), values[code], *notes[code])
        for code, place in places.items() if values.get(code)
    ]  # fmt: skip


def _fault(e: _Entry, place: _Place | None, value: int | None, taxonomy: Taxonomy) -> str:
    """Return what is wrong with one answer and what to do, or nothing."""
    if place is None:
        return "unknown code: no diagnosis sent to this rater has it. Look for a slip of the pen."
    if e.sheet and e.sheet != place.sheet.id:
        return f"this code stands on sheet {place.sheet.id}. Correct the sheet or the code."
    allowed = (*taxonomy.ids(), *((RANK,) if len(place.sheet.diagnoses) > 1 else ()))
    if e.dimension not in allowed:
        return f"unknown dimension. Allowed: {', '.join(allowed)}."
    low, high = (1, len(place.sheet.diagnoses)) if e.dimension == RANK else \
        taxonomy.get(e.dimension).range()  # fmt: skip
    if value is None or not low <= value <= high:
        return f"{e.value} lies outside the scale {low}-{high}; left out. Ask the rater."
    return ""


def _ranked(
    file: str,
    rater: str,
    sheet: Sheet,
    values: dict[str, dict[str, int]],
    findings: list[Finding],
) -> None:
    """Put a sheet's ranks into one convention, or take out what is no ranking of the sheet."""
    codes = [code for code, _ in sheet.diagnoses]
    given = {code: values[code][RANK] for code in codes if RANK in values.get(code, {})}
    if not given:
        return
    ranks = list(given.values())
    shared = {code: 1 + sum(r < rank for r in ranks) for code, rank in given.items()}
    dense = {code: 1 + len({r for r in ranks if r < rank}) for code, rank in given.items()}
    whole = len(given) == len(codes)
    said = ", ".join(f"{code} {rank}" for code, rank in given.items())
    place = f"{rater}, sheet {sheet.id}, {RANK}"
    if whole and given in (shared, dense):
        for code, rank in shared.items():
            values[code][RANK] = rank
        return
    why = "is no ranking: it begins at 1, and only ties share or skip a number" if whole else \
        f"orders {len(given)} of {len(codes)} diagnoses, and a part is no ranking"  # fmt: skip
    findings.append(Finding(file, None, place, f"{said} {why}; its ranks are left out and count as "
                            "missing. Ask the rater for the order."))  # fmt: skip
    for code in given:
        del values[code][RANK]


def _whole(given: Any) -> int | None:
    """Return a whole number from a value or a cell (``3``, ``３``, ``3.0``), else nothing."""
    if isinstance(given, bool) or given is None:
        return None
    text = fold(str(given))
    return int(text.split(".")[0]) if re.fullmatch(r"\d{1,9}(\.0+)?", text) else None
