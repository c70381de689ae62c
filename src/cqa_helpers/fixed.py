"""What a plan fixes, as hashes: params, the analysis' code, data, packets, key, versions."""

from __future__ import annotations

import ast
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from cqa_helpers import blinding, corpus, paths, provenance
from cqa_helpers.params import Params
from cqa_helpers.provenance import sha256
from cqa_helpers.records import RecordError

NOTEBOOK = "notebooks/05-blind-analysis.py"
# Not imported by the notebook, and yet what decides whether its numbers may be shown.
GATES = ("planlock",)


class Change(NamedTuple):
    """One thing that is no longer what was locked; ``was`` and ``now`` are null where absent."""

    kind: str
    name: str
    was: Any
    now: Any

    def __str__(self) -> str:
        if self.kind in ("params", "versions"):
            return f"{self.kind} {self.name}: {_said(self.was)} → {_said(self.now)}"
        how = "is new" if self.was is None else "is gone" if self.now is None else "changed"
        return f"{self.kind} {self.name} {how}"


def analysis_files() -> dict[str, Path]:
    """Return the source files that the analysis runs, by module, and its notebook.

    Followed from the notebook through every import of this package, inner ones included.
    """
    found: dict[str, Path] = {}
    todo = [*GATES, *_imports(paths.root() / NOTEBOOK)]
    while todo:
        name = todo.pop()
        file = _module(name)
        if file is not None and f"cqa_helpers.{name}" not in found:
            found[f"cqa_helpers.{name}"] = file
            todo += _imports(file)
    return {NOTEBOOK: paths.root() / NOTEBOOK, **dict(sorted(found.items()))}


def state(params: Params, run_dir: Path) -> dict[str, Any]:
    """Return what a lock holds of a run, as it stands now; null for a file that is not there."""
    run = Path(run_dir)
    folder = run / "blind"
    data = [*corpus.files(run), run / "verdicts.parquet"]
    named = {str(f.relative_to(run)): f for f in data}
    named |= {f"data/taxonomy/{params.taxonomy}.yaml": paths.taxonomy_file(params.taxonomy)}
    try:
        key: str | None = blinding.commitment(blinding.read_key(run))
    except (OSError, RecordError):
        key = None
    return {
        "params": params.model_dump(mode="json"),
        "code": {name: _hash(file) for name, file in analysis_files().items()},
        "data": {name: _hash(file) for name, file in sorted(named.items())},
        "sealed": {
            "key": key,
            "packets": _hash(folder / "packets.jsonl"),
            "seal": _hash(folder / "seal.json"),
        },
        "versions": {"python": platform.python_version(), **provenance.versions()},
    }


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Return what differs between two states, params by their path."""
    changes = compared("params", _flat(was["params"]), _flat(now["params"]))
    for kind in ("code", "data", "sealed", "versions"):
        changes += compared(kind, was[kind], now[kind])
    return changes


def compared(kind: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Return the names whose values differ, or that stand on one side only."""
    names = [*was, *(name for name in now if name not in was)]
    return [
        Change(kind, name, was.get(name), now.get(name))
        for name in names
        if was.get(name) != now.get(name)
    ]


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return the leaves of nested params by their path, as in ``study.margin``."""
    if isinstance(value, dict) and value:
        inner = ((f"{name}.{k}" if name else str(k), v) for k, v in value.items())
    elif isinstance(value, list) and value:
        inner = ((f"{name}[{i}]", v) for i, v in enumerate(value))
    else:
        return {name: "null" if value is None else value}
    return {path: leaf for key, v in inner for path, leaf in _flat(v, key).items()}


def _imports(file: Path) -> list[str]:
    return _imported(file.read_text(encoding="utf-8")) if file.is_file() else []


@cache
def _imported(source: str) -> list[str]:
    """Return the names under this package that a source text imports anywhere in it."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cqa_helpers"):
            inside = (node.module or "").removeprefix("cqa_helpers").lstrip(".")
            found += [inside, *(f"{inside}.{a.name}".lstrip(".") for a in node.names)]
        elif isinstance(node, ast.Import):
            found += [
                a.name.removeprefix("cqa_helpers.")
                for a in node.names
                if a.name.startswith("cqa_helpers.")
            ]
    return [name for name in dict.fromkeys(found) if name]


def _module(name: str) -> Path | None:
    base = paths.PACKAGE.joinpath(*name.split("."))
    for file in (base / "__init__.py", base.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def _hash(file: Path) -> str | None:
    return sha256(file) if file.is_file() else None


def _said(value: Any) -> str:
    return "absent" if value is None else str(value)
