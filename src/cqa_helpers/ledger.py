"""A run's calls as one file: written out to be published, taken in to be replayed, counted.

One call a line, ``{"key", "judge_id", "request", "response"}``. What was paid for outlives the
model that answered: with the file taken in, notebook 04 asks nobody and gives the same table.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cqa_helpers.calls import CallRecord, as_text, beside, bodies_of, joined, key, row

# A shorter value is a word rather than a key.
SHORTEST_KEY = 13


class LedgerError(ValueError):
    """Calls cannot be written out, taken in or counted; the message lists each reason."""


class Exported(NamedTuple):
    """Calls written, and how many of them stand in several files with different responses."""

    calls: int
    differing: int


class Imported(NamedTuple):
    """Calls that are new, that were there with the same response, and that were replaced."""

    new: int
    known: int
    replaced: int


class Account(NamedTuple):
    """What one judge was asked. Tokens are null where no call tells them, dates likewise.

    ``untold`` counts the calls that do not say their tokens; ``snapshots`` are the models that
    answered, as they named themselves.
    """

    judge_id: str
    calls: int
    input_tokens: int | None
    output_tokens: int | None
    untold: int
    first: str | None
    last: str | None
    snapshots: tuple[str, ...]


class _Response(BaseModel):
    model_config = ConfigDict(extra="allow")

    text: str | None = None
    status: Literal["answered", "refused"] = "answered"
    probabilities: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    input_tokens: int | None = Field(default=None, ge=0)
    output_tokens: int | None = Field(default=None, ge=0)


class _Call(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: str
    judge_id: str = Field(min_length=1)
    request: dict[str, Any]
    response: _Response


def export(files: Sequence[Path], path: Path, judge_ids: Collection[str] | None = None) -> Exported:
    """Write the calls of several files as JSON Lines, by judge and key, whole or not at all.

    A call that stands in several files is written once, as the first of them has it.
    ``judge_ids`` writes those judges' alone.

    Raises
    ------
    LedgerError
        A file that is no record of calls; no calls, or none of a judge that is named; the disk is
        full; or a value of an environment variable that holds a key is in what would be written.
    """
    with contextlib.ExitStack() as stack:
        databases = [stack.enter_context(_reading(file)) for file in files]
        where, differing = _index(databases)
        known = sorted({judge for judge, _ in where.values()})
        if missing := sorted(set(judge_ids or ()) - set(known)):
            raise LedgerError(
                f"no calls of {', '.join(missing)}; on record are those of "
                f"{', '.join(known) or 'nobody'}."
            )
        wanted = sorted(
            (judge, k, place) for k, (judge, place) in where.items()
            if judge_ids is None or judge in judge_ids
        )  # fmt: skip
        if not wanted:
            raise LedgerError("no calls are on record: there is nothing to write.")
        hidden = _hidden(os.environ)
        asked = [f"SELECT request, response, {bodies_of(db)} FROM calls WHERE key = ?"
                 for db in databases]  # fmt: skip
        with _whole(path) as out:
            for judge, k, place in wanted:
                request, *response = databases[place].execute(asked[place], (k,)).fetchone()
                line = (
                    f'{{"key": {json.dumps(k)}, "judge_id": {json.dumps(judge, ensure_ascii=False)}'
                    f', "request": {request}, "response": {joined(*response)}}}\n'
                )
                if leaks := [name for name, said in hidden.items() if any(s in line for s in said)]:
                    raise LedgerError(
                        f"{path}: not written, because the value of {', '.join(leaks)} is in call "
                        f"{k}. Nothing that holds a key is published."
                    )
                out.write(line.encode())
    return Exported(len(wanted), sum(k in differing for _, k, _ in wanted))


def import_calls(path: Path, record: CallRecord, *, replace: bool = False) -> Imported:
    """Take a file of calls into a record, all of them or none.

    A call that is there with the same response is known. One with another response is refused,
    or with ``replace`` replaced; a file that contradicts itself is refused in any case.

    Raises
    ------
    LedgerError
        Each fault with its line; or the file has no calls, or the disk is full.
    """
    faults: list[str] = []
    lines: dict[str, int] = {}
    new = known = replaced = 0
    with _explained(path), record.together():
        for number, loaded in _lines(path, faults):
            k, judge = loaded["key"], loaded["judge_id"]
            there = record.whole([k]).get(k)
            if there == as_text(loaded["response"]):
                known += 1
            elif k in lines:
                faults.append(
                    f"{path}:{number}: key {k} stands in line {lines[k]} with another response"
                )
            elif there is not None and not replace:
                faults.append(
                    f"{path}:{number}: key {k} of {judge} is on record with another response; "
                    "--replace puts the file's in its place"
                )
            else:
                new, replaced = new + (there is None), replaced + (there is not None)
                record.keep([row(k, judge, loaded["request"], loaded["response"])])
            lines.setdefault(k, number)
        if faults:
            raise LedgerError(
                f"{len(faults)} error(s) in {path}; nothing was taken in.\n" + "\n".join(faults)
            )
        if not lines:
            raise LedgerError(f"{path}: no calls in it; nothing was taken in.")
    return Imported(new, known, replaced)


def accounts(files: Iterable[Path]) -> list[Account]:
    """Return what each judge was asked, by name; a call in several files counts once.

    Raises
    ------
    LedgerError
        A file that is no record of calls.
    """
    seen: set[str] = set()
    of: dict[str, list[tuple[Any, ...]]] = {}
    said = ", ".join(
        f"json_extract(response, '$.{name}')"
        for name in ("input_tokens", "output_tokens", "at", "model")
    )
    for file in files:
        with _reading(file) as db:
            for k, judge, *told in db.execute(
                f"SELECT key, judge_id, {said}, json_extract(request, '$.model') FROM calls"
            ):
                if k not in seen:
                    seen.add(k)
                    of.setdefault(judge, []).append(tuple(told))
    return [_account(judge, of[judge]) for judge in sorted(of)]


def _account(judge: str, calls: list[tuple[Any, ...]]) -> Account:
    asked, written = ([c[i] for c in calls if isinstance(c[i], int)] for i in (0, 1))
    days = sorted(str(c[2]) for c in calls if c[2])
    return Account(
        judge, len(calls),
        sum(asked) if asked else None, sum(written) if written else None,
        sum(not (isinstance(c[0], int) and isinstance(c[1], int)) for c in calls),
        days[0] if days else None, days[-1] if days else None,
        tuple(sorted({str(c[3] or c[4]) for c in calls if c[3] or c[4]})),
    )  # fmt: skip


def _index(databases: Sequence[sqlite3.Connection]) -> tuple[dict[str, tuple[str, int]], set[str]]:
    """Return the judge and file of each key, and the keys whose responses differ over files."""
    where: dict[str, tuple[str, int]] = {}
    differing: set[str] = set()
    for place, db in enumerate(databases):
        again = []
        for k, judge in db.execute("SELECT key, judge_id FROM calls"):
            if k in where:
                again.append(k)
            where.setdefault(k, (judge, place))
        differing |= {k for k in again if _said(db, k) != _said(databases[where[k][1]], k)}
    return where, differing


def _said(db: sqlite3.Connection, k: str) -> str:
    found = db.execute(f"SELECT response, {bodies_of(db)} FROM calls WHERE key = ?", (k,))
    return joined(*found.fetchone())


def _lines(path: Path, faults: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the calls of a file that are whole, with their lines; add what is wrong to faults."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            raw = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not raw.strip():
                continue
            try:
                loaded = json.loads(raw.decode())
                call = _Call.model_validate(loaded)
                belongs = key(call.request)
            except ValidationError as error:
                faults += [
                    f"{path}:{number}: {'.'.join(map(str, e['loc'])) or 'call'}: {e['msg']}"
                    for e in error.errors(include_input=False)
                ]
                continue
            except (ValueError, RecursionError) as error:
                faults.append(f"{path}:{number}: not JSON in UTF-8 ({error})")
                continue
            if call.key != belongs:
                faults.append(
                    f"{path}:{number}: key {call.key} is not that of the request ({belongs}): one "
                    "of them was changed"
                )
            elif "dimensions" in call.request and call.response.text is None:
                faults.append(f"{path}:{number}: response.text: an answer to a question needs it")
            else:
                yield number, loaded


def _hidden(environment: Mapping[str, str]) -> dict[str, set[str]]:
    """Return what may not be written, by the variable that holds it: as it is, and in JSON."""
    held = {
        name: value.strip() for name, value in environment.items()
        if name.upper().endswith(("KEY", "TOKEN", "SECRET"))
    }  # fmt: skip
    found = {}
    for name, value in held.items():
        if len(value) >= SHORTEST_KEY:
            forms = {value}
            # A reply that is kept raw is JSON within JSON.
            for _ in range(2):
                forms |= {json.dumps(f, ensure_ascii=a)[1:-1] for f in forms for a in (True, False)}
            found[name] = forms
    return found


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    with _explained(file):
        db = beside(file)
        try:
            db.execute("SELECT key, judge_id, request, response FROM calls LIMIT 1").fetchone()
            yield db
        finally:
            db.close()


@contextlib.contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Say in a sentence what SQLite, or the disk, has to complain of."""
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(f"{file}: {error}. Nothing was changed.") from None


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write to, which takes its name once it is whole and on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        said = "no room for it on the disk" if full else error.strerror
        raise LedgerError(f"{path}: {said}; it was not written.") from None
    finally:
        Path(name).unlink(missing_ok=True)
