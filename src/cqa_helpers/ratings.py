"""Blind ratings as they come back: the form's JSON, or a table (CSV, XLSX) with one answer a row.

All faults of all files are told at once, each with file, rater, sheet and what to do. Good answers
are kept; what is refused, and what was never answered, is listed and never counted.

A table has the columns ``item_id`` (the diagnosis' code), ``dimension`` (a criterion or ``rank``),
``judge_id`` (the rater) and ``value``, and may have ``reason``, ``sheet`` and ``seconds``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cqa_helpers import ballots
from cqa_helpers.ballots import Answer as Answer
from cqa_helpers.ballots import Ballot
from cqa_helpers.intake import Finding
from cqa_helpers.records import Verdict
from cqa_helpers.sheets import RANK, Sheet
from cqa_helpers.taxonomy import Taxonomy


class Missing(NamedTuple):
    """An answer that was asked for and is not there."""

    rater: str
    sheet: str
    code: str
    dimension: str


class Returned(NamedTuple):
    """All that came back. ``practice`` are answers to worked examples: no ratings."""

    rows: list[Verdict]
    findings: list[Finding]
    missing: list[Missing]
    practice: list[Verdict]


def to_rows(answers: Iterable[Answer], taxonomy: Taxonomy) -> list[Verdict]:
    """Return answers as verdicts: the item is the diagnosis' code, the judge is the rater.

    Criteria have the taxonomy's scale and ``rank`` has ``1-k`` for k diagnoses on the sheet. A
    hidden repeat has a code of its own; only the key knows it as one. ``meta`` holds sheet, turn,
    position and seconds.
    """
    scales = {d.id: d.scale for d in taxonomy.dimensions}
    return [
        Verdict(
            item_id=a.code, dimension=dimension, judge_id=a.rater, value=a.values[dimension],
            scale=scale, reason=a.why,
            meta={"sheet": a.sheet, "turn": a.turn, "position": a.position, "seconds": a.seconds},
        )
        for a in answers
        for dimension, scale in (scales | {RANK: f"1-{a.of}"}).items()
        if dimension in a.values
    ]  # fmt: skip


def read(
    files: Sequence[Path],
    expected: Mapping[str, Sequence[Sheet]],
    taxonomy: Taxonomy,
    *,
    worked: Sequence[Sheet] = (),
    accept_edited: bool = False,
    later_wins: bool = False,
) -> Returned:
    """Read returned files against what each rater was sent.

    Parameters
    ----------
    expected
        The sheets of each rater, in the order in which they were shown.
    worked
        The sheets of the worked examples.
    accept_edited
        Take a file whose checksum does not fit; it is named all the same.
    later_wins
        Of several differing exports of one rater, take the last exported; else none is taken.
    """
    findings: list[Finding] = []
    given: dict[str, list[Ballot]] = {}
    for file in files:
        for one in ballots.read(file, expected, taxonomy, worked, accept_edited, findings):
            given.setdefault(one.rater, []).append(one)
    settled = {r: _settled(given[r], later_wins, findings) for r in expected if r in given}
    taken = {rater: ballot for rater, ballot in settled.items() if ballot}
    rows = to_rows((a for b in taken.values() for a in b.answers), taxonomy)
    practice = to_rows((a for b in taken.values() for a in b.practice), taxonomy)
    there = {(v.judge_id, v.item_id, v.dimension) for v in rows}
    missing = [
        Missing(rater, sheet.id, code, dimension)
        for rater, sheets in expected.items()
        for sheet in sheets
        for code, _ in sheet.diagnoses
        for dimension in (*taxonomy.ids(), *((RANK,) if len(sheet.diagnoses) > 1 else ()))
        if (rater, code, dimension) not in there
    ]
    return Returned(rows, [*findings, *_gaps(missing, taken, expected)], missing, practice)


def _settled(given: Sequence[Ballot], later_wins: bool, findings: list[Finding]) -> Ballot | None:
    """Return the one ballot that counts for a rater, or none where nobody has decided."""
    distinct: list[Ballot] = []
    for one in given:
        same = next((d for d in distinct if d.said() == one.said()), None)
        if same:
            findings.append(Finding(one.file, None, one.rater, f"the same answers as {same.file}; "
                                    "counted once", False))  # fmt: skip
        else:
            distinct.append(one)
    if len(distinct) == 1:
        return distinct[0]
    times = [d.exported for d in distinct if d.exported]
    if later_wins and len(set(times)) == len(distinct):
        last = next(d for d in distinct if d.exported == max(times))
        findings += [Finding(d.file, None, d.rater, f"set aside for the later export {last.file}",
                             False) for d in distinct if d is not last]  # fmt: skip
        return last
    files = ", ".join(d.file for d in distinct)
    findings += [
        Finding(d.file, None, d.rater, f"{len(distinct)} files of this rater differ ({files}) and "
                "none is taken. Leave out those that should not count, or let the later export win "
                "(where each has its time of export).")
        for d in distinct
    ]  # fmt: skip
    return None


def _gaps(
    missing: Sequence[Missing],
    taken: Mapping[str, Ballot],
    expected: Mapping[str, Sequence[Sheet]],
) -> Iterator[Finding]:
    """Yield one note for each rater without answers and each sheet that is not complete."""
    for rater, sheets in expected.items():
        if rater not in taken:
            yield Finding("no file", None, rater, "no answer was taken from this rater: ask for "
                          "the file, or see its faults above", False)  # fmt: skip
            continue
        for sheet in sheets:
            lacking = [f"{m.code}.{m.dimension}" for m in missing
                       if (m.rater, m.sheet) == (rater, sheet.id)]  # fmt: skip
            if lacking:
                shown = ", ".join(lacking[:6]) + (" …" if len(lacking) > 6 else "")
                yield Finding(
                    taken[rater].file, None, f"{rater}, sheet {sheet.id}", f"{len(lacking)} "
                    f"answer(s) missing: {shown}. They stay missing unless the rater completes the "
                    "sheet and exports again.", False,
                )  # fmt: skip
