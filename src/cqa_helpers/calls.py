"""The record of calls: what was asked of a model, and what came back, kept for good.

One SQLite file for each execution of a notebook, which alone writes to it and reads those of the
executions before it: arms trained at once, on one machine or on many that share a folder, never
meet in a file. The key is a hash of the request, which holds prompt, model identity, decoding and
the repeat index; a run with full records needs neither model nor network and gives the identical
table. What was sent and what came back as they were, a response's bodies, stand in a column of
their own, which a replay never reads: with log-probabilities one can be of some 100 kB.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cqa_helpers.params import fingerprint

BODIES = ("raw", "sent")
AT_ONCE = 1000  # keys in one question to SQLite
NONE = "NULL"  # what selects the bodies where there is no column for them


class Row(NamedTuple):
    """One call as it is kept; ``bodies`` is JSON, compressed, and null where there are none."""

    key: str
    judge_id: str
    request: str
    response: str
    bodies: bytes | None


class CallRecord:
    """Requests and responses by key, in one SQLite file; others are read beside it.

    Threads may share it: they take turns.
    """

    def __init__(self, path: Path, also: Iterable[Path] = ()) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._turn = threading.RLock()
        self._db = sqlite3.connect(path, timeout=120, check_same_thread=False)
        # No write-ahead log: it needs memory shared between processes, which no network file
        # system gives.
        self._db.execute("PRAGMA journal_mode=DELETE")
        self._db.execute(
            # The response before the request: what follows it in a row need not be read from disk.
            "CREATE TABLE IF NOT EXISTS calls ("
            "key TEXT PRIMARY KEY, judge_id TEXT NOT NULL, response TEXT NOT NULL, "
            "request TEXT NOT NULL, bodies BLOB)"
        )
        self._db.commit()
        self._others = [
            beside(other) for other in also if other.is_file() and other.resolve() != path.resolve()
        ]

    def close(self) -> None:
        """Close the files."""
        with self._turn:
            for db in (self._db, *self._others):
                db.close()

    def __enter__(self) -> CallRecord:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """Return the recorded response to each request, without bodies; None where is none."""
        keys = [key(request) for request in requests]
        found = self.by_key(keys)
        return [found.get(k) for k in keys]

    def by_key(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the recorded responses, by key, without bodies; its own before the others'."""
        found: dict[str, dict[str, Any]] = {}
        wanted = dict.fromkeys(keys)
        with self._turn:
            for db in (self._db, *self._others):
                rows = _rows(db, "key, response", [k for k in wanted if k not in found])
                found |= {k: without_bodies(json.loads(response)) for k, response in rows}
        return found

    def whole(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the recorded responses as text, by key, with their bodies."""
        found: dict[str, str] = {}
        wanted = dict.fromkeys(keys)
        with self._turn:
            for db in (self._db, *self._others):
                columns = f"key, response, {bodies_of(db)}"
                rows = _rows(db, columns, [k for k in wanted if k not in found])
                found |= {k: joined(response, bodies) for k, response, bodies in rows}
        return found

    def put(
        self, judge_id: str, calls: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]
    ) -> None:
        """Keep responses, all of them or none."""
        rows = [row(key(request), judge_id, request, response) for request, response in calls]
        with self.together():
            self.keep(rows)

    def keep(self, rows: Iterable[Row]) -> None:
        """Keep rows as they are; within :meth:`together`."""
        self._db.executemany(
            "INSERT OR REPLACE INTO calls (key, judge_id, request, response, bodies) "
            "VALUES (?, ?, ?, ?, ?)",
            rows,
        )

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Keep all that is kept within, or nothing of it."""
        with self._turn, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            # In a file of before there was this column; one that is only read stays as it is.
            if bodies_of(self._db) == NONE:
                self._db.execute("ALTER TABLE calls ADD COLUMN bodies BLOB")
            yield

    def count(self) -> int:
        """Return how many calls are kept, in the files that are read beside it too."""
        files = (self._db, *self._others)
        with self._turn:
            return len({row[0] for db in files for row in db.execute("SELECT key FROM calls")})


def opened(run_dir: Path, execution: str, after: Iterable[str] = ()) -> CallRecord:
    """Return the record of one execution of a notebook, open; ``after`` names those it reads.

    The files are ``<run_dir>/calls/<execution>.sqlite``. Name only executions that have ended:
    one that still writes may do so on another machine, where its lock is not seen.
    """
    folder = Path(run_dir) / "calls"
    return CallRecord(folder / f"{execution}.sqlite", [folder / f"{name}.sqlite" for name in after])


def files_of(run_dir: Path) -> list[Path]:
    """Return the files of a run's calls, a later notebook's before an earlier one's."""
    folder = Path(run_dir) / "calls"
    found = folder.rglob("*.sqlite")
    return sorted(found, key=lambda file: file.relative_to(folder).as_posix(), reverse=True)


def beside(path: Path) -> sqlite3.Connection:
    """Open a file of calls that another execution wrote, to be read only."""
    # Not in SQLite's read-only mode: what a kill left half-written is rolled back on opening.
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=120, check_same_thread=False
    )


def key(request: Mapping[str, Any]) -> str:
    """Return the key of a request: a hash of everything in it."""
    return fingerprint(request)


def row(k: str, judge_id: str, request: Mapping[str, Any], response: Mapping[str, Any]) -> Row:
    """Return a call as it is kept; ``k`` is the key of the request."""
    bodies = {name: response[name] for name in BODIES if name in response}
    packed = zlib.compress(as_text(bodies).encode()) if bodies else None
    return Row(k, judge_id, as_text(request), as_text(without_bodies(response)), packed)


def without_bodies(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return a response without what was sent and what came back as they were."""
    return {name: value for name, value in response.items() if name not in BODIES}


def joined(response: str, bodies: bytes | None) -> str:
    """Return a response that was kept in two parts as one text."""
    if bodies is None:
        return response
    return as_text(json.loads(response) | json.loads(zlib.decompress(bodies)))


def bodies_of(db: sqlite3.Connection) -> str:
    """Return what selects the bodies of a file's calls: an older one has no column for them."""
    columns = {name for _, name, *_ in db.execute("PRAGMA table_info(calls)")}
    return "bodies" if "bodies" in columns else NONE


def _rows(db: sqlite3.Connection, columns: str, keys: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    # SQLite takes keys in their own order, which is no order in the file: of many at once each
    # would be a page from the disk, of some that were kept in a row they are next to each other.
    for at in range(0, len(keys), AT_ONCE):
        yield from db.execute(
            f"SELECT {columns} FROM calls WHERE key IN (SELECT value FROM json_each(?))",
            (json.dumps(keys[at : at + AT_ONCE]),),
        )


def as_text(value: Mapping[str, Any]) -> str:
    """Return a request or response as it is kept: one line of JSON, its fields in order."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half a character, as where an answer was cut off: only an escape can hold it.
        return json.dumps(value, sort_keys=True)
    return text
