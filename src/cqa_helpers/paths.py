"""The one place that knows where things lie."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """Return the repository root: ``$CQA_ROOT``, or the nearest folder that holds ``params/``.

    Raises
    ------
    FileNotFoundError
        No such folder: the package is used outside a checkout.
    """
    if named := os.environ.get("CQA_ROOT"):
        return Path(named).resolve()
    for start in (Path.cwd(), PACKAGE):
        for folder in (start, *start.parents):
            if (folder / "params").is_dir() and (folder / "notebooks").is_dir():
                return folder.resolve()
    raise FileNotFoundError(
        "No folder with params/ and notebooks/ at or above the working directory. "
        "Run from the repository, or set CQA_ROOT to it."
    )


def at(path: str | Path) -> Path:
    """Return a path, taken from the repository root where it is relative."""
    return root() / path


def run_dir(profile: str) -> Path:
    """Return where a profile's outputs lie: ``runs/<profile>``."""
    return root() / "runs" / profile


def taxonomy_file(name: str) -> Path:
    """Return the YAML of a taxonomy: ``data/taxonomy/<name>.yaml``."""
    return root() / "data" / "taxonomy" / f"{name}.yaml"
