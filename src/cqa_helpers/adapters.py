"""Finished adapters: what one is, which recipe it was made by, and putting it on a base."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cqa_helpers.arms import TrainingRow
from cqa_helpers.models import LocalModel, ModelError, weights_identity
from cqa_helpers.params import Tuning, fingerprint

# What is planned, shown or saved beside the weights does not decide them.
_BESIDE = {
    "arms", "seeds", "equal_tokens", "nested", "checkpoints", "activation_checkpointing",
    "tensorboard",
}  # fmt: skip


class Adapter(NamedTuple):
    """A finished adapter: its folder and what training recorded."""

    folder: Path
    record: dict[str, Any]


def recipe(tuning: Tuning, base_identity: str, rows: Sequence[TrainingRow], seed: int) -> str:
    """Return the hash of all that decides an adapter's weights."""
    settings = tuning.model_dump(exclude=_BESIDE)
    return fingerprint([settings, base_identity, [list(row) for row in rows], seed])


def finished(folder: Path, wanted: str) -> Adapter | None:
    """Return the adapter in a folder if it was finished with this recipe, else None.

    Weights that are not those that training recorded (cut off by a power loss, say) do not count.
    """
    path = folder / "training.json"
    if not path.is_file() or not (folder / "adapter_model.safetensors").is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # cut off by a power loss
        return None
    whole = record.get("recipe") == wanted and record.get("weights") == weights_identity(folder)
    return Adapter(folder, record) if whole else None


def with_adapter(local: LocalModel, folder: Path) -> LocalModel:
    """Return the base with an adapter switched on; take it off again with :func:`without`.

    Raises
    ------
    ModelError
        No safetensors in the folder: PEFT would read pickled weights, or ask the hub.
    """
    from peft import PeftModel

    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(
            f"{folder} holds no adapter_model.safetensors, and nothing else is read as an "
            "adapter: delete the folder and run notebook 02-fine-tune again."
        )
    model = PeftModel.from_pretrained(local.model, str(folder))
    model.eval()
    return LocalModel(model, local.tokenizer, f"{local.identity}+{weights_identity(folder)}")


def without(tuned: LocalModel, base: LocalModel) -> LocalModel:
    """Take the adapter off; return the base, whose outputs are what they were before."""
    tuned.model.unload()
    base.model.eval()
    return base
