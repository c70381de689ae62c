from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cqa_helpers import finetuning, models
from cqa_helpers.arms import TrainingRow
from cqa_helpers.finetuning import TuningError
from cqa_helpers.models import LocalModel
from cqa_helpers.params import Params, Tuning

ROWS = [
    TrainingRow("p1", "<s> <story> the inn at dawn . <rev_a>", " craft : verdict good ."),
    TrainingRow("p2", "<s> <story> a broken watch . <rev_a>", " craft : verdict bad ."),
    TrainingRow(
        "p3", "<s> <story> the tower at ten . <rev_a>", " craft : the watch , verdict bad ."
    ),
    TrainingRow("p4", "<s> <story> the chair . <rev_a>", " craft : verdict good ."),
]
PROBE = "<s> <story> the bridge . <rev_a> craft : verdict"


@pytest.fixture
def tuning(tiny_params: Params) -> Tuning:
    assert tiny_params.tuning is not None
    return tiny_params.tuning


def logits(local: LocalModel) -> torch.Tensor:
    ids = local.tokenizer(PROBE, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        return local.model(input_ids=ids).logits


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def same(one: Path, two: Path) -> bool:
    a, b = weights(one), weights(two)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_the_same_seed_gives_the_same_adapter_bit_for_bit_and_another_seed_another(
    tiny: LocalModel, tuning: Tuning, tmp_path: Path
) -> None:
    for name, seed in (("one", 1), ("other", 2), ("again", 1)):
        finetuning.tune(tiny, ROWS, tuning, seed, tmp_path / name)
    assert same(tmp_path / "one", tmp_path / "again")
    assert not same(tmp_path / "one", tmp_path / "other")
    first = next(k for k in weights(tmp_path / "one") if "lora_A" in k)
    a, b = weights(tmp_path / "one")[first], weights(tmp_path / "other")[first]
    assert not torch.equal(a, b)


def test_training_moves_the_adapter_and_leaves_the_base_as_it_was(
    tiny: LocalModel, tuning: Tuning, tmp_path: Path
) -> None:
    before = logits(tiny)
    bare = {k: v.clone() for k, v in tiny.model.state_dict().items()}
    texts = models.sample(tiny, [PROBE], temperature=1.0, max_new_tokens=6, seed=3)
    made = finetuning.tune(tiny, ROWS, tuning, 1, tmp_path / "one")
    assert torch.equal(logits(tiny), before)
    after = tiny.model.state_dict()
    assert after.keys() == bare.keys()
    assert all(torch.equal(after[k], bare[k]) for k in bare)
    assert models.sample(tiny, [PROBE], temperature=1.0, max_new_tokens=6, seed=3) == texts
    assert not tiny.model.training
    assert any(v.abs().max() > 0 for k, v in weights(made.folder).items() if "lora_B" in k)


def test_an_adapter_changes_the_outputs_and_taken_off_is_the_base_again(
    tiny: LocalModel, tuning: Tuning, tmp_path: Path
) -> None:
    before = logits(tiny)
    strong = tuning.model_copy(update={"learning_rate": 0.1, "steps": 4})
    made = finetuning.tune(tiny, ROWS, strong, 1, tmp_path / "one")
    tuned = finetuning.with_adapter(tiny, made.folder)
    changed = logits(tuned)
    assert not torch.allclose(changed, before, atol=1e-4)
    assert tuned.identity == f"{tiny.identity}+{models.weights_identity(made.folder)}"
    with tuned.model.disable_adapter():
        assert torch.equal(logits(tuned), before)
    back = finetuning.without(tuned, tiny)
    assert torch.equal(logits(back), before)
    # On again, it is the same tuned model: nothing of the first time is left.
    twice = finetuning.with_adapter(tiny, made.folder)
    assert torch.equal(logits(twice), changed)
    finetuning.without(twice, tiny)


def test_training_lowers_the_loss_on_what_is_taught(
    tiny: LocalModel, tuning: Tuning, tmp_path: Path
) -> None:
    longer = tuning.model_copy(update={"steps": 20, "learning_rate": 0.03})
    losses = finetuning.tune(tiny, ROWS, longer, 1, tmp_path / "one").record["losses"]
    assert len(losses) == 20
    assert losses[-1] < losses[0] - 0.5


def test_a_finished_adapter_is_not_trained_again(
    tiny: LocalModel, tuning: Tuning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = finetuning.tune(tiny, ROWS, tuning, 1, tmp_path / "one")
    when = (made.folder / "adapter_model.safetensors").stat().st_mtime_ns

    def never(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(finetuning, "audit", never)
    again = finetuning.tune(tiny, ROWS, tuning, 1, tmp_path / "one")
    assert again == made
    assert (made.folder / "adapter_model.safetensors").stat().st_mtime_ns == when


def test_the_recipe_covers_all_that_decides_the_weights(tuning: Tuning) -> None:
    base = finetuning.recipe(tuning, "base@1", ROWS, 1)
    assert finetuning.recipe(tuning, "base@1", ROWS, 1) == base
    longer = tuning.model_copy(update={"steps": 99})
    others = {
        finetuning.recipe(longer, "base@1", ROWS, 1),
        finetuning.recipe(tuning, "base@2", ROWS, 1),
        finetuning.recipe(tuning, "base@1", ROWS[::-1], 1),
        finetuning.recipe(tuning, "base@1", ROWS, 2),
    }
    assert len(others | {base}) == 5
    # Which other seeds and sizes are planned does not matter to this one.
    more = tuning.model_copy(update={"seeds": [1, 2, 3], "arms": {"cot": [4]}})
    assert finetuning.recipe(more, "base@1", ROWS, 1) == base


def test_what_a_kill_leaves_behind_is_ignored_and_the_result_is_the_same(
    tiny: LocalModel, tuning: Tuning, tmp_path: Path
) -> None:
    finetuning.tune(tiny, ROWS, tuning, 1, tmp_path / "whole")
    partial = tmp_path / ".cut.partial"
    partial.mkdir()
    (partial / "adapter_model.safetensors").write_bytes(b"half")
    (partial / "training.json").write_text("{}")
    made = finetuning.tune(tiny, ROWS, tuning, 1, tmp_path / "cut")
    assert same(tmp_path / "whole", made.folder)
    assert not partial.exists()


@pytest.mark.parametrize("harm", ["weights", "record", "other recipe"])
def test_an_adapter_that_was_cut_off_or_made_otherwise_does_not_count_as_finished(
    tiny: LocalModel, tuning: Tuning, tmp_path: Path, harm: str
) -> None:
    made = finetuning.tune(tiny, ROWS, tuning, 1, tmp_path / "one")
    wanted = made.record["recipe"]
    assert finetuning.finished(made.folder, wanted) == made
    if harm == "weights":
        file = made.folder / "adapter_model.safetensors"
        file.write_bytes(file.read_bytes()[:-10])
    elif harm == "record":
        (made.folder / "training.json").write_bytes(b"")
    else:
        wanted = "another"
    assert finetuning.finished(made.folder, wanted) is None


def test_no_folder_is_no_finished_adapter(tmp_path: Path) -> None:
    assert finetuning.finished(tmp_path / "none", "x") is None


def test_an_error_in_training_leaves_no_adapter_and_an_unchanged_base(
    tiny: LocalModel, tuning: Tuning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trl

    before = logits(tiny)

    def stopped(self: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trl.SFTTrainer, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        finetuning.tune(tiny, ROWS, tuning, 1, tmp_path / "one")
    assert not (tmp_path / "one").exists()
    assert torch.equal(logits(tiny), before)


def test_the_record_says_what_was_supervised(
    tiny: LocalModel, tuning: Tuning, tmp_path: Path
) -> None:
    record = finetuning.tune(tiny, ROWS, tuning, 1, tmp_path / "one").record
    # Words of the completions, and an end mark each.
    words = sum(len(row.completion.split()) + 1 for row in ROWS)
    assert record["supervised_tokens"] == words
    assert record["rows"] == len(ROWS)
    assert record["longest_row"] == max(len((r.prompt + r.completion).split()) + 1 for r in ROWS)
    assert record["base"] == tiny.identity
    assert json.loads((tmp_path / "one" / "training.json").read_text()) == record


def test_a_row_that_would_be_cut_off_is_refused(tiny: LocalModel) -> None:
    longest = max(len((r.prompt + r.completion).split()) + 1 for r in ROWS)
    assert finetuning.audit(ROWS, tiny.tokenizer, longest).longest == longest
    with pytest.raises(TuningError, match=r"p3: \d+ tokens with the end mark.*would be cut off"):
        finetuning.audit(ROWS, tiny.tokenizer, longest - 1)


@pytest.mark.parametrize("completion", ["", " ", "\n"])
def test_an_empty_completion_is_refused(tiny: LocalModel, completion: str) -> None:
    rows = [ROWS[0], TrainingRow("p9", "<s> a prompt", completion)]
    with pytest.raises(TuningError, match="p9: the completion has no token of its own"):
        finetuning.audit(rows, tiny.tokenizer, 100)


def test_no_rows_are_refused(tiny: LocalModel) -> None:
    with pytest.raises(TuningError, match="no training row"):
        finetuning.audit([], tiny.tokenizer, 100)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([[-100, 5, 3]], "2 rows went into tokenisation; 1 came out"),
        ([[-100, 5, 3], [-100, -100]], "1 of them without a supervised token"),
        ([[-100, 5, 3], [-100, 5]], "4 supervised tokens were counted and tokenisation made 3"),
    ],
)
def test_tokens_that_are_not_those_that_were_counted_stop_the_training(
    labels: list[list[int]], said: str
) -> None:
    counted = finetuning.Audit(rows=2, supervised_tokens=4, longest=3)
    with pytest.raises(TuningError, match=said):
        finetuning._check_tokenised({"labels": labels}, counted)


def test_a_loss_that_is_no_number_is_an_error(
    tiny: LocalModel, tuning: Tuning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trl

    lost = type("Outcome", (), {"training_loss": float("nan")})()
    monkeypatch.setattr(trl.SFTTrainer, "train", lambda self: lost)
    with pytest.raises(TuningError, match="training loss is nan"):
        finetuning.tune(tiny, ROWS, tuning, 1, tmp_path / "one")
    assert not (tmp_path / "one").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="4-bit training needs a CUDA device")
def test_a_4_bit_base_is_tuned_and_left_as_it_was(tiny_params: Params, tmp_path: Path) -> None:
    assert tiny_params.models is not None
    assert tiny_params.tuning is not None
    changes = {"precision": "nf4", "device": "cuda"}
    local = models.load(tiny_params.models.model_copy(update=changes))
    ids = local.tokenizer(PROBE, return_tensors="pt")["input_ids"].to("cuda")
    with torch.inference_mode():
        before = local.model(input_ids=ids).logits
    made = finetuning.tune(local, ROWS, tiny_params.tuning, 1, tmp_path / "one")
    tuned = finetuning.with_adapter(local, made.folder)
    finetuning.without(tuned, local)
    with torch.inference_mode():
        assert torch.equal(local.model(input_ids=ids).logits, before)
