from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cqa_helpers import provenance
from cqa_helpers.params import Params


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def test_outside_git_the_commit_is_null_and_not_an_error(tmp_path: Path) -> None:
    assert provenance.git_state(tmp_path) == {
        "git_commit": None, "git_date": None, "git_dirty": None,
    }  # fmt: skip


def test_a_change_of_a_tracked_file_makes_the_state_dirty(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "a.txt").write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    clean = provenance.git_state(tmp_path)
    assert len(clean["git_commit"]) == 40
    assert clean["git_dirty"] is False
    (tmp_path / "new.txt").write_text("not tracked")
    assert provenance.git_state(tmp_path)["git_dirty"] is False
    (tmp_path / "a.txt").write_text("two")
    assert provenance.git_state(tmp_path) == {**clean, "git_dirty": True}


def test_a_library_that_is_not_installed_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "LIBRARIES", ("numpy", "no-such-library"))
    found = provenance.versions()
    assert found["numpy"]
    assert found["no-such-library"] is None


def test_the_block_holds_params_hash_data_hashes_and_what_the_caller_adds(
    tmp_path: Path, small_params: Callable[..., Params]
) -> None:
    data = tmp_path / "data.jsonl"
    data.write_bytes("数据\n".encode())
    watch = provenance.Stopwatch()
    block = provenance.block(small_params(), "04-judge", watch, [data], cost_usd=None)
    assert block["params_hash"] == small_params().fingerprint("04-judge")
    assert block["data_hashes"] == {"data.jsonl": hashlib.sha256(data.read_bytes()).hexdigest()}
    assert block["wall_seconds"] >= 0
    assert block["cost_usd"] is None
    assert block["versions"]["pandas"]
