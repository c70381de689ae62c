"""The rows that everything reads and writes, and their files.

Expert, tuned model, base model, GPT-4, baseline and blind rater are all judges, and every
judge writes the same row: :class:`Verdict`. Files are JSON Lines in UTF-8. Reading names every
error at once (file, line, field, what was expected); writing is atomic.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Status = Literal["ok", "unparsed", "refused", "failed"]
Origin = Literal["published", "public-domain", "model-authored", "simulated"]
Group = Literal["literary", "factual"]


class RecordError(ValueError):
    """A file holds rows that do not fit; the message lists each one."""


class Record(BaseModel):
    """What all rows share: no unknown field, no change after the making."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Verdict(Record):
    """One judge's answer on one dimension of one item.

    ``value`` is an integer within ``scale`` (``"0-1"``, ``"1-5"``), and null exactly when
    ``status`` is not ``ok``: what is missing is never a zero. ``probability`` is the judge's own
    P(highest value) where one exists, in [0, 1].
    """

    item_id: str = Field(min_length=1)
    dimension: str = Field(min_length=1)
    judge_id: str = Field(min_length=1)
    repeat: int = Field(default=0, ge=0)
    value: int | None
    scale: str = Field(default="0-1", pattern=r"^\d+-\d+$")
    probability: float | None = Field(default=None, ge=0, le=1)
    reason: str = ""
    status: Status = "ok"
    meta: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _value_fits(self) -> Verdict:
        if (self.value is None) != (self.status != "ok"):
            raise ValueError(
                f"value is {self.value} with status {self.status!r}: a verdict has a value if and "
                "only if its status is 'ok'"
            )
        low, high = map(int, self.scale.split("-"))
        if self.value is not None and not low <= self.value <= high:
            raise ValueError(f"value {self.value} lies outside the scale {self.scale}")
        return self


class Passage(Record):
    """A text to be judged. ``text`` is null where only a link may be shared (then ``url``)."""

    id: str = Field(min_length=1)
    work_id: str = Field(min_length=1)
    language: str = "en"
    domain: str = "fiction"
    text: str | None
    url: str | None = None
    origin: Origin
    licence: str = Field(min_length=1)
    source: str = Field(min_length=1)
    meta: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _text_or_link(self) -> Passage:
        if not self.text and not self.url:
            raise ValueError("a passage needs a text, or a url where the text may not be shared")
        return self


class Constraints(Record):
    """What the passage was meant to do, by source of constraint (FACTS section 2)."""

    intent: str
    audience: str = ""
    reality: str = ""

    def joint(self) -> str:
        """Return the joint constraint Y as one text."""
        return " ".join(part for part in (self.intent, self.audience, self.reality) if part)


class Pair(Record):
    """A passage and its degraded version, alike but for one dimension."""

    id: str = Field(min_length=1)
    good: str = Field(min_length=1)
    degraded: str = Field(min_length=1)
    dimension: str
    constraints: Constraints
    group: Group
    origin: Origin
    meta: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _they_differ(self) -> Pair:
        if self.good == self.degraded:
            raise ValueError("the good and the degraded text are the same")
        return self


R = TypeVar("R", bound=Record)


def read_jsonl(path: Path | str, kind: type[R]) -> list[R]:
    """Read one kind of record from a JSON Lines file.

    Raises
    ------
    RecordError
        Lists every bad line with file, line number, field and what was expected; or the file is
        not UTF-8.
    """
    path = Path(path)
    rows: list[R] = []
    errors: list[str] = []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: not UTF-8 ({error}); nothing was read.") from None
    # Split on "\n" alone: U+2028 and its kin may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(kind.model_validate_json(line))
        except ValidationError as error:
            for e in error.errors():
                field = ".".join(map(str, e["loc"])) or "record"
                errors.append(f"{path}:{number}: {field}: {e['msg']}")
    if errors:
        raise RecordError(
            f"{len(errors)} error(s) in {path}; nothing was read.\n" + "\n".join(errors)
        )
    return rows


def write_jsonl(path: Path | str, rows: Iterable[Record]) -> None:
    """Write records, one a line, in one piece or not at all."""
    text = "".join(row.model_dump_json() + "\n" for row in rows)
    write_atomically(path, text)


def write_atomically(path: Path | str, content: str | bytes) -> None:
    """Write a file so that a reader, or a kill, sees the old one or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def to_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Return verdicts as a table, one row each, ``meta`` as JSON text, in a stable order."""
    columns = {name: [getattr(v, name) for v in verdicts] for name in Verdict.model_fields}
    columns["meta"] = [json.dumps(m, sort_keys=True, ensure_ascii=False) for m in columns["meta"]]
    table = pd.DataFrame(columns if verdicts else [], columns=list(Verdict.model_fields))
    table = table.astype({"value": "Int64", "probability": "Float64", "repeat": "int64"})
    keys = ["judge_id", "item_id", "dimension", "repeat"]
    return table.sort_values(keys, kind="stable", ignore_index=True)


def from_table(table: pd.DataFrame) -> list[Verdict]:
    """Return the verdicts of a table made by :func:`to_table`."""
    rows: list[dict[str, Any]] = [
        {str(k): v for k, v in row.items()} for row in table.to_dict("records")
    ]
    return [
        Verdict(
            **{
                **row,
                "value": None if pd.isna(row["value"]) else int(row["value"]),
                "probability": None if pd.isna(row["probability"]) else float(row["probability"]),
                "meta": json.loads(row["meta"]),
            }
        )
        for row in rows
    ]
