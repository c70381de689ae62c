"""Which of a few words a local model would write at a place: probabilities of whole words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cqa_helpers.models import LocalModel, ModelError, batches
from cqa_helpers.prefixes import padded, prefill


class Spot(NamedTuple):
    """A place in a text where a word from a closed set stands: the text before it.

    Spots of one ``row`` are places in one text.
    """

    row: int
    context: str


def distribution(
    local: LocalModel,
    spots: Sequence[Spot],
    words: Sequence[str],
    batch_size: int,
    labels: Sequence[Any] | None = None,
) -> NDArray[np.float64]:
    """Return P(word | context, one of the words) at each spot, shape (spots, words).

    Words are tokenised in place and scored over all their tokens; where each is one token there,
    one pass serves all of them. Spots of one row are read off one pass where they share a prefix;
    ``labels`` (one a spot) name spots whose texts begin alike, so that it is read once.

    Raises
    ------
    ModelError
        The tokenizer does not tell two of the words apart in place.
    """
    import torch

    prepared = [_in_place(local, spot.context, words) for spot in spots]
    # The last token of a word is predicted and never read.
    wanted = [
        (s, tokens[:-1]) for s, (_, variants) in enumerate(prepared) for tokens in variants
    ]  # fmt: skip
    sequences, homes = _share_prefixes([spots[s].row for s, _ in wanted], [t for _, t in wanted])
    of_sequence = {home: s for home, (s, _) in zip(homes, wanted, strict=True)}
    scores = np.zeros((len(spots), len(words)))
    for batch in batches(len(sequences), batch_size):
        chunk = sequences[batch]
        mine = [k for k, home in enumerate(homes) if batch.start <= home < batch.stop]
        ends = [
            sorted({
                end for k in mine if homes[k] == h
                for end in range(prepared[wanted[k][0]][0] - 1, len(wanted[k][1]))
            })
            for h in range(batch.start, batch.stop)
        ]  # fmt: skip
        named = None if labels is None else [labels[of_sequence[h]] for h in range(
            batch.start, batch.stop)]  # fmt: skip
        logits, place = _logits(local, chunk, ends, named)
        with torch.inference_mode():
            logs = logits.log_softmax(-1)
        for k in mine:
            s, home = wanted[k][0], homes[k] - batch.start
            at, variants = prepared[s]
            word = k % len(words)
            for end in range(at - 1, len(variants[word]) - 1):
                token = variants[word][end + 1]
                scores[s, word] += logs[home, place[home][end], token].item()
    odds = np.exp(scores - scores.max(axis=1, keepdims=True)) if len(spots) else scores
    return odds / odds.sum(axis=1, keepdims=True)


def choice_probabilities(
    local: LocalModel,
    spots: Sequence[Spot],
    words: Sequence[str],
    batch_size: int,
    labels: Sequence[Any] | None = None,
) -> NDArray[np.float64]:
    """Return P(last word | context, one of the words) at each spot, shape (spots,)."""
    return distribution(local, spots, words, batch_size, labels)[:, -1]


def _in_place(local: LocalModel, context: str, words: Sequence[str]) -> tuple[int, list[list[int]]]:
    """Return where the words' tokens part, and each word's tokens with the context's before."""
    variants = [local.tokenizer(context + word)["input_ids"] for word in words]
    short = min(map(len, variants))
    at = next((i for i in range(short) if len({v[i] for v in variants}) > 1), None)
    alike = {tuple(v[: len(w)]) == tuple(w) for v in variants for w in variants if v is not w}
    if at is None or True in alike:
        raise ModelError(f"The tokenizer does not tell {' from '.join(map(repr, words))} in place.")
    return at, variants


def _logits(
    local: LocalModel,
    rows: Sequence[list[int]],
    ends: Sequence[Sequence[int]],
    labels: Sequence[Any] | None,
) -> tuple[Any, list[dict[int, int]]]:
    """Return logits at the ends of each row, and where in them each end lies."""
    import torch

    begun = prefill(local, rows, labels, [min(e) for e in ends]) if len(rows) > 1 else None
    skipped = [0] * len(rows) if begun is None else begun.lengths
    ids, mask = padded([r[n:] for r, n in zip(rows, skipped, strict=True)], local, "right")
    kept = sorted({end - n for e, n in zip(ends, skipped, strict=True) for end in e})
    place = [{end: kept.index(end - n) for end in e} for e, n in zip(ends, skipped, strict=True)]
    more: dict[str, Any] = {}
    if begun is not None:
        start = torch.tensor(skipped, device=ids.device)[:, None]
        more = {
            "past_key_values": begun.cache,
            "position_ids": start + torch.arange(ids.shape[1], device=ids.device)[None],
        }
        mask = torch.cat([begun.mask, mask], dim=1)
    with torch.inference_mode():
        logits = local.model(
            input_ids=ids, attention_mask=mask,
            logits_to_keep=torch.tensor(kept, device=ids.device), **more,
        ).logits.float()  # fmt: skip
    return logits, place


def _share_prefixes(
    rows: Sequence[int], prefixes: Sequence[list[int]]
) -> tuple[list[list[int]], list[int]]:
    """Return the sequences to run and, for each prefix, which one it is read off."""
    sequences: list[list[int]] = []
    homes = [0] * len(prefixes)
    owner: list[int] = []
    for i in sorted(range(len(prefixes)), key=lambda i: (rows[i], -len(prefixes[i]))):
        last = len(sequences) - 1
        prefix = prefixes[i]
        if last >= 0 and owner[last] == rows[i] and sequences[last][: len(prefix)] == prefix:
            homes[i] = last
            continue
        sequences.append(prefix)
        owner.append(rows[i])
        homes[i] = len(sequences) - 1
    return sequences, homes
