"""Where the weights of a base lie, what identifies them, and in which precision they are loaded."""

from __future__ import annotations

import contextlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from cqa_helpers import capacity, hardware, paths
from cqa_helpers.params import Models, fingerprint
from cqa_helpers.provenance import sha256

# What is fetched of a model on the hub: no pickled weights, no code.
PATTERNS = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "LICENSE*", "README.md"]


class ModelError(RuntimeError):
    """A model cannot be had or loaded as the params ask."""


def folder_of(spec: Models, base: str | None = None) -> Path:
    """Return the folder of a base: one of the repository, or the hub's snapshot, fetched once.

    A snapshot that is in the hub's cache is used without asking the network.

    Raises
    ------
    ModelError
        Neither on disk nor to be had from the hub.
    """
    name = base or spec.base
    folder = paths.at(name)
    if folder.is_dir():
        return folder
    import huggingface_hub

    # The cache is asked for these files too: one that lacks a file never fetched counts as cut off.
    wanted: dict[str, Any] = {"revision": spec.revision, "allow_patterns": PATTERNS}
    with contextlib.suppress(OSError, ValueError):
        found = Path(huggingface_hub.snapshot_download(name, local_files_only=True, **wanted))
        if whole(found):
            return found
    device_of(spec)  # before gigabytes are fetched for a card that is not there
    try:
        found = Path(huggingface_hub.snapshot_download(name, **wanted))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"Base model {name!r} is neither a folder of the repository nor to be had from the "
            f"hub ({first_line(error)}). Give a local folder in models.base, or connect to the "
            "network."
        ) from None
    if not whole(found):
        raise ModelError(
            f"Base model {name!r} has no whole set of safetensors on the hub ({found}). Pickled "
            "weights are not read: name a base that is published as safetensors."
        )
    return found


def whole(folder: Path) -> bool:
    """Whether a folder holds a config and all safetensors that its index names."""
    if not (folder / "config.json").is_file():
        return False
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return (folder / "model.safetensors").is_file()
    shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return all((folder / shard).is_file() for shard in shards)


def identity(spec: Models, base: str | None = None) -> str:
    """Return what identifies a base: name, hash of weights and tokenizer or commit, precision."""
    name = base or spec.base
    if not paths.at(name).is_dir() and re.fullmatch(r"[0-9a-f]{40}", spec.revision or ""):
        # A pinned commit says it all: a run with full records is replayed without the weights.
        return f"{name}@{spec.revision}/{precision_of(spec, base)}"
    where = folder_of(spec, base)
    if where.parent.name == "snapshots":  # of the hub's cache: named by the commit
        tag = where.name
    else:
        kept = ("config.json", "tokenizer.json", "tokenizer_config.json")
        files = [*sorted(where.glob("*.safetensors")), *(where / k for k in kept)]
        tag = fingerprint([[f.name, _hash(f, f.stat().st_mtime_ns)] for f in files if f.is_file()])
    return f"{name}@{tag}/{precision_of(spec, base)}"


def precision_of(spec: Models, base: str | None = None) -> str:
    """Return the precision of the weights; ``auto`` is settled by the device and its memory.

    It is settled by the card's whole memory and not by what is free, so that every notebook of a
    run settles it alike.
    """
    if spec.precision != "auto":
        return spec.precision
    if device_of(spec) == "cpu":
        return "float32"
    from transformers import AutoConfig

    shape = capacity.shape_of(AutoConfig.from_pretrained(str(folder_of(spec, base))))
    return capacity.choose(shape, hardware.machine().gpu_total_gib).precision


def device_of(spec: Models) -> str:
    """Return the device to use: ``cuda`` or ``cpu``.

    Raises
    ------
    ModelError
        ``cuda`` is asked for and there is none.
    """
    import torch

    if spec.device == "cuda" and not torch.cuda.is_available():
        raise ModelError("models.device is cuda and this machine has no CUDA device.")
    if spec.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return spec.device


def weights_identity(folder: Path) -> str:
    """Return the first 16 hexadecimal digits of the sha256 of an adapter's weights."""
    return sha256(folder / "adapter_model.safetensors")[:16]


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@lru_cache
def _hash(file: Path, changed_ns: int) -> str:
    return sha256(file)
