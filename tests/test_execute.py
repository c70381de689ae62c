from __future__ import annotations

import json
from pathlib import Path

import pytest

from cqa_helpers import execute, paths
from cqa_helpers.execute import NotebookError

HEAD = """# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

"""
GOOD = (
    HEAD
    + """# %% tags=["parameters"]
who = "nobody"

# %%
#| label: tbl-x
print("hello", who)
"""
)
BAD = (
    GOOD
    + """
# %%
#| label: fig-y
ratio = 1 / 0
"""
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "root", lambda: tmp_path)
    for folder in ("notebooks", "params"):
        (tmp_path / folder).mkdir()
    return tmp_path


def written(root: Path, text: str) -> Path:
    path = root / "notebooks" / "99-try.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_notebook_is_executed_with_its_parameters(root: Path) -> None:
    target = execute.execute(written(root, GOOD), root / "out" / "99.ipynb", {"who": "专家"})
    cells = json.loads(target.read_text(encoding="utf-8"))["cells"]
    said = ["".join(o["text"]) for c in cells for o in c.get("outputs", [])]
    assert said == ["hello 专家\n"]
    assert [p.name for p in target.parent.iterdir()] == ["99.ipynb"]


def test_a_failing_notebook_says_cell_line_error_and_partial_and_keeps_the_old_one(
    root: Path,
) -> None:
    target = root / "99.ipynb"
    target.write_text("the last whole one")
    with pytest.raises(NotebookError) as caught:
        execute.execute(written(root, BAD), target, {})
    said = str(caught.value)
    assert said.startswith("99-try.py stopped in cell 3 (ratio = 1 / 0): ZeroDivisionError: ")
    partial = root / "99.partial.ipynb"
    assert said.endswith(f"The partial notebook is {partial}")
    assert "hello nobody" in partial.read_text()
    assert target.read_text() == "the last whole one"


def test_a_kernel_that_is_killed_is_told_in_a_sentence(root: Path) -> None:
    killed = GOOD + "\n# %%\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    with pytest.raises(NotebookError, match=r"99-try\.py: the kernel died"):
        execute.execute(written(root, killed), root / "99.ipynb", {})
    assert not (root / "99.ipynb").exists()


def test_an_unknown_profile_or_notebook_lists_those_there_are() -> None:
    with pytest.raises(SystemExit, match=r"No profile 'phase9'\. There are: .*rehearsal"):
        execute.main(["01-annotate-audit", "--profile", "phase9"])
    with pytest.raises(SystemExit, match=r"No notebook '09-none'\. There are: 01-annotate-audit"):
        execute.main(["09-none"])


def test_a_bad_profile_is_refused_before_a_kernel_starts(root: Path) -> None:
    (root / "params" / "mine.yaml").write_text("profile: mine\n")
    written(root, GOOD)
    with pytest.raises(SystemExit, match="nothing was run"):
        execute.main(["99-try", "--profile", "mine"])
    assert not (root / "runs").exists()
