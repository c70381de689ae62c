"""Estimates: start and steps told apart, cards worked out by hand, money, and a real tiny run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers import capacity, cli, corpus, estimates, finetuning, paths, speeds
from cqa_helpers.adapters import Adapter
from cqa_helpers.arms import TrainingRow
from cqa_helpers.params import Params

PRICES = {
    "as_of": "2026-01-01",
    "source": "a list",
    "usd_per_million_tokens": {"m": {"input": 0.0, "output": 30.0}},
}
LIVE = {
    "judge_id": "gpt4",
    "model": "m",
    "base_url": None,
    "key_variable": "SOME_KEY",
    "max_tokens": 1000,
    "budget_usd": 100.0,
}


@pytest.mark.parametrize("step", [0.002, 0.11, 3.0])
def test_the_start_and_the_steps_are_told_apart(
    small_params: Callable[..., Params],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: float,
) -> None:
    now, calls = [0.0], [0]

    def tune(local: Any, rows: Any, tuning: Any, seed: int, folder: Path) -> Adapter:
        now[0] += (9.0 if not calls[0] else 1.5) + step * tuning.steps
        calls[0] += 1
        return Adapter(folder, {})

    monkeypatch.setattr(finetuning, "tune", tune)
    rows = [TrainingRow("a", "p", "c")]
    start, each, _, steps = speeds._trained(
        small_params(),
        object(),
        rows,
        1,
        tmp_path,
        lambda: now[0],  # type: ignore[arg-type]
    )
    assert start == pytest.approx(1.5)
    assert each == pytest.approx(step)
    assert 20 <= steps < 250


def test_an_epochs_last_smaller_step_counts() -> None:
    rows = [TrainingRow(str(i), "one two", " three") for i in range(6)]

    def words(text: str) -> dict[str, list[str]]:
        return {"input_ids": text.split()}

    assert speeds.step_tokens(rows, words, 3) == 9
    assert speeds.step_tokens(rows, words, 4) == 9  # steps of four and of two rows
    assert speeds.step_tokens(rows[:2], words, 4) == 6


def test_operations_and_answers_of_a_card_are_those_worked_out_by_hand(
    small_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speeds, "notebook_start", lambda *_: (2.0, 1.0))
    shape = capacity.Shape(0, 1_000_000, 2, 64, 128, 4, 4, 10, False, 16, 0)
    plain = speeds.flops_a_token(shape, 100, False)
    assert plain == 4 * 1_000_000 + 6 * 2 * 64 * 100
    assert speeds.flops_a_token(shape, 100, True) == plain + 2 * 1_000_000 + 2 * 2 * 64 * 100
    need = capacity.need(shape, "bfloat16", 8, 1, 100, 10, False)
    choice = capacity.Choice("bfloat16", False, need, "")
    params = small_params()
    made = speeds.worked_out(params, "H100", shape, choice, {"reason-first": 400.0}, 50, 10)
    assert made.paces["reason-first"].step == pytest.approx(4 * 100 * plain / (989e12 * 0.35))
    slower = speeds.worked_out(params, "L4", shape, choice, {"reason-first": 400.0}, 50, 10)
    assert slower.paces["reason-first"].step > 8 * made.paces["reason-first"].step
    assert "not measured" in made.basis


def test_money_is_hours_times_price_and_no_judge_passes_its_budget(
    small_params: Callable[..., Params], tmp_path: Path
) -> None:
    params = small_params(judging={"live": [LIVE], "prices": PRICES})
    material = corpus.prepare(params, tmp_path)
    money = estimates.dollars(params, material, 1800, 3.0)
    assert money.machine == pytest.approx(1.5)
    assert money.judges == pytest.approx(16 * 3 * 1000 * 30 / 1e6)
    tight = small_params(judging={"live": [{**LIVE, "budget_usd": 0.1}], "prices": PRICES})
    assert estimates.dollars(tight, material, 1800, None) == (None, 0.1)
    priced = small_params(models={"usd_per_hour": 2.0})
    assert estimates.dollars(priced, material, 3600, None).machine == pytest.approx(2.0)


def test_a_tiny_model_is_measured_and_the_sums_are_sane(
    tiny_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speeds, "LONG_ENOUGH", 0.0)
    monkeypatch.setattr(speeds, "notebook_start", lambda *_: (2.0, 1.0))
    made, found = estimates.estimate(tiny_params, tmp_path, usd_per_hour=3.6)
    assert not (tmp_path / "adapters").exists()
    assert made.basis.startswith("measured here: 20 optimiser steps in 1 form")
    cells = [j for j in made.jobs if j.name.startswith("first-")]
    assert len(cells) == 2
    assert all(0 < j.training < 60 and j.asking > 0 for j in cells)
    assert max(j.seconds for j in made.jobs) < made.seconds
    assert made.seconds <= sum(j.seconds for j in made.jobs) + 1e-6
    assert made.money.machine == pytest.approx(made.seconds / 1000)
    shown = "\n".join(estimates.lines(made, found))
    assert "Fine-tuning:" in shown
    assert "first-cot-8" in shown


def test_a_card_that_is_not_here_is_worked_out_and_an_unknown_one_refused(
    small_params: Callable[..., Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speeds, "notebook_start", lambda *_: (2.0, 1.0))
    params = small_params(models={"base": "Qwen/Qwen2.5-7B", "device": "cuda", "precision": "auto"})
    by = {
        gpu: estimates.estimate(params, tmp_path, gpu=gpu)[0] for gpu in ("H200", "RTX4090", "T4")
    }
    assert by["H200"].training < by["RTX4090"].training < by["T4"].training
    assert by["H200"].memory.startswith("bfloat16 without")
    assert by["T4"].memory.startswith("nf4")
    with pytest.raises(estimates.EstimateError, match=r"'Abacus'\. There are: H200"):
        estimates.estimate(params, tmp_path, gpu="Abacus")


def test_without_the_device_and_without_a_card_the_next_step_is_named(
    small_params: Callable[..., Params], tmp_path: Path
) -> None:
    params = small_params(models={"base": "Qwen/Qwen2.5-7B", "device": "cuda"})
    import torch

    if torch.cuda.is_available():
        pytest.skip("the device is at hand here")
    with pytest.raises(estimates.EstimateError, match="--gpu H200"):
        estimates.estimate(params, tmp_path)


def test_rows_that_are_too_long_end_the_estimate_before_it_trains(
    tiny_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(speeds, "measured", never)
    assert tiny_params.tuning is not None
    short = tiny_params.tuning.model_copy(update={"max_length": 64})
    with pytest.raises(estimates.EstimateError, match=r"longer than tuning\.max_length"):
        estimates.estimate(tiny_params.model_copy(update={"tuning": short}), tmp_path)


def test_the_command_says_what_is_missing_and_ends_with_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["estimate", "no-such-profile"]) == 1
    assert "No profile" in capsys.readouterr().err
    monkeypatch.setattr(speeds, "notebook_start", lambda *_: (2.0, 1.0))
    assert cli.main(["estimate", "examples"]) == 0
    said = capsys.readouterr().out
    assert "no local model" in said
    assert not (paths.root() / "runs" / "examples" / "adapters").exists()
