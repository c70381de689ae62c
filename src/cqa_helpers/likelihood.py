"""How likely a model finds a text after a prompt: log2 p(text | prompt), bits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cqa_helpers.models import LocalModel, batches


class LikelihoodError(ValueError):
    """A text cannot be scored."""


def bits(
    local: LocalModel, prompts: Sequence[str], texts: Sequence[str], batch_size: int
) -> NDArray[np.float64]:
    """Return log2 p(text | prompt), summed over the text's own tokens; at most zero.

    Prompt and text are tokenised apart and joined by a space, so that a text has the same tokens
    after every prompt and its scores can be compared over prompts.

    Raises
    ------
    LikelihoodError
        A prompt or text without a token, or longer together than the model reads.
    """
    import torch

    rows = []
    for prompt, text in zip(prompts, texts, strict=True):
        before = local.tokenizer(prompt)["input_ids"]
        own = local.tokenizer(" " + text, add_special_tokens=False)["input_ids"]
        if not own or not before:
            raise LikelihoodError(f"Nothing to score in {text[:40]!r} after {prompt[:40]!r}.")
        rows.append((before + own, len(before)))
    most = getattr(local.model.config, "max_position_embeddings", None)
    longest = max((len(ids) for ids, _ in rows), default=0)
    if most is not None and longest > most:
        raise LikelihoodError(
            f"A text with its prompt has {longest} tokens and the model reads {most}: leave the "
            "longest out, or name a base with a longer context."
        )
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    scores = np.empty(len(rows))
    device = local.model.device
    for batch in batches(len(rows), batch_size):
        chosen = order[batch]
        width = max(len(rows[i][0]) for i in chosen)
        first = min(rows[i][1] for i in chosen) - 1
        ids = torch.full((len(chosen), width), local.tokenizer.pad_token_id)
        mask = torch.zeros((len(chosen), width), dtype=torch.long)
        for r, i in enumerate(chosen):
            ids[r, : len(rows[i][0])] = torch.tensor(rows[i][0])
            mask[r, : len(rows[i][0])] = 1
        ids, mask = ids.to(device), mask.to(device)
        with torch.inference_mode():
            # Over a large vocabulary, the logits of whole passages would not fit into memory.
            kept = torch.arange(first, width - 1, device=device)
            logits = local.model(input_ids=ids, attention_mask=mask, logits_to_keep=kept).logits
            losses = torch.nn.functional.cross_entropy(
                logits.float().transpose(1, 2), ids[:, first + 1 :], reduction="none"
            )
        for r, i in enumerate(chosen):
            whole, start = rows[i]
            own_losses = losses[r, start - 1 - first : len(whole) - 1 - first]
            scores[i] = -float(own_losses.double().sum()) / math.log(2)
    return scores


def untrained(local: LocalModel, seed: int) -> LocalModel:
    """Return a model of the same shape with random weights: what architecture alone can do."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(local.model.config, trust_remote_code=False)
    model.to(device=local.model.device, dtype=local.model.dtype).eval()
    return LocalModel(model, local.tokenizer, f"{local.identity}, random weights, seed {seed}")
