"""Whether an adapter may leave: finished, whole, without code, and naming no place of a machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from cqa_helpers import bases, paths
from cqa_helpers.models import weights_identity

ADAPTER = "adapter_model.safetensors"
# What makes a loader fetch and run code, in a config of transformers or peft.
_CODE = ("auto_map", "auto_mapping")


class ExportError(ValueError):
    """The adapter is not exported; the message says why and what to do."""


def check(folder: Path) -> dict[str, Any]:
    """Return what training recorded of a finished adapter that may leave.

    Raises
    ------
    ExportError
        It is not finished or not whole, something in its folder could run code when it is loaded,
        or its weights are not numbers.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        record: dict[str, Any] = json.loads((folder / "training.json").read_text(encoding="utf-8"))
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        whole = record["weights"] == weights_identity(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ExportError(
            f"{folder} holds no finished adapter ({error}): run notebook 02-fine-tune for it first."
        ) from None
    if not whole:
        raise ExportError(f"{folder}/{ADAPTER} is not what training wrote: it was cut off or "
                          "changed. Remove the folder and run notebook 02-fine-tune.")  # fmt: skip
    unsafe = [p for pattern in (*bases.PICKLED, "*.py") for p in folder.rglob(pattern)]
    if unsafe:
        names = ", ".join(sorted(str(p.relative_to(folder)) for p in unsafe))
        raise ExportError(
            f"{folder} holds {names}: pickles and code can run when they are read, so no folder "
            "with any is exported. Remove what is not yours."
        )
    if own := sorted(_own_code(config)):
        raise ExportError(f"{folder}/adapter_config.json would have code loaded from elsewhere "
                          f"({', '.join(own)}): it is not exported.")  # fmt: skip
    try:
        weights = load_file(folder / ADAPTER)
    except SafetensorError as error:
        raise ExportError(f"{folder}/{ADAPTER} is not safetensors ({error}).") from None
    if bad := [k for k, v in weights.items() if not bool(torch.isfinite(v).all())]:
        raise ExportError(f"{folder}: {len(bad)} of {len(weights)} weights are not numbers, the "
                          f"first is {bad[0]}: train it again.")  # fmt: skip
    return record


def portable(name: str) -> str:
    """Return a base's name as it means the same on another machine.

    A hub id, or a folder below the repository, stays; of a place on this machine only the last
    part is left.
    """
    root = paths.root()
    if PurePosixPath(name).is_absolute() and Path(name).is_relative_to(root):
        return Path(name).relative_to(root).as_posix()
    foreign = PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or name[0] in "~\\"
    if foreign or ".." in re.split(r"[/\\]", name):
        return re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    return name


def places(folder: Path, *others: Path) -> list[str]:
    """Return where the texts of a folder name a place of this machine, as ``file: place``.

    Looked for are the repository, the home, the folder's own place, and ``others``.
    """
    here = {str(p) for p in (paths.root(), Path.home(), folder.resolve().parent, *others)} - {"/"}
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix != ".safetensors" and p.is_file()):
        text = path.read_text(encoding="utf-8", errors="replace")
        named = (p for p in sorted(here) if re.search(re.escape(p) + r"(?![\w.-])", text))
        found += [f"{path.relative_to(folder)}: {p}" for p in named]
    return found


def _own_code(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        yield from (str(k) for k, v in config.items() if k in _CODE and v)
    held = config.values() if isinstance(config, dict) else config
    for value in held if isinstance(config, dict | list) else ():
        yield from _own_code(value)
