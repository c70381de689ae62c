"""What no file of the repository may hold."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cqa_helpers import paths

# Places on somebody's own machine, and what keys of common services look like.
MACHINE = re.compile(rb"(?<![\w.:/])/(?:home|Users|root|work|mnt)/[\w.-]+")
KEYS = re.compile(
    rb"sk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}"
    rb"|hf_[A-Za-z0-9]{30,}"
    rb"|gh[pousr]_[A-Za-z0-9]{30,}"
    rb"|github_pat_\w{30,}"
    rb"|AKIA[0-9A-Z]{16}"
    rb"|AIza[\w-]{35}"
    rb"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
BINARY = {".safetensors", ".png", ".pdf", ".woff2", ".ttf", ".otf", ".ico", ".parquet"}


def files() -> list[Path]:
    """Return the files that are tracked, or would be."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=paths.root(), capture_output=True, check=True,
        ).stdout  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: there is no list of files")
    found = [paths.root() / name for name in listed.decode().split("\0") if name]
    return [path for path in found if path.is_file() and path.suffix not in BINARY]


def hits(pattern: re.Pattern[bytes]) -> list[str]:
    return [
        f"{path.relative_to(paths.root())}: {match[0].decode(errors='replace')[:40]}"
        for path in files()
        for match in pattern.finditer(path.read_bytes())
    ]


def test_there_are_files_to_look_at() -> None:
    assert len(files()) > 40


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    assert hits(MACHINE) == []


def test_no_file_holds_what_looks_like_a_key() -> None:
    assert hits(KEYS) == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (MACHINE, b"see /ho" + b"me/ann/run"),
        (MACHINE, b'"/Us' + b'ers/ann"'),
        (KEYS, b"OPENAI_API_KEY=s" + b"k-proj-" + b"a1B2" * 8),
        (KEYS, b"h" + b"f_" + b"aB3d" * 9),
    ],
)
def test_the_patterns_find_what_they_are_for(pattern: re.Pattern[bytes], text: bytes) -> None:
    assert pattern.search(text)


def test_what_must_stay_private_is_ignored() -> None:
    if not (paths.root() / ".git").exists():
        pytest.skip("not a git checkout")
    private = ["data/golden/private/novel.txt", "runs/phase1/blind/sealed.key.json"]
    for name in private:
        done = subprocess.run(["git", "check-ignore", "-q", name], cwd=paths.root())
        assert done.returncode == 0, name
