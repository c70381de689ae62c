"""Broken set-ups are found before a second is spent, and each line says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers import checks, cli, corpus, doctor, splits
from cqa_helpers.corpus import Corpus
from cqa_helpers.doctor import Check
from cqa_helpers.hardware import Machine
from cqa_helpers.params import Params

ROOMY = Machine(4, 32.0, 30.0, 100.0, None, None, None, None, None)
PRICES = {
    "as_of": "2026-01-01",
    "source": "a list",
    "usd_per_million_tokens": {"m": {"input": 1.0, "output": 1.0}},
}
LIVE = {
    "judge_id": "gpt4",
    "model": "m",
    "base_url": None,
    "key_variable": "SOME_KEY",
    "max_tokens": 100,
    "budget_usd": 1.0,
}


def look(params: Params, where: Path, **more: Any) -> dict[str, Check]:
    found = doctor.examine(params, where, **{"machine": ROOMY, "variables": {}, **more})
    assert all(c.todo for c in found.checks if c.ok is not True)
    return {c.name.strip(): c for c in found.checks}


def test_a_whole_set_up_passes_and_nothing_is_left_behind(
    small_params: Callable[..., Params], tmp_path: Path
) -> None:
    found = doctor.examine(small_params(), tmp_path / "run", machine=ROOMY)
    assert not doctor.failed(found.checks), list(doctor.lines(found.checks))
    assert not (tmp_path / "run").exists()
    assert found.choice is not None
    assert set(found.tokens) == {"first-cot-4", "first-cot-8"}
    assert found.material is not None
    assert len(found.material.split.test) == 16


def test_rows_that_are_too_long_fail_with_their_lengths(
    small_params: Callable[..., Params], tmp_path: Path
) -> None:
    by = look(small_params(tuning={"max_length": 150}), tmp_path)
    for cell in ("first-cot-4", "first-cot-8"):
        assert by[f"rows of {cell}"].ok is False
        assert "are longer than tuning.max_length" in by[f"rows of {cell}"].said
    kept = look(small_params(tuning={"max_length": 190, "too_long": "refuse"}), tmp_path)
    assert any(c.ok is False for n, c in kept.items() if n.startswith("rows"))


def test_a_missing_key_fails_and_a_key_is_never_printed(
    small_params: Callable[..., Params], tmp_path: Path
) -> None:
    params = small_params(judging={"live": [LIVE], "prices": PRICES})
    by = look(params, tmp_path)
    assert by["key of gpt4"].ok is False
    assert "SOME_KEY" in by["key of gpt4"].todo
    secret = "a-value-that-nobody-may-see"
    found = doctor.examine(params, tmp_path, machine=ROOMY, variables={"SOME_KEY": secret})
    shown = "\n".join(doctor.lines(found.checks))
    assert "SOME_KEY is set" in shown
    assert secret not in shown


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dialect": "nowhere"}, "No dialect 'nowhere'"),
        ({"dialect": "rubric", "form": "verdict-only"}, "form verdict-only"),
    ],
)
def test_prompts_that_are_not_there_fail_before_a_run_does(
    small_params: Callable[..., Params], tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    live = [{**LIVE, **changes}]
    found = look(small_params(judging={"live": live, "prices": PRICES}), tmp_path)
    assert found["prompts of gpt4"].ok is False
    assert said in found["prompts of gpt4"].said
    assert found["prices"].ok is None
    good = look(small_params(judging={"live": [LIVE], "prices": PRICES}), tmp_path)
    assert good["prompts of gpt4"].ok is True


def test_a_leaking_split_fails(
    small_params: Callable[..., Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaky(params: Params) -> Corpus:
        made = corpus._rehearsal(params)
        train = (*made.split.train[:-1], made.split.test[0])
        return made._replace(split=splits.Split(train, made.split.test))

    monkeypatch.setitem(corpus._SOURCES, "rehearsal", leaky)
    by = look(small_params(), tmp_path)
    assert by["split"].ok is False
    assert "in training and in test" in by["split"].said
    assert "data" not in by


def test_a_golden_set_that_is_not_there_fails(
    small_params: Callable[..., Params], tmp_path: Path
) -> None:
    params = small_params(
        corpus={"source": "golden", "folder": str(tmp_path), "people": None, "n_pairs": 0}
    )
    by = look(params, tmp_path)
    assert by["data"].ok is False
    assert "passages.jsonl" in by["data"].said


def test_more_annotations_than_there_are_fail(
    small_params: Callable[..., Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poor(params: Params) -> Corpus:
        made = corpus._rehearsal(params)
        few = [a for a in made.annotations if a.passage_id in made.split.train[:5]]
        return made._replace(annotations=few)

    monkeypatch.setitem(corpus._SOURCES, "rehearsal", poor)
    by = look(small_params(), tmp_path)
    assert by["rows of first-cot-8"].ok is False
    assert "asks for 8 annotations and there are 5" in by["rows of first-cot-8"].said
    assert "rows of first-cot-4" not in by


@pytest.mark.parametrize("harm", ["pickled", "empty", "code"])
def test_a_base_that_could_run_code_fails(
    small_params: Callable[..., Params], tiny_folder: Path, tmp_path: Path, harm: str
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for file in tiny_folder.iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    if harm == "code":
        config = json.loads((base / "config.json").read_text())
        config["auto_map"] = {"AutoModelForCausalLM": "own.Model"}
        (base / "config.json").write_text(json.dumps(config))
    else:
        (base / "model.safetensors").unlink()
        if harm == "pickled":
            (base / "pytorch_model.bin").write_bytes(b"x")
    by = look(small_params(models={"base": str(base)}), tmp_path)
    check = by["code" if harm == "code" else "weights"]
    assert check.ok is False
    assert {"pickled": "pytorch_model.bin", "empty": "nothing", "code": "AutoModel"}[harm] in (
        check.said
    )


def test_a_base_to_be_downloaded_is_a_note_with_its_size(
    small_params: Callable[..., Params], tmp_path: Path
) -> None:
    pinned = {"base": "Qwen/Qwen2.5-7B", "precision": "auto", "revision": "f" * 40}
    big = ROOMY._replace(gpu="a card", gpu_total_gib=80.0, gpu_free_gib=79.0)
    by = look(small_params(models={**pinned, "device": "cuda"}), tmp_path, machine=big)
    if by["base Qwen/Qwen2.5-7B"].ok is True:
        pytest.skip("this machine has the base in its cache")
    assert by["base Qwen/Qwen2.5-7B"].ok is None
    assert "14 GiB to be downloaded" in by["base Qwen/Qwen2.5-7B"].said
    assert by["licence"].ok is None
    assert by["licence"].said.startswith("unknown")
    assert by["revision"].ok is True
    assert "bfloat16 without gradient checkpointing" in by["memory"].said
    assert by["rows"].ok is None
    loose = look(small_params(models={**pinned, "revision": None, "device": "cuda"}), tmp_path)
    assert loose["revision"].ok is None
    assert loose["device"].ok is False
    assert loose["memory"].ok is None


def test_a_hub_that_does_not_answer_fails(
    small_params: Callable[..., Params], tmp_path: Path
) -> None:
    def hub(name: str, revision: str | None) -> Any:
        raise ConnectionError("a long story")

    params = small_params(models={"base": "Nobody/Nothing"})
    by = look(params, tmp_path, hub=hub)
    assert by["base Nobody/Nothing"].ok is False
    assert "ConnectionError" in by["base Nobody/Nothing"].said


def test_too_little_memory_or_disk_fails(
    small_params: Callable[..., Params], tmp_path: Path
) -> None:
    by = look(small_params(), tmp_path, machine=ROOMY._replace(ram_free_gib=0.5))
    assert by["memory"].ok is False
    assert "needs" in by["memory"].said
    by = look(small_params(), tmp_path, machine=ROOMY._replace(disk_free_gib=0.1))
    assert by["disk"].ok is False
    assert "4 adapters" in by["disk"].said


def test_libraries_below_the_declared_floor_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def older(name: str) -> str:
        if name == "tqdm":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "peft" else real(name)

    monkeypatch.setattr(metadata, "version", older)
    by = {c.name: c for c in checks.environment(ROOMY)}
    assert by["libraries"].ok is False
    assert "peft is 0.1 (asked for: >=" in by["libraries"].said
    assert "tqdm is missing" in by["libraries"].said


def test_the_command_ends_with_1_only_if_a_check_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = [Check("a", True, "fine"), Check("b", None, "who knows", "look")]
    monkeypatch.setattr(doctor, "environment", lambda machine: outcome)
    assert cli.main(["doctor"]) == 0
    assert "note  b  who knows\n         → look\n" in capsys.readouterr().out
    outcome.append(Check("c", False, "broken", "mend it"))
    assert cli.main(["doctor"]) == 1
    assert "FAIL  c  broken\n         → mend it\n" in capsys.readouterr().out
    assert cli.main(["doctor", "no-such-profile"]) == 1
    assert "No profile 'no-such-profile'" in capsys.readouterr().err
