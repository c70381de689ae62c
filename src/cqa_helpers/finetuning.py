"""LoRA fine-tuning with TRL and PEFT: guarded, seeded, and resumed by finished adapter.

An adapter's folder appears only when it is finished; a run that was killed starts that seed anew
and, on the same device, ends with the same weights.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cqa_helpers import capacity, hardware
from cqa_helpers.adapters import Adapter, finished, recipe, with_adapter, without
from cqa_helpers.arms import TrainingRow
from cqa_helpers.models import LocalModel, weights_identity
from cqa_helpers.params import Tuning
from cqa_helpers.provenance import Stopwatch
from cqa_helpers.supervision import Audit, TuningError, audit, check_tokenised, cut

__all__ = [
    "Adapter", "Audit", "TuningError", "audit", "finished", "recipe", "tune", "way", "with_adapter",
    "without",
]  # fmt: skip


def tune(
    local: LocalModel, rows: Sequence[TrainingRow], tuning: Tuning, seed: int, folder: Path
) -> Adapter:
    """Train one adapter, or return it if it is finished; the base is left as it was.

    Raises
    ------
    TuningError
        A guard failed, TRL lost rows, memory or disk ran out, or the loss is not a number. What
        was finished before stays.
    """
    wanted = recipe(tuning, local.identity, rows, seed)
    if done := finished(folder, wanted):
        return done
    whole = list(rows)
    if tuning.too_long == "cut":
        rows = cut(rows, local.tokenizer, tuning.max_length)
    counted = audit(rows, local.tokenizer, tuning.max_length)
    counted = counted._replace(cut=sum(a != b for a, b in zip(rows, whole, strict=True)))
    chosen = way(local, tuning, counted)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _imported()
    watch = Stopwatch()
    with _explained(folder, tuning):
        outcome = _train(local, rows, tuning, seed, partial, counted, chosen.checkpointing)
        record = {
            "recipe": wanted,
            "weights": weights_identity(partial),
            "base": local.identity,
            "seed": seed,
            "rows": counted.rows,
            "rows_cut": counted.cut,
            "supervised_tokens": counted.supervised_tokens,
            "longest_row": counted.longest,
            "steps": tuning.steps,
            **outcome,
            "memory": chosen.why,
            "train_seconds": watch.seconds(),
        }
        (partial / "training.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    return Adapter(folder, record)


def _imported() -> None:
    """Import what trains: seconds that are not training's."""
    from datasets import Dataset  # noqa: F401
    from peft import LoraConfig, get_peft_model  # noqa: F401
    from trl import SFTConfig, SFTTrainer  # noqa: F401


def way(local: LocalModel, tuning: Tuning, counted: Audit) -> capacity.Choice:
    """Return whether activations are recomputed to save memory, what is needed, and why.

    Settled by the card's whole memory: another process's use of it must not change what is run.

    Raises
    ------
    TuningError
        The training does not fit: what is short and what to change.
    """
    machine = hardware.machine()
    on_gpu = local.model.device.type == "cuda"
    try:
        return capacity.choose(
            capacity.shape_of(local.model.config),
            machine.gpu_total_gib if on_gpu else machine.ram_gib,
            precision=local.identity.rsplit("/", 1)[-1],
            checkpointing=tuning.activation_checkpointing,
            rank=tuning.lora_rank,
            micro_batch=tuning.micro_batch_size,
            length=counted.longest,
            supervised=math.ceil(counted.supervised_tokens / counted.rows),
            dropout=tuning.lora_dropout > 0,
            device=local.model.device.type,
        )
    except capacity.CapacityError as error:
        raise TuningError(str(error)) from None


def _train(
    local: LocalModel,
    rows: Sequence[TrainingRow],
    tuning: Tuning,
    seed: int,
    partial: Path,
    counted: Audit,
    checkpointing: bool,
) -> dict[str, Any]:
    """Train into a folder that is not there yet; return losses, tokens and share of padding."""
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed
    from transformers.utils import logging as transformers_logging
    from trl import SFTTrainer

    transformers_logging.disable_progress_bar()
    # PEFT draws the adapter's weights when it is made, which is before the Trainer seeds.
    set_seed(seed)
    peft_model = get_peft_model(
        local.model,
        LoraConfig(
            r=tuning.lora_rank,
            lora_alpha=tuning.lora_alpha,
            lora_dropout=tuning.lora_dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    # The name of the base travels with the adapter, never the place where it lay.
    peft_model.peft_config["default"].base_model_name_or_path = local.identity.split("@")[0]
    data = Dataset.from_list([{"prompt": r.prompt, "completion": r.completion} for r in rows])
    try:
        with _no_progress():
            trainer = SFTTrainer(
                model=peft_model,
                args=_config(tuning, seed, partial, local, checkpointing),
                train_dataset=data,
                processing_class=local.tokenizer,
                callbacks=[_keeper(tuning, partial)],
            )
            check_tokenised(trainer.train_dataset, counted)
            outcome = trainer.train()
        if not math.isfinite(outcome.training_loss) or not outcome.training_loss > 0:
            raise _no_loss(outcome.training_loss, tuning)
        _save(peft_model, partial)
        tokens = trainer.state.num_input_tokens_seen
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    finally:
        # The base is shared by all seeds: take the adapter out again.
        peft_model.unload()
        local.model.eval()
    return {"tokens_seen": int(tokens) if tokens else None, "losses": losses}


def _save(peft_model: Any, folder: Path) -> None:
    # The embeddings are not tuned, and to look whether they changed would ask the hub.
    peft_model.save_pretrained(str(folder), save_embedding_layers=False)
    # PEFT's card is an empty form; an export writes one that says something.
    (folder / "README.md").unlink(missing_ok=True)


def _keeper(tuning: Tuning, folder: Path) -> Any:
    """Return a callback that keeps adapters on the way and stops at a loss that is no number."""
    from transformers import TrainerCallback

    kept = {round(tuning.steps * k / tuning.checkpoints) for k in range(1, tuning.checkpoints)}

    class Keeper(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            loss = (logs or {}).get("loss")
            if loss is not None and not math.isfinite(loss):
                raise _no_loss(loss, tuning, state.global_step)

        def on_step_end(
            self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
        ) -> None:
            if state.global_step in kept - {0, tuning.steps}:
                _save(model, folder / "checkpoints" / f"step-{state.global_step}")

    return Keeper()


def _no_loss(loss: float, tuning: Tuning, step: int | None = None) -> TuningError:
    where = "" if step is None else f" at step {step} of {tuning.steps}"
    return TuningError(
        f"The training loss is {loss}{where}: nothing was learnt, and no adapter is kept. Lower "
        f"tuning.learning_rate ({tuning.learning_rate}) or lengthen tuning.warmup_steps "
        f"({tuning.warmup_steps})."
    )


@contextlib.contextmanager
def _explained(folder: Path, tuning: Tuning) -> Iterator[None]:
    """Say in a sentence what a full disk or a full memory means for the run."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TuningError(
            f"Out of memory while training {folder.name} ({str(error).splitlines()[0]}). Set "
            f"tuning.activation_checkpointing to on, micro_batch_size to 1 (it is "
            f"{tuning.micro_batch_size}), lower max_length, or set models.precision to nf4. "
            "Finished adapters are kept."
        ) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        free = shutil.disk_usage(folder.parent).free / 2**30
        raise TuningError(
            f"The disk that holds {folder.parent} is full ({free:.1f} GiB free): {folder.name} "
            "could not be written. Make room and run again: finished adapters are kept, this one "
            "is begun anew."
        ) from None


def _config(tuning: Tuning, seed: int, folder: Path, local: LocalModel, checkpointing: bool) -> Any:
    import torch
    from trl import SFTConfig

    on_gpu = local.model.device.type == "cuda"
    if tuning.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise TuningError(
            "tuning.tensorboard is true and the package tensorboard is not installed: install it, "
            "or set tensorboard to false. The loss curve is in the notebook either way."
        )
    return SFTConfig(
        output_dir=str(folder),
        max_steps=tuning.steps,
        per_device_train_batch_size=tuning.micro_batch_size,
        gradient_accumulation_steps=tuning.batch_size // tuning.micro_batch_size,
        activation_checkpointing=checkpointing,
        learning_rate=tuning.learning_rate,
        lr_scheduler_type=tuning.schedule,
        warmup_steps=tuning.warmup_steps,
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch",
        max_length=tuning.max_length,
        completion_only_loss=True,
        packing=False,
        seed=seed,
        data_seed=seed,
        bf16=on_gpu and next(local.model.parameters()).dtype == torch.bfloat16,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        include_num_input_tokens_seen="all",
        logging_strategy="steps",
        logging_steps=max(1, tuning.steps // 20),
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="tensorboard" if tuning.tensorboard else "none",
        disable_tqdm=True,
    )


@contextlib.contextmanager
def _no_progress() -> Iterator[None]:
    """Keep the data sets library's bars and the Trainer's printed log out of the notebook."""
    import datasets

    datasets.disable_progress_bars()
    with open(os.devnull, "w") as sink, contextlib.redirect_stdout(sink):
        yield
