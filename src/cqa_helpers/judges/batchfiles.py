"""The files of a batch: requests as they are uploaded, results as they come back, and the memory
of what was submitted."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from cqa_helpers.judges.panel import JudgeError
from cqa_helpers.records import write_atomically


class Limits(NamedTuple):
    """What one file of requests may hold.

    Source: the API's reference as the ``openai`` SDK 3.52 quotes it at ``batches.create``; Azure's
    reference of the same endpoint says the same.
    """

    requests: int = 50_000
    bytes: int = 200_000_000


class Fault(NamedTuple):
    """Why a request has no answer. ``code`` is the provider's, ``raw`` what it sent."""

    why: str
    code: str = ""
    raw: str = ""


class Results(NamedTuple):
    """Raw bodies of answers and faults, by key; the lines that are neither, and what they are."""

    answers: dict[str, str]
    faults: dict[str, Fault]
    odd: list[str]
    notes: list[str]


class Submission(BaseModel):
    """One batch: its label, the keys whose results are still to be fetched, its most cost in USD.

    ``batch_id`` is null until the provider has given one.
    """

    model_config = ConfigDict(extra="forbid")
    label: str
    keys: list[str]
    most_usd: float
    batch_id: str | None = None


class Memory(BaseModel):
    """What was submitted; ``settled`` names the batches whose every result was dealt with."""

    model_config = ConfigDict(extra="forbid")
    open: list[Submission] = []
    settled: list[str] = []

    @classmethod
    def load(cls, path: Path) -> Memory:
        """Read a memory; there is nothing in one that was never written.

        Raises
        ------
        JudgeError
            The file cannot be read.
        """
        if not path.is_file():
            return cls()
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError):
            raise JudgeError(
                f"{path} should tell which batches are under way, and cannot be read. Restore it, "
                "or delete it if no batch is."
            ) from None

    def under_way(self) -> set[str]:
        """Return the keys whose results are still to come."""
        return {key for submission in self.open for key in submission.keys}

    def save(self, path: Path) -> None:
        """Write it, in one piece or not at all."""
        write_atomically(path, self.model_dump_json(indent=1) + "\n")


def uploads(
    requests: Mapping[str, Mapping[str, Any]], limits: Limits
) -> tuple[list[dict[str, str]], list[str]]:
    """Return the lines of each file to upload, by key, and the keys that fit into none."""
    files: list[dict[str, str]] = []
    too_long, size = [], 0
    for key, body in requests.items():
        line = json.dumps(
            {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body}
        )
        length = len(line) + 1
        if length > limits.bytes:
            too_long.append(key)
            continue
        if not files or len(files[-1]) >= limits.requests or size + length > limits.bytes:
            files.append({})
            size = 0
        files[-1][key] = line
        size += length
    return files, too_long


def lines_of(text: str) -> tuple[list[str], bool]:
    """Return the lines of a file of results, and whether each is JSON."""
    # On "\n" alone: U+2028 and its kin may stand inside a JSON string.
    lines = [line for line in text.split("\n") if line.strip()]
    return lines, all(_parsed(line) is not None for line in lines)


def read(batch_id: str, keys: Sequence[str], lines: Sequence[str]) -> Results:
    """Read the results of a batch that was asked for keys.

    An answer that came twice counts once; of two that differ neither is taken.
    """
    asked = set(keys)
    bodies: dict[str, dict[str, str]] = defaultdict(dict)
    faults: dict[str, Fault] = {}
    by_key: dict[str, list[str]] = defaultdict(list)
    broken, foreign = [], []
    for line in lines:
        said = _parsed(line)
        key = None if said is None else said.get("custom_id")
        if said is None:
            broken.append(line)
        elif not isinstance(key, str) or key not in asked:
            foreign.append(line)
        else:
            by_key[key].append(line)
            found = _result(said)
            if isinstance(found, Fault):
                faults[key] = found
            else:
                compared = json.dumps(found.get("choices"), sort_keys=True)
                bodies[key].setdefault(compared, json.dumps(found, ensure_ascii=False))
    answers = {key: next(iter(said.values())) for key, said in bodies.items() if len(said) == 1}
    torn = [key for key, said in bodies.items() if len(said) > 1]
    faults = {key: fault for key, fault in faults.items() if key not in answers}
    faults |= {key: Fault("two different answers in one batch") for key in torn}
    told = [
        (len(broken), "lines that are no JSON"),
        (len(foreign), "results for questions that were not asked in it"),
        (len(torn), "questions with two different answers, of which neither is taken"),
    ]
    return Results(
        answers,
        faults,
        [*broken, *foreign, *(line for key in torn for line in by_key[key])],
        [f"Batch {batch_id} has {n:,} {what}." for n, what in told if n],
    )


def plain(code: object) -> str:
    """Return an error's code if it looks like one, else nothing: a text may hold a key."""
    return code if isinstance(code, str) and re.fullmatch(r"[a-z]+(_[a-z]+){0,9}", code) else ""


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _result(said: Mapping[str, Any]) -> dict[str, Any] | Fault:
    """Return the body of one line of results, or why it has none."""
    response = said.get("response")
    response = response if isinstance(response, dict) else {}
    status, body = response.get("status_code"), response.get("body")
    body = body if isinstance(body, dict) else {}
    if status == 200 and body:
        return body
    # Where the request itself was refused, the error stands in the body and not beside it.
    error = said.get("error") or body.get("error")
    code = plain(error.get("code")) if isinstance(error, dict) else ""
    parts = [str(status) if isinstance(status, int) and status > 0 else "", code]
    why = " ".join(part for part in parts if part) or "no reason given"
    return Fault(f"batch request failed: {why}", code, json.dumps(said, ensure_ascii=False))
