"""Local causal language models: load, sample, and read probabilities off them.

torch and transformers are imported when first needed: a profile without local models never pays
for them.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cqa_helpers.params import Models, fingerprint
from cqa_helpers.prefixes import padded, prefill
from cqa_helpers.weights import (
    ModelError,
    device_of,
    first_line,
    folder_of,
    identity,
    precision_of,
    weights_identity,
)

if TYPE_CHECKING:
    import torch

__all__ = [
    "LocalModel", "ModelError", "batches", "device_of", "encode", "identity", "load",
    "load_tokenizer", "precision_of", "quiet", "sample", "seed_of", "weights_identity",
]  # fmt: skip


class LocalModel(NamedTuple):
    """A loaded model, its tokenizer, and what identifies its weights."""

    model: Any
    tokenizer: Any
    identity: str


def load(spec: Models, base: str | None = None) -> LocalModel:
    """Load a base model in the declared precision, from safetensors and without remote code.

    ``base`` overrides ``spec.base``; a path below the repository is loaded from disk, all else
    is a hub id at ``spec.revision``.

    Raises
    ------
    ModelError
        Not on disk and not to be had from the hub, its files are damaged or not safetensors, or
        the device or precision is not there.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    torch.set_num_threads(spec.threads)
    name, where = base or spec.base, folder_of(spec, base)
    device, precision = device_of(spec), precision_of(spec, base)
    options: dict[str, Any] = {
        "dtype": torch.float32 if precision == "float32" else torch.bfloat16,
        "use_safetensors": True,
        "trust_remote_code": False,
    }
    if precision == "nf4":
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        options["device_map"] = {"": device}
    tokenizer = load_tokenizer(spec, base)
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(str(where), **options)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(
            f"Base model {name!r} in {where} cannot be loaded ({first_line(error)}). Only whole "
            "safetensors files are read and no code that comes with a model is run: delete the "
            "folder and let it be fetched again, or name another base."
        ) from None
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"Base model {name!r} does not fit into the memory of the card in {precision} "
            f"({first_line(error)}). Set models.precision to nf4, or use a larger card."
        ) from None
    if precision != "nf4":
        model = model.to(device)
    model.eval()
    return LocalModel(model, tokenizer, identity(spec, base))


def load_tokenizer(spec: Models, base: str | None = None) -> Any:
    """Load a base model's tokenizer alone, padding on the left.

    Raises
    ------
    ModelError
        It is not there, or not whole.
    """
    from transformers import AutoTokenizer

    where = folder_of(spec, base)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(where), padding_side="left", trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The tokenizer of {base or spec.base!r} in {where} cannot be loaded "
            f"({first_line(error)}). Delete the folder and let it be fetched again."
        ) from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def batches(n: int, size: int) -> Iterator[slice]:
    """Yield slices that cut n rows into batches, always in the same places."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def sample(
    local: LocalModel,
    prompts: Sequence[str],
    *,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    stops: Sequence[str] = (),
    labels: Sequence[Any] | None = None,
) -> list[str]:
    """Complete a batch of prompts; temperature 0 is greedy.

    A completion ends at one of ``stops``. Neighbours with an equal label begin alike, and their
    beginning is read once. Equal prompts in equal order with an equal seed give equal texts on
    one device.
    """
    import torch
    from transformers import GenerationConfig, StoppingCriteriaList

    inputs = encode(local, prompts)
    rows = [
        ids[mask.bool()].tolist()
        for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    ]
    if begun := prefill(local, rows, labels) if len(rows) > 1 else None:
        ids, mask = padded(
            [row[n:] for row, n in zip(rows, begun.lengths, strict=True)], local, "left"
        )
        inputs = {
            "input_ids": torch.cat([begun.ids, ids], dim=1),
            "attention_mask": torch.cat([begun.mask, mask], dim=1),
            "past_key_values": begun.cache,
        }
    drawn = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}
    config = GenerationConfig(
        do_sample=temperature > 0,
        **drawn,
        max_new_tokens=max_new_tokens,
        pad_token_id=local.tokenizer.pad_token_id,
        eos_token_id=local.tokenizer.eos_token_id,
        bos_token_id=local.tokenizer.bos_token_id,
    )

    def over(ids: torch.Tensor, _: Any, **__: Any) -> torch.Tensor:
        # A stop is at most as many tokens as bytes; the library's own search for stop strings
        # fails on vocabularies of whole words.
        tails = _decode(local, ids[:, -max(len(stop.encode()) for stop in stops) :])
        ended = [any(stop in tail for stop in stops) for tail in tails]
        return torch.tensor(ended, device=ids.device)

    torch.manual_seed(seed)
    with torch.inference_mode():
        output = local.model.generate(
            **inputs, generation_config=config,
            stopping_criteria=StoppingCriteriaList([over] if stops else []),
        )  # fmt: skip
    new = output[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in _decode(local, new)]


def encode(local: LocalModel, texts: Sequence[str]) -> dict[str, Any]:
    """Return padded ids and mask on the model's device."""
    out = local.tokenizer(list(texts), return_tensors="pt", padding=True, padding_side="left")
    return {k: out[k].to(local.model.device) for k in ("input_ids", "attention_mask")}


def quiet() -> None:
    """Keep hub and tokenizer chatter out of notebooks; call before transformers is imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # bitsandbytes tells of kernels that only 4-bit on CPU would use; TRL and transformers of
    # names they will change. Neither is news to a reader of the notebook.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)


def seed_of(*parts: object) -> int:
    """Return a 31-bit seed from whatever names a draw, the same on every machine."""
    return int(fingerprint([str(part) for part in parts])[:8], 16) & 0x7FFFFFFF


def _decode(local: LocalModel, ids: torch.Tensor) -> list[str]:
    return local.tokenizer.batch_decode(
        ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
