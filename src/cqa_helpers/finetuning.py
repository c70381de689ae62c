"""LoRA fine-tuning with TRL and PEFT: guarded, seeded, and resumed by finished adapter.

An adapter's folder appears only when it is finished; a run that was killed starts that seed anew
and, on the same device, ends with the same weights.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cqa_helpers.arms import TrainingRow
from cqa_helpers.models import LocalModel, weights_identity
from cqa_helpers.params import Tuning, fingerprint
from cqa_helpers.provenance import Stopwatch


class TuningError(RuntimeError):
    """Training must not start, or did not learn anything."""


class Adapter(NamedTuple):
    """A finished adapter: its folder and what training recorded."""

    folder: Path
    record: dict[str, Any]


class Audit(NamedTuple):
    """What the rows look like as tokens: rows, supervised tokens, longest row."""

    rows: int
    supervised_tokens: int
    longest: int


def audit(rows: Sequence[TrainingRow], tokenizer: Any, max_length: int) -> Audit:
    """Count what will be supervised, before a second is spent.

    Raises
    ------
    TuningError
        No rows, a row without a supervised token, or one longer than ``max_length`` tokens.
    """
    if not rows:
        raise TuningError("There is no training row.")
    supervised, longest = 0, 0
    for row in rows:
        head = tokenizer(row.prompt)["input_ids"]
        # As TRL does it: the end mark is part of the completion, which begins where the tokens of
        # the prompt alone and of the whole part ways.
        whole = tokenizer(row.prompt + row.completion + tokenizer.eos_token)["input_ids"]
        start = next(
            (i for i, (a, b) in enumerate(zip(head, whole, strict=False)) if a != b), len(head)
        )
        own = len(whole) - start
        if own <= 1 or not row.completion.strip():
            raise TuningError(f"Passage {row.item_id}: the completion has no token of its own.")
        if len(whole) > max_length:
            raise TuningError(
                f"Passage {row.item_id}: {len(whole)} tokens with the end mark, and "
                f"tuning.max_length is {max_length}: the verdict would be cut off. Raise it."
            )
        supervised += own
        longest = max(longest, len(whole))
    return Audit(len(rows), supervised, longest)


def recipe(tuning: Tuning, base_identity: str, rows: Sequence[TrainingRow], seed: int) -> str:
    """Return the hash of all that decides an adapter's weights."""
    settings = tuning.model_dump(exclude={"arms", "seeds"})
    return fingerprint([settings, base_identity, [list(row) for row in rows], seed])


def finished(folder: Path, wanted: str) -> Adapter | None:
    """Return the adapter in a folder if it was finished with this recipe, else None.

    Weights that are not those that training recorded (cut off by a power loss, say) do not count.
    """
    path = folder / "training.json"
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # cut off by a power loss
        return None
    whole = record.get("recipe") == wanted and record.get("weights") == weights_identity(folder)
    return Adapter(folder, record) if whole else None


def tune(
    local: LocalModel, rows: Sequence[TrainingRow], tuning: Tuning, seed: int, folder: Path
) -> Adapter:
    """Train one adapter, or return it if it is finished; the base is left as it was.

    Raises
    ------
    TuningError
        A guard failed, TRL lost rows, or the loss is not a number.
    """
    wanted = recipe(tuning, local.identity, rows, seed)
    if done := finished(folder, wanted):
        return done
    counted = audit(rows, local.tokenizer, tuning.max_length)

    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed
    from transformers.utils import logging as transformers_logging
    from trl import SFTTrainer

    transformers_logging.disable_progress_bar()
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    watch = Stopwatch()
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
    data = Dataset.from_list([{"prompt": r.prompt, "completion": r.completion} for r in rows])
    try:
        with _no_progress():
            trainer = SFTTrainer(
                model=peft_model,
                args=_config(tuning, seed, partial, local),
                train_dataset=data,
                processing_class=local.tokenizer,
            )
            _check_tokenised(trainer.train_dataset, counted)
            outcome = trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        if not math.isfinite(outcome.training_loss) or not outcome.training_loss > 0:
            raise TuningError(f"The training loss is {outcome.training_loss}: nothing was learnt.")
        peft_model.save_pretrained(str(partial))
        tokens = int(trainer.state.num_input_tokens_seen or 0)
    finally:
        # The base is shared by all seeds: take the adapter out again.
        peft_model.unload()
        local.model.eval()
    record = {
        "recipe": wanted,
        "weights": weights_identity(partial),
        "base": local.identity,
        "seed": seed,
        "rows": counted.rows,
        "supervised_tokens": counted.supervised_tokens,
        "longest_row": counted.longest,
        "steps": tuning.steps,
        "tokens_seen": tokens or None,
        "losses": losses,
        "train_seconds": watch.seconds(),
    }
    (partial / "training.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    return Adapter(folder, record)


def with_adapter(local: LocalModel, folder: Path) -> LocalModel:
    """Return the base with an adapter switched on; take it off again with :func:`without`."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(local.model, str(folder))
    model.eval()
    return LocalModel(model, local.tokenizer, f"{local.identity}+{weights_identity(folder)}")


def without(tuned: LocalModel, base: LocalModel) -> LocalModel:
    """Take the adapter off; return the base, whose outputs are what they were before."""
    tuned.model.unload()
    base.model.eval()
    return base


def _check_tokenised(data: Any, counted: Audit) -> None:
    """Make sure that TRL's own tokens are those that were counted: no row lost, none emptied."""
    supervised = [sum(label != -100 for label in labels) for labels in data["labels"]]
    if len(supervised) != counted.rows or min(supervised) == 0:
        raise TuningError(
            f"{counted.rows} rows went into tokenisation; {len(supervised)} came out, "
            f"{supervised.count(0)} of them without a supervised token: nothing was trained."
        )
    if sum(supervised) != counted.supervised_tokens:
        raise TuningError(
            f"{counted.supervised_tokens} supervised tokens were counted and tokenisation made "
            f"{sum(supervised)}: nothing was trained."
        )


def _config(tuning: Tuning, seed: int, folder: Path, local: LocalModel) -> Any:
    import torch
    from trl import SFTConfig

    on_gpu = local.model.device.type == "cuda"
    return SFTConfig(
        output_dir=str(folder),
        max_steps=tuning.steps,
        per_device_train_batch_size=tuning.micro_batch_size,
        gradient_accumulation_steps=tuning.batch_size // tuning.micro_batch_size,
        activation_checkpointing=on_gpu,
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
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


@contextlib.contextmanager
def _no_progress() -> Any:
    """Keep the data sets library's bars and the Trainer's printed log out of the notebook."""
    import datasets

    datasets.disable_progress_bars()
    with open(os.devnull, "w") as sink, contextlib.redirect_stdout(sink):
        yield
