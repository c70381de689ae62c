"""What is known of a base model before it is loaded: where it lies, its shape, files and licence.

Nothing is downloaded here, and no network is asked unless a caller hands in the hub.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cqa_helpers import capacity, paths
from cqa_helpers.hardware import GIB
from cqa_helpers.params import Models

Where = Literal["repository", "cache", "hub"]
# (name, revision) -> what the hub says of it, as huggingface_hub's ModelInfo.
Hub = Callable[[str, str | None], Any]

PERMISSIVE = (
    "apache-2.0", "mit", "bsd-3-clause", "bsd-2-clause", "isc", "cc0-1.0", "cc-by-4.0", "unlicense",
)  # fmt: skip
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
# The config.json that these bases are published with, as far as memory and time hang on it: so
# that a machine can be judged before 15 GB are downloaded.
PUBLISHED: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-7B": {
        "model_type": "qwen2",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
    },
}


class Known(NamedTuple):
    """What is known of a base; null where nothing is.

    ``weights`` are its safetensors files and ``pickled`` those that could run code when read;
    ``own_code`` is what the config would have transformers run; ``gib`` what it takes on disk or
    what must be downloaded; ``shape_error`` says why there is no shape.
    """

    name: str
    where: Where
    folder: Path | None
    commit: str | None
    shape: capacity.Shape | None
    shape_error: str | None
    licence: str | None
    weights: tuple[str, ...] | None
    pickled: tuple[str, ...]
    own_code: tuple[str, ...]
    gib: float | None


def known(spec: Models, base: str | None = None, hub: Hub | None = None) -> Known:
    """Return what is known of a base; ``hub`` is asked only for one that is not on disk."""
    name = base or spec.base
    folder = paths.at(name)
    if folder.is_dir():
        return _on_disk(name, "repository", folder)
    if cached := _cached(name, spec.revision):
        return _on_disk(name, "cache", cached)
    config = PUBLISHED.get(name)
    shape, error = _shape(config) if config else (None, "its config.json is not on disk")
    gib = capacity.weights_bytes(shape, "bfloat16") / GIB if shape else None
    there = Known(name, "hub", None, None, shape, error, None, None, (), (), gib)
    return there if hub is None else _from_hub(there, hub(name, spec.revision))


def permissive(licence: str) -> bool:
    """Return whether a licence is on the list of those that let weights be tuned and passed on."""
    return any(
        re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", licence.lower()) for name in PERMISSIVE
    )


def _cached(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except ValueError:  # not a name that a hub could have
        return None
    return Path(found).parent if isinstance(found, str) else None


def _on_disk(name: str, where: Where, folder: Path) -> Known:
    config: dict[str, Any] = {}
    file = folder / "config.json"
    problem = "it has no config.json"
    if file.is_file():
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            problem = "its config.json is not JSON"
    shape, error = _shape(config) if config else (None, problem)
    held = [f for f in folder.iterdir() if f.is_file()]
    pickled = {f.name for pattern in PICKLED for f in folder.glob(pattern)}
    return Known(
        name=name,
        where=where,
        folder=folder,
        commit=folder.name if where == "cache" else None,
        shape=shape,
        shape_error=error,
        licence=_licence(folder, where),
        weights=tuple(sorted(f.name for f in folder.glob("*.safetensors"))),
        pickled=tuple(sorted(pickled)),
        own_code=tuple(sorted(config.get("auto_map", {}))),
        gib=sum(f.stat().st_size for f in held) / GIB,
    )


def _shape(config: dict[str, Any]) -> tuple[capacity.Shape | None, str | None]:
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    if kind not in capacity.KNOWN:
        return None, f"the needs of model type {kind!r} are not known here"
    return capacity.shape_of(CONFIG_MAPPING[kind].from_dict(config)), None


def _licence(folder: Path, where: Where) -> str | None:
    """Return the licence that a model card states: its header's, or its table's; else None."""
    cards = [folder / "README.md"]
    if where == "repository":
        cards.append(folder.parent / "README.md")
    for card in cards:
        if not card.is_file():
            continue
        text = card.read_text(encoding="utf-8", errors="replace")
        found = re.search(r"^\|?[ \t]*licen[cs]e[ \t]*[:|][ \t]*(\S[^|\n]*)", text, re.I | re.M)
        if found:
            return found[1].strip()
    return None


def _from_hub(there: Known, info: Any) -> Known:
    files = {f.rfilename: f.size for f in info.siblings or []}
    card = info.card_data or {}
    wanted = [n for n in files if n.endswith(".safetensors")]
    pickled = [n for n in files if any(Path(n).match(pattern) for pattern in PICKLED)]
    sizes = [files[n] for n in wanted]
    return there._replace(
        commit=info.sha,
        licence=card.get("license") or None,
        weights=tuple(sorted(wanted)),
        pickled=tuple(sorted(pickled)),
        own_code=tuple(sorted((info.config or {}).get("auto_map", {}))),
        gib=sum(sizes) / GIB if sizes and all(sizes) else there.gib,
    )
