"""Where a number came from: commit, params, data, versions, machine, time."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from cqa_helpers import paths
from cqa_helpers.params import Params

LIBRARIES = (
    "torch", "transformers", "peft", "trl", "bitsandbytes", "datasets", "openai", "pandas",
    "numpy", "scipy", "statsmodels", "scikit-learn", "papermill", "jupytext", "snakemake",
)  # fmt: skip


def sha256(path: Path | str) -> str:
    """Return a file's sha256 in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_state(folder: Path | None = None) -> dict[str, Any]:
    """Return the commit, its date, and whether tracked files differ from it; nulls outside git."""
    folder = folder or paths.root()

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *words], cwd=folder, capture_output=True, text=True, timeout=30
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    status = git("status", "--porcelain", "--untracked-files=no")
    return {
        "git_commit": git("rev-parse", "HEAD"),
        "git_date": git("log", "-1", "--format=%cs"),
        "git_dirty": None if status is None else bool(status),
    }


def versions() -> dict[str, str | None]:
    """Return the installed version of each library that touches a number."""
    found: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def seconds(self) -> float:
        """Return seconds since the start, to a hundredth."""
        return round(time.monotonic() - self._start, 2)


def block(
    params: Params,
    notebook: str,
    watch: Stopwatch,
    data: Iterable[Path] = (),
    **more: Any,
) -> dict[str, Any]:
    """Return the provenance block that a notebook writes beside its results.

    ``more`` adds what only the caller knows: model id and revision, device, seeds, tokens, USD.
    """
    return {
        **git_state(),
        "params_hash": params.fingerprint(notebook),
        "data_hashes": {path.name: sha256(path) for path in data},
        "python": platform.python_version(),
        "versions": versions(),
        "wall_seconds": watch.seconds(),
        **more,
    }
