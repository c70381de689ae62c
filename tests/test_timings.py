from __future__ import annotations

from pathlib import Path

import pytest

from cqa_helpers import timings


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for name, seconds in (("04-judge", 3.5), ("02-fine-tune", 1.0), ("02-fine-tune/cot-8", 20.25)):
        path = tmp_path / "timings" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:03\t-\n")
    return tmp_path


def test_steps_are_named_and_timed(run: Path) -> None:
    table = timings.steps(run)
    assert dict(zip(table["step"], table["seconds"], strict=True)) == {
        "02-fine-tune": 1.0, "02-fine-tune/cot-8": 20.25, "04-judge": 3.5,
    }  # fmt: skip


def test_a_run_without_timings_has_no_steps_and_is_still_announced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert timings.steps(tmp_path).empty
    timings.announce(tmp_path)
    assert str(tmp_path / "report" / "index.html") in capsys.readouterr().out


def test_the_announcement_names_pages_and_pdfs(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "report").mkdir()
    (run / "report" / "experiment.pdf").write_bytes(b"%PDF")
    timings.announce(run)
    said = capsys.readouterr().out
    assert "02-fine-tune/cot-8" in said
    assert "20.2" in said
    assert str(run / "report" / "experiment.pdf") in said
