"""A whole run on a few rows: what a user gets, what a kill leaves behind, what a change reruns."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from cqa_helpers import params, paths, results

ROOT = paths.root()
SMOKE = ROOT / "params" / "smoke.yaml"
KEY_LIKE = re.compile(r"sk-[A-Za-z0-9]{16,}|hf_[A-Za-z0-9]{16,}|api[_-]?key\s*[=:]\s*['\"]\w{12,}")


def snakemake(folder: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "snakemake", "--snakefile", str(folder / "Snakefile"),
        "--directory", str(folder), "--cores", "1", "--resources", "gpu=1", "--nolock",
        "--rerun-incomplete", "--config", "profile=smoke", *more,
    ]  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "CQA_ROOT": str(folder),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


def checkout(folder: Path) -> Path:
    """Return a copy of what a run needs, so that runs of the user's own are left alone."""
    for name in ("data", "notebooks", "params", "report", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


def run(folder: Path, *more: str) -> str:
    done = subprocess.run(
        snakemake(folder, *more), env=environment(folder), cwd=folder, capture_output=True,
        text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = checkout(tmp_path_factory.mktemp("smoke"))
    run(folder)
    yield folder


def whole(folder: Path) -> dict[str, object]:
    return json.loads((folder / "runs/smoke/results.json").read_text(encoding="utf-8"))


def test_a_run_leaves_every_section_with_its_provenance(finished: Path) -> None:
    sections = whole(finished)
    plan = params.load(SMOKE)
    assert list(sections) == list(plan.notebooks())
    for name, section in sections.items():
        assert section["provenance"]["params_hash"] == plan.fingerprint(name)  # type: ignore[index]


def test_results_hold_what_programs_read(finished: Path) -> None:
    sections: dict = whole(finished)
    audit = sections["01-annotate-audit"]
    assert audit["agreement"]["craft"]["fleiss"]["value"] is not None
    assert audit["n_verdicts"] == 3 * 3 * audit["n_items"]
    for judge in ("base", "tuned", "reference", "experts", "always-no"):
        entry = sections["04-judge"]["judges"][judge]
        assert set(entry["kappa"]) == {"value", "low", "high"}
        assert isinstance(entry["unparsed"], int)
    seed = sections["02-fine-tune"]["arms"]["cot"]["12"]["1"]
    assert set(seed["auc"]) <= {"craft", "audience", "reality_logic"}
    assert seed["train_seconds"] > 0
    for group in ("literary", "factual"):
        before = sections["03-calibrated-surprise"]["groups"][group]["before"]
        assert before["h_x"] > 0
        assert before["h_x_given_y"] > 0
    primary = sections["05-blind-analysis"]["primary"]
    assert {"difference", "margin", "conclusion", "sentence"} <= set(primary)


def test_every_verdict_is_in_the_table_and_missing_is_never_zero(finished: Path) -> None:
    table = pd.read_parquet(finished / "runs/smoke/verdicts.parquet")
    judges: dict = whole(finished)["04-judge"]["judges"]  # type: ignore[index]
    assert {"tuned", "base", "reference"} <= set(table["judge_id"])
    missing = table["status"] != "ok"
    assert table.loc[missing, "value"].isna().all()
    assert table.loc[~missing, "value"].notna().all()
    for judge in ("tuned", "base"):
        rows = table[table["judge_id"] == judge]
        assert judges[judge]["n"] == (rows["status"] == "ok").sum()
        assert judges[judge]["unparsed"] == (rows["status"] == "unparsed").sum()


def test_pages_say_that_the_data_are_simulated(finished: Path) -> None:
    pages = sorted((finished / "runs/smoke/report").glob("*.html"))
    assert {p.stem for p in pages} == {
        "index", "experiment", "methodology", "data", "reproducibility",
    }  # fmt: skip
    for page in pages:
        assert "simulated" in page.read_text(encoding="utf-8").lower(), page.name
    assert (finished / "runs/smoke/report/experiment.pdf").read_bytes().startswith(b"%PDF")


def test_executed_notebooks_are_clean_of_errors_and_keys(finished: Path) -> None:
    notebooks = sorted((finished / "runs/smoke/notebooks").rglob("*.ipynb"))
    assert len(notebooks) >= 5
    for path in notebooks:
        text = path.read_text(encoding="utf-8")
        assert not KEY_LIKE.search(text), path.name
        for cell in nbformat.reads(text, 4).cells:
            for output in cell.get("outputs", []):
                assert output.output_type != "error", path.name
                noise = output.get("name") == "stderr" and output["text"].strip()
                assert not noise, f"{path.name} prints to stderr: {output['text'][:300]}"


def test_an_unchanged_run_does_nothing(finished: Path) -> None:
    assert "Nothing to be done" in run(finished)


def test_a_changed_margin_reruns_the_analysis_and_trains_nothing(finished: Path) -> None:
    file = finished / "params" / "smoke.yaml"
    before = file.read_text(encoding="utf-8")
    changed = re.sub(r"margin: [\d.]+", "margin: 0.2", before)
    assert changed != before
    try:
        file.write_text(changed, encoding="utf-8")
        planned = run(finished, "--dry-run")
    finally:
        file.write_text(before, encoding="utf-8")
    assert "05 blind-analysis" in planned
    assert "02 fine-tune" not in planned


def test_killed_in_the_middle_of_training_it_goes_on_to_the_same_results(
    finished: Path, tmp_path: Path
) -> None:
    folder = checkout(tmp_path / "killed")
    process = subprocess.Popen(
        snakemake(folder), env=environment(folder), cwd=folder, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    adapters = folder / "runs/smoke/adapters"
    deadline = time.monotonic() + 600
    while not list(adapters.glob("*/training.json")) and time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "runs/smoke/results.json").exists()
    run(folder)
    assert results.without_times(whole(folder)) == results.without_times(whole(finished))
    for weights in adapters.glob("*/adapter_model.safetensors"):
        twin = finished / "runs/smoke/adapters" / weights.parent.name / weights.name
        assert weights.read_bytes() == twin.read_bytes(), weights.parent.name
