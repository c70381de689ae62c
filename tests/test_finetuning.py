from __future__ import annotations

import errno
import importlib.util
import json
import signal
import subprocess
import sys
import time
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


def test_a_context_of_64_tokens_stops_before_anything_is_trained(
    tiny: LocalModel, tuning: Tuning, tmp_path: Path
) -> None:
    long = [r._replace(prompt=r.prompt + " the inn" * 40) for r in ROWS]
    short = tuning.model_copy(update={"max_length": 64})
    with pytest.raises(TuningError, match=r"4 of 4 rows are longer than tuning.max_length \(64"):
        finetuning.tune(tiny, long, short, 1, tmp_path / "one")
    assert list(tmp_path.iterdir()) == []
    allowed = short.model_copy(update={"too_long": "cut"})
    record = finetuning.tune(tiny, long, allowed, 1, tmp_path / "one").record
    assert record["rows_cut"] == 4
    assert record["longest_row"] <= 64


def test_adapters_are_kept_on_the_way_and_the_last_is_the_result(
    tiny: LocalModel, tuning: Tuning, tmp_path: Path
) -> None:
    longer = tuning.model_copy(update={"steps": 6, "checkpoints": 3})
    made = finetuning.tune(tiny, ROWS, longer, 1, tmp_path / "one")
    kept = sorted((made.folder / "checkpoints").iterdir())
    assert [k.name for k in kept] == ["step-2", "step-4"]
    assert not same(kept[0], kept[1])
    assert not same(kept[1], made.folder)
    # What is kept beside the result does not decide it.
    bare = longer.model_copy(update={"checkpoints": 1})
    assert finetuning.recipe(bare, tiny.identity, ROWS, 1) == made.record["recipe"]
    again = finetuning.tune(tiny, ROWS, bare, 1, tmp_path / "two")
    assert not (again.folder / "checkpoints").exists()
    assert same(made.folder, again.folder)


def test_what_an_adapter_says_of_its_base_is_a_name_and_no_place(
    tiny: LocalModel, tuning: Tuning, tmp_path: Path
) -> None:
    named = tiny._replace(identity="data/rehearsal/base@0123/float32")
    made = finetuning.tune(named, ROWS, tuning, 1, tmp_path / "one")
    said = json.loads((made.folder / "adapter_config.json").read_text())
    assert said["base_model_name_or_path"] == "data/rehearsal/base"
    assert sorted(f.name for f in made.folder.iterdir() if f.is_file()) == [
        "adapter_config.json", "adapter_model.safetensors", "training.json"
    ]  # fmt: skip


def test_a_loss_that_runs_away_stops_at_that_step(
    tiny: LocalModel, tuning: Tuning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trl

    real = trl.SFTTrainer.compute_loss
    seen: list[int] = []

    def broken(self: Any, *args: Any, **more: Any) -> torch.Tensor:
        seen.append(self.state.global_step)
        return real(self, *args, **more) * float("nan")

    monkeypatch.setattr(trl.SFTTrainer, "compute_loss", broken)
    longer = tuning.model_copy(update={"steps": 20})
    before = logits(tiny)
    with pytest.raises(TuningError, match=r"loss is nan at step 1 of 20.*Lower tuning.l"):
        finetuning.tune(tiny, ROWS, longer, 1, tmp_path / "one")
    assert max(seen) == 0
    assert not (tmp_path / "one").exists()
    assert torch.equal(logits(tiny), before)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), r"Out of memory.*micro_batch_size"),
        (
            OSError(errno.ENOSPC, "No space left"),
            "is full .*GiB free.*finished adapters are kept",
        ),
    ],
)
def test_no_memory_and_no_disk_are_sentences_and_finished_work_stays(
    tiny: LocalModel,
    tuning: Tuning,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
    said: str,
) -> None:
    import peft

    done = finetuning.tune(tiny, ROWS, tuning, 1, tmp_path / "one")

    def stop(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(peft.PeftModel, "save_pretrained", stop)
    with pytest.raises(TuningError, match=said):
        finetuning.tune(tiny, ROWS, tuning, 2, tmp_path / "two")
    assert not (tmp_path / "two").exists()
    assert finetuning.finished(done.folder, done.record["recipe"])


def test_another_error_of_the_disk_keeps_its_own_words(
    tiny: LocalModel, tuning: Tuning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import peft

    def stop(*_: Any, **__: Any) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(peft.PeftModel, "save_pretrained", stop)
    with pytest.raises(OSError, match="Permission denied"):
        finetuning.tune(tiny, ROWS, tuning, 2, tmp_path / "two")


def test_tensorboard_files_are_written_if_asked_or_the_missing_package_is_named(
    tiny: LocalModel, tuning: Tuning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tuning.model_copy(update={"tensorboard": True})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TuningError, match="package tensorboard is not installed"):
        finetuning.tune(tiny, ROWS, asked, 1, tmp_path / "one")


def test_a_pickled_adapter_is_not_read(tiny: LocalModel, tuning: Tuning, tmp_path: Path) -> None:
    made = finetuning.tune(tiny, ROWS, tuning, 1, tmp_path / "one")
    kept = load_file(made.folder / "adapter_model.safetensors")
    (made.folder / "adapter_model.safetensors").unlink()
    torch.save(kept, made.folder / "adapter_model.bin")
    with pytest.raises(
        models.ModelError, match=r"no adapter_model\.safetensors.*delete the folder"
    ):
        finetuning.with_adapter(tiny, made.folder)


KILLED = """
import json
import sys
from pathlib import Path
from cqa_helpers import finetuning, models
from cqa_helpers.arms import TrainingRow
from cqa_helpers.params import Models, Tuning

spec = Models.model_validate_json(sys.argv[1])
tuning = Tuning.model_validate_json(sys.argv[2])
rows = [TrainingRow(*r) for r in json.loads(sys.argv[3])]
local = models.load(spec)
print("ready", flush=True)
finetuning.tune(local, rows, tuning, 1, Path(sys.argv[4]))
"""


def test_a_training_that_is_killed_and_run_again_ends_with_the_same_bits(
    tiny: LocalModel, tiny_params: Params, tuning: Tuning, tmp_path: Path
) -> None:
    assert tiny_params.models is not None
    longer = tuning.model_copy(update={"steps": 400, "checkpoints": 40})
    asked = [tiny_params.models.model_dump_json(), longer.model_dump_json(), json.dumps(ROWS)]
    run = [sys.executable, "-c", KILLED, *asked]
    victim = subprocess.Popen([*run, str(tmp_path / "one")])
    begun = tmp_path / ".one.partial" / "checkpoints"
    while not begun.is_dir() and victim.poll() is None:
        time.sleep(0.02)
    victim.kill()
    assert victim.wait() == -signal.SIGKILL
    assert not (tmp_path / "one").exists()
    for name in ("one", "whole"):
        finetuning.tune(tiny, ROWS, longer, 1, tmp_path / name)
    assert same(tmp_path / "one", tmp_path / "whole")
    assert not (tmp_path / ".one.partial").exists()
