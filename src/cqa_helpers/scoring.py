"""How surprising a model finds each token of a text after a prefix: −log2 p, in bits.

A prefix that does not end in whitespace is ended by a newline, and a tokenizer's own opening token
stands once before it. A token belongs to the text if what it covers, leading whitespace apart,
begins at the seam or after it; one that reaches over the seam all the same is scored with the text
and flagged (our choice).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cqa_helpers.likelihood import Row, surprisals
from cqa_helpers.models import LocalModel


class SurpriseError(ValueError):
    """A text cannot be scored."""


class Asked(NamedTuple):
    """A text, and what stands before it."""

    prefix: str
    text: str


class Bits(NamedTuple):
    """Bits of each token of a text, shape (T,), and the characters it covers, (T, 2), in the text.

    ``straddles``: the first token also covers characters of the prefix. ``varies``: the text has
    other tokens here than after another of the prefixes that it was asked with. ``windows``: in
    how many pieces it was read.
    """

    bits: NDArray[np.float64]
    spans: NDArray[np.int64]
    n_chars: int
    straddles: bool
    windows: int
    varies: bool = False

    @property
    def total(self) -> float:
        """Return −log2 p(text | prefix), in bits."""
        return float(self.bits.sum())


def score(
    local: LocalModel,
    asked: Sequence[Asked],
    *,
    batch_tokens: int | None = None,
    too_long: Literal["refuse", "window"] = "refuse",
    stride: int | None = None,
) -> list[Bits]:
    """Return the bits of each text after its prefix, text tokens only.

    A text that with its prefix is longer than the model reads is refused, or with
    ``too_long="window"`` read in windows that each begin with the whole prefix and go on by
    ``stride`` tokens; each token is scored once, with as much of the text before it as fits.

    Raises
    ------
    SurpriseError
        An empty text or blank prefix, an empty one where the tokenizer has no opening token, a
        text too long, a tokenizer without offsets, or probabilities that are no numbers.
    """
    if too_long not in ("refuse", "window") or (too_long == "window") != (stride is not None):
        raise SurpriseError("Give too_long='window' with a stride, or 'refuse' without one.")
    if not asked:
        return []
    texts = tokenised(local.tokenizer, asked)
    limit = getattr(local.model.config, "max_position_embeddings", None)
    rows, owners = [], []
    for i, text in enumerate(texts):
        for row in _windows(text.row, limit, stride, asked[i]):
            rows.append(row)
            owners.append(i)
    parts: list[list[NDArray[np.float64]]] = [[] for _ in asked]
    for owner, found in zip(owners, surprisals(local, rows, batch_tokens), strict=True):
        if not np.isfinite(found).all():
            raise SurpriseError(
                f"{_named(asked[owner])}: the model gives probabilities that are no numbers. "
                "Check its weights and adapter, or read it in float32."
            )
        parts[owner].append(found)
    variants: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for question, text in zip(asked, texts, strict=True):
        variants[question.text].add(tuple(text.row.ids[text.row.start :]))
    return [
        Bits(np.concatenate(part), text.spans, len(question.text), text.straddles, len(part),
             len(variants[question.text]) > 1)
        for question, text, part in zip(asked, texts, parts, strict=True)
    ]  # fmt: skip


class Tokenised(NamedTuple):
    """A prefix and text as tokens, the characters of the text that each of its own covers."""

    row: Row
    spans: NDArray[np.int64]
    straddles: bool


def tokenised(tokenizer: Any, asked: Sequence[Asked]) -> list[Tokenised]:
    """Return prefixes and texts as tokens, in one piece each.

    Raises
    ------
    SurpriseError
        See :func:`score`.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise SurpriseError(
            "The tokenizer does not say which characters a token covers, so that prefix and text "
            "cannot be told apart: use the fast tokenizer of this model."
        )
    for question in asked:
        if not question.text.strip():
            raise SurpriseError(f"{_named(question)}: the text is empty.")
        if question.prefix and not question.prefix.strip():
            raise SurpriseError(f"{_named(question)}: the prefix is blank. Give words, or ''.")
    opening = _opening(tokenizer)
    heads = [p if not p or p[-1].isspace() else p + "\n" for p, _ in asked]
    out = tokenizer(
        [head + text for head, (_, text) in zip(heads, asked, strict=True)],
        add_special_tokens=False, return_offsets_mapping=True,
    )  # fmt: skip
    found = []
    for i, (head, question) in enumerate(zip(heads, asked, strict=True)):
        ids, offsets = out["input_ids"][i], np.array(out["offset_mapping"][i], dtype=np.int64)
        seam = len(head)
        offsets = offsets.reshape(-1, 2)
        own = np.flatnonzero((offsets[:, 0] >= seam) | (offsets[:, 1] > seam))
        if len(own) == 0:
            raise SurpriseError(f"{_named(question)}: the text has no token of its own.")
        start, before = int(own[0]), opening
        straddles = bool(head[offsets[start, 0] : seam].strip())
        if start == 0 and not before and tokenizer.bos_token_id is not None:
            before = [tokenizer.bos_token_id]
        if ids[: len(before)] == before and start >= len(before):
            before = []
        if start + len(before) == 0:
            raise SurpriseError(
                f"{_named(question)}: nothing stands before the first token, and the tokenizer "
                "has no token that opens a text. Give a neutral prefix."
            )
        spans = np.maximum(offsets[start:] - seam, 0)
        found.append(Tokenised(Row(before + ids, start + len(before)), spans, straddles))
    return found


def _windows(row: Row, limit: int | None, stride: int | None, question: Asked) -> list[Row]:
    """Return the rows that a row is read as: itself, or windows that begin with its prefix."""
    n = len(row.ids)
    if limit is None or n <= limit:
        return [row]
    if stride is None:
        raise SurpriseError(
            f"{_named(question)}: {n} tokens with its prefix, and the model reads {limit}. Leave "
            "it out or shorten it, score it in windows, or name a model with a longer context."
        )
    room = limit - row.start
    if not 1 <= stride <= room:
        raise SurpriseError(
            f"{_named(question)}: a prefix of {row.start} tokens leaves {room} of {limit}; the "
            f"stride is {stride}. Give one from 1 to what is left, or a shorter prefix."
        )
    windows, done = [], row.start
    while done < n:
        end = min(n, limit if done == row.start else done + stride)
        first = end - room
        windows.append(Row(row.ids[: row.start] + row.ids[first:end], row.start + done - first))
        done = end
    return windows


def _opening(tokenizer: Any) -> list[int]:
    """Return the tokens that a tokenizer puts before every text by itself."""
    own = tokenizer("a", add_special_tokens=False)["input_ids"]
    given = tokenizer("a")["input_ids"]
    at = next(
        (i for i in range(len(given) - len(own) + 1) if given[i : i + len(own)] == own), 0
    )  # fmt: skip
    return list(given[:at])


def _named(question: Asked) -> str:
    return f"Text {question.text[:40]!r} after {question.prefix[:40]!r}"
