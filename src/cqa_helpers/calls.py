"""The record of calls: what was asked of a model, and what came back, kept for good.

One SQLite file for each execution of a notebook, which alone writes to it and reads those of the
executions before it: arms trained at once, on one machine or on many that share a folder, never
meet in a file. The key is a hash of the request, which holds prompt, model identity, decoding and
the repeat index; a run with full records needs neither model nor network and gives the identical
table.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cqa_helpers.params import fingerprint


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
            "CREATE TABLE IF NOT EXISTS calls ("
            "key TEXT PRIMARY KEY, judge_id TEXT NOT NULL, request TEXT NOT NULL, "
            "response TEXT NOT NULL)"
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
        """Return the recorded response to each request, None where there is none."""
        keys = [key(request) for request in requests]
        found = self.texts(keys)
        return [json.loads(found[k]) if k in found else None for k in keys]

    def texts(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the recorded responses as they are kept, by key; its own before the others'."""
        found: dict[str, str] = {}
        wanted = list(keys)
        with self._turn:
            for db in (self._db, *self._others):
                missing = json.dumps([k for k in wanted if k not in found])
                found |= db.execute(
                    "SELECT key, response FROM calls WHERE key IN (SELECT value FROM json_each(?))",
                    (missing,),
                ).fetchall()
        return found

    def put(
        self, judge_id: str, calls: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]
    ) -> None:
        """Keep responses, all of them or none."""
        rows = [
            (key(request), judge_id, as_text(request), as_text(response))
            for request, response in calls
        ]
        with self.together():
            self.keep(rows)

    def keep(self, rows: Iterable[tuple[str, str, str, str]]) -> None:
        """Keep rows of key, judge, request and response as they are; within :meth:`together`."""
        self._db.executemany("INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?)", rows)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Keep all that is kept within, or nothing of it."""
        with self._turn, self._db:
            self._db.execute("BEGIN IMMEDIATE")
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


def as_text(value: Mapping[str, Any]) -> str:
    """Return a request or response as it is kept: one line of JSON, its fields in order."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half a character, as where an answer was cut off: only an escape can hold it.
        return json.dumps(value, sort_keys=True)
    return text
