"""The record of calls: what was asked of a model, and what came back, kept for good.

SQLite in WAL mode, so that arms trained side by side write to one file. The key is a hash of the
request, which holds prompt, model identity, decoding and the repeat index; a run with a full
record needs neither model nor network and gives the identical table.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cqa_helpers.params import fingerprint


class CallRecord:
    """Requests and responses by key, in one SQLite file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=120)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS calls ("
            "key TEXT PRIMARY KEY, judge_id TEXT NOT NULL, request TEXT NOT NULL, "
            "response TEXT NOT NULL)"
        )
        self._db.commit()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> CallRecord:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """Return the recorded response to each request, None where there is none."""
        found = []
        for request in requests:
            row = self._db.execute(
                "SELECT response FROM calls WHERE key = ?", (key(request),)
            ).fetchone()
            found.append(None if row is None else json.loads(row[0]))
        return found

    def put(
        self, judge_id: str, calls: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]
    ) -> None:
        """Keep responses, all of them or none."""
        with self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?)",
                [
                    (
                        key(request),
                        judge_id,
                        json.dumps(request, ensure_ascii=False, sort_keys=True),
                        json.dumps(response, ensure_ascii=False, sort_keys=True),
                    )
                    for request, response in calls
                ],
            )

    def count(self) -> int:
        """Return how many calls are kept."""
        return int(self._db.execute("SELECT count(*) FROM calls").fetchone()[0])


def key(request: Mapping[str, Any]) -> str:
    """Return the key of a request: a hash of everything in it."""
    return fingerprint(request)
