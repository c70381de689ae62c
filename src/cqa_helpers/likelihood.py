"""How likely a model finds a text after a prompt: log2 p(text | prompt), bits.

Below it, what all scoring of texts rests on: the bits of tokens after what stands before them,
what rows of tokens begin with in common read once, and logits only where they are asked for.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cqa_helpers.models import LocalModel, batches

# Tokens read in one pass, and logits held at once: on a CPU what its caches hold, on a GPU what
# keeps it busy (our choice).
TOKENS = {"cpu": 512, "cuda": 16384}
LOGITS = {"cpu": 2**20, "cuda": 2**26}
# Of a pass, at most this share is padding (our choice).
MOST_PADDING = 0.05


class LikelihoodError(ValueError):
    """A text cannot be scored."""


class Row(NamedTuple):
    """Token ids; those from ``start`` on are scored, and at least one stands before them."""

    ids: list[int]
    start: int


def bits(
    local: LocalModel, prompts: Sequence[str], texts: Sequence[str], batch_size: int
) -> NDArray[np.float64]:
    """Return log2 p(text | prompt), summed over the text's own tokens; at most zero.

    Prompt and text are tokenised apart and joined by a space, so that a text has the same tokens
    after every prompt and its scores can be compared over prompts. No more tokens are read in one
    pass than ``batch_size`` of the longest texts have.

    Raises
    ------
    LikelihoodError
        A prompt or text without a token, or longer together than the model reads; probabilities
        that are no numbers.
    """
    rows = []
    for prompt, text in zip(prompts, texts, strict=True):
        before = local.tokenizer(prompt)["input_ids"]
        own = local.tokenizer(" " + text, add_special_tokens=False)["input_ids"]
        if not own or not before:
            raise LikelihoodError(f"Nothing to score in {text[:40]!r} after {prompt[:40]!r}.")
        rows.append(Row(before + own, len(before)))
    most = getattr(local.model.config, "max_position_embeddings", None)
    longest = max((len(row.ids) for row in rows), default=0)
    if most is not None and longest > most:
        raise LikelihoodError(
            f"A text with its prompt has {longest} tokens and the model reads {most}: leave the "
            "longest out, or name a base with a longer context."
        )
    found = surprisals(local, rows, batch_size * longest)
    scores = np.array([-tokens.sum() for tokens in found])
    if not np.isfinite(scores).all():
        bad = texts[int(np.flatnonzero(~np.isfinite(scores))[0])]
        raise LikelihoodError(f"The probability of {bad[:40]!r} is no number: check the weights.")
    return scores


def untrained(local: LocalModel, seed: int) -> LocalModel:
    """Return a model of the same shape with random weights: what architecture alone can do."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(local.model.config, trust_remote_code=False)
    model.to(device=local.model.device, dtype=local.model.dtype).eval()
    return LocalModel(model, local.tokenizer, f"{local.identity}, random weights, seed {seed}")


def surprisals(
    local: LocalModel, rows: Sequence[Row], batch_tokens: int | None = None, *, packed: bool = True
) -> list[NDArray[np.float64]]:
    """Return −log2 p of each row's tokens from its start on, after all that stand before them.

    With ``packed``, what rows begin with in common is read once where the model allows it and it
    saves work. Only the positions asked for become logits, a chunk at a time.
    """
    import torch

    model = local.model
    device = model.device
    kind = "cuda" if device.type == "cuda" else "cpu"
    states_of, head = _parts(model)
    # The last token of a row predicts nothing.
    read = [row.ids[:-1] for row in rows]
    width = model.config.hidden_size if packed and _can_pack(model) else None
    packs = _packs(read, width, batch_tokens or TOKENS[kind])
    ids_end = 1 + max((max(row.ids) for row in rows), default=0)
    chunk = max(64, LOGITS[kind] // getattr(model.config, "vocab_size", ids_end))
    found: list[NDArray[np.float64]] = [np.empty(0)] * len(rows)
    waiting = []
    for batch in _batched(packs, batch_tokens or TOKENS[kind]):
        inputs, shape = _inputs(batch, read, model)
        at, wanted, back = _places(batch, rows, shape[1], ids_end)
        with torch.inference_mode():
            states = states_of(torch.from_numpy(at).to(device), **inputs)
            ids = torch.from_numpy(wanted).to(device)[:, None]
            nats = [
                logits.logsumexp(-1) - logits.gather(1, ids[part])[:, 0]
                for part in batches(len(at), chunk)
                for logits in [head(states[part]).float()]
            ]
            waiting.append((torch.cat(nats), back, [r for pack in batch for r in pack.rows]))
    # A GPU is not waited for before all is under way.
    for values, back, read_now in waiting:
        nat = values.double().cpu().numpy()[back]
        ends = np.cumsum([len(rows[r].ids) - rows[r].start for r in read_now])
        for r, part in zip(read_now, np.split(nat, ends[:-1]), strict=True):
            found[r] = part / math.log(2)
    # What is no number in one row spoils those packed with it: only alone do they tell whose it is.
    spoilt = [r for r, tokens in enumerate(found) if not np.isfinite(tokens).all()]
    if spoilt and width is not None:
        again = surprisals(local, [rows[r] for r in spoilt], batch_tokens, packed=False)
        for r, part in zip(spoilt, again, strict=True):
            found[r] = part
    return found


class _Pack(NamedTuple):
    """Rows read as one: their common beginning, then what is left of each, one after another.

    A row's token ``t`` stands at ``t`` in the common beginning, and at ``t + offset`` after it.
    """

    rows: list[int]
    common: int
    offsets: list[int]
    length: int


def _packs(read: Sequence[list[int]], width: int | None, most: int) -> list[_Pack]:
    """Return rows packed where that costs less than reading each alone.

    A token costs its matrix products, and attention to what the kernel goes over: a whole pack,
    half of a row alone. With 24 w² operations a layer for the first (w the model's width) and 4 w
    a token for the second, that is 1 + L / 6w and 1 + L / 12w.
    """

    def cost(length: int, packed: bool) -> float:
        return length * (1 + length / ((6 if packed else 12) * (width or 1)))

    packs: list[_Pack] = []
    for r in sorted(range(len(read)), key=lambda r: read[r]):
        if packs and width is not None:
            last = packs[-1]
            near = _alike(read[last.rows[-1]], read[r])
            joined = _pack(read, [*last.rows, r], min(near, last.common))
            apart = cost(last.length, len(last.rows) > 1) + cost(len(read[r]), False)
            if joined.length <= most and cost(joined.length, True) < apart:
                packs[-1] = joined
                continue
        packs.append(_pack(read, [r], len(read[r])))
    return packs


def _alike(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many tokens two rows begin with in common."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))


def _pack(read: Sequence[list[int]], rows: list[int], common: int) -> _Pack:
    offsets, length = [], common
    for r in rows:
        offsets.append(length - common)
        length += len(read[r]) - common
    return _Pack(rows, common, offsets, length)


def _batched(packs: Sequence[_Pack], most: int) -> Iterator[list[_Pack]]:
    """Yield packs of like length, never packed ones with others, longest first."""
    batch: list[_Pack] = []
    held = 0
    for pack in sorted(packs, key=lambda p: (len(p.rows) > 1, p.length), reverse=True):
        if batch:
            area = (len(batch) + 1) * batch[0].length
            mixed = (len(pack.rows) > 1) != (len(batch[0].rows) > 1)
            # A pass that is hardly filled costs more than padding.
            padded = held > most / 8 and area - held - pack.length > MOST_PADDING * area
            if mixed or area > most or padded:
                yield batch
                batch, held = [], 0
        batch.append(pack)
        held += pack.length
    if batch:
        yield batch


def _places(
    batch: Sequence[_Pack], rows: Sequence[Row], width: int, ids_end: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return what a pass is asked: places in it, the token at each, and which one a row's are.

    Rows that begin alike ask for the same there, once.
    """
    where, targets = [], []
    for b, pack in enumerate(batch):
        for r, offset in zip(pack.rows, pack.offsets, strict=True):
            at = np.arange(rows[r].start - 1, len(rows[r].ids) - 1)
            where.append(b * width + np.where(at < pack.common, at, at + offset))
            targets.append(np.array(rows[r].ids[rows[r].start :]))
    keys, back = np.unique(
        np.concatenate(where) * ids_end + np.concatenate(targets), return_inverse=True
    )
    return *np.divmod(keys, ids_end), back


def _inputs(
    batch: Sequence[_Pack], read: Sequence[list[int]], model: Any
) -> tuple[dict[str, Any], tuple[int, int]]:
    """Return what a pass reads, padded on the right, where no real token looks."""
    import torch

    device = model.device
    shape = (len(batch), max(pack.length for pack in batch))
    ids = np.zeros(shape, dtype=np.int64)
    if all(len(pack.rows) == 1 for pack in batch):
        for b, pack in enumerate(batch):
            ids[b, : pack.length] = read[pack.rows[0]]
        return {"input_ids": torch.from_numpy(ids).to(device)}, shape
    places, parts = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for b, pack in enumerate(batch):
        for n, (r, offset) in enumerate(zip(pack.rows, pack.offsets, strict=True), start=1):
            own = slice(pack.common + offset, len(read[r]) + offset)
            ids[b, : pack.common] = read[r][: pack.common]
            ids[b, own] = read[r][pack.common :]
            parts[b, own] = n
            places[b, own] = np.arange(pack.common, len(read[r]))
        places[b, : pack.common] = np.arange(pack.common)
    part = torch.from_numpy(parts).to(device)
    order = torch.arange(shape[1], device=device)
    seen = (part[:, None] == 0) | (part[:, None] == part[:, :, None])
    seen &= order[None] <= order[:, None]
    mask = torch.zeros(seen.shape, dtype=model.dtype, device=device)
    mask.masked_fill_(~seen, torch.finfo(model.dtype).min)
    return {
        "input_ids": torch.from_numpy(ids).to(device),
        "position_ids": torch.from_numpy(places).to(device),
        "attention_mask": mask[:, None],
    }, shape


def _parts(model: Any) -> tuple[Callable[..., Any], Callable[[Any], Any]]:
    """Return what gives the model's last states at places of a pass, and its head.

    Where the head does more than its matrix product, the first gives logits, and the second
    nothing more: logits of all columns that one row of a pass needs are then held at once.
    """
    import torch

    def whole(at: Any, *, input_ids: Any, attention_mask: Any = None, **more: Any) -> Any:
        rows, columns = at // input_ids.shape[1], at % input_ids.shape[1]
        kept, places = columns.unique(return_inverse=True)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        logits = model(input_ids=input_ids, attention_mask=mask, logits_to_keep=kept, **more).logits
        return logits[rows, places]

    decoder: Any = model.get_decoder() if hasattr(model, "get_decoder") else None
    head = model.get_output_embeddings() if decoder is not None else None
    if head is None or getattr(model.config, "final_logit_softcapping", None):
        return whole, lambda logits: logits

    def states(at: Any, **inputs: Any) -> Any:
        return decoder(**inputs, use_cache=False).last_hidden_state.flatten(0, 1)[at]

    few = torch.arange(4, device=model.device)
    ids = few[None] % model.config.vocab_size
    with torch.inference_mode():
        given, wanted = head(states(few, input_ids=ids)), whole(few, input_ids=ids)
    # What is no number here is none in either, and is told of where a text meets it.
    same = torch.allclose(given, wanted, rtol=1e-4, equal_nan=True)
    return (states, head) if same else (whole, lambda logits: logits)


def _can_pack(model: Any) -> bool:
    """Whether all that a token knows of the others is given by a mask and by positions."""
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    slides = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    known = inspect.signature(getattr(decoder, "forward", decoder)).parameters
    return (
        kinds == {"full_attention"}
        and not slides
        and not getattr(config, "alibi", False)
        and getattr(config, "_attn_implementation", None) in ("sdpa", "eager")
        and {"position_ids", "attention_mask"} <= set(known)
    )
