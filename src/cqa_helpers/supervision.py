"""What of a training row is supervised: counted, and guarded, before a second is spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from cqa_helpers.arms import TrainingRow

# So many rows are named in an error; the rest are counted.
NAMED = 10


class TuningError(RuntimeError):
    """Training must not start, or did not learn anything."""


class Audit(NamedTuple):
    """What the rows look like as tokens: rows, supervised tokens, longest row, rows cut."""

    rows: int
    supervised_tokens: int
    longest: int
    cut: int = 0


def audit(rows: Sequence[TrainingRow], tokenizer: Any, max_length: int) -> Audit:
    """Count what will be supervised, before a second is spent.

    Raises
    ------
    TuningError
        Fewer than two rows, a row without a supervised token, or rows longer than ``max_length``
        tokens: all of them, with their lengths.
    """
    if len(rows) < 2:
        raise TuningError(
            f"There {'is one training row' if rows else 'is no training row'}: nothing can be "
            "learnt from it. Give more annotations (data/golden, corpus.n_train) or a larger size "
            "in tuning.arms."
        )
    supervised, lengths = 0, []
    for row in rows:
        whole, start = _tokens(row, tokenizer)
        own = len(whole) - start
        if own <= 1 or not row.completion.strip():
            raise TuningError(f"Passage {row.item_id}: the completion has no token of its own.")
        supervised += own
        lengths.append(len(whole))
    if long := [(n, row.item_id) for n, row in zip(lengths, rows, strict=True) if n > max_length]:
        named = ", ".join(f"{item} ({n})" for n, item in sorted(long, reverse=True)[:NAMED])
        more = f" and {len(long) - NAMED} more" if len(long) > NAMED else ""
        raise TuningError(
            f"{len(long)} of {len(rows)} rows are longer than tuning.max_length ({max_length} "
            f"tokens, end mark included), and their verdicts would be cut off: {named}{more}. "
            f"Raise max_length to {max(lengths)}, or set tuning.too_long to cut to let these "
            "passages lose their middle."
        )
    return Audit(len(rows), supervised, max(lengths))


def cut(rows: Sequence[TrainingRow], tokenizer: Any, max_length: int) -> list[TrainingRow]:
    """Return rows that fit: a prompt that is too long loses its middle, a completion nothing.

    Half of what is left comes from the prompt's head, half from its end (our choice): the
    instruction before the passage and the question after it both stay.

    Raises
    ------
    TuningError
        A completion alone is longer than half of ``max_length``.
    """
    fitting = []
    for row in rows:
        whole, start = _tokens(row, tokenizer)
        spare = len(whole) - max_length
        if spare > 0:
            if len(whole) - start > max_length // 2:
                raise TuningError(
                    f"Passage {row.item_id}: its completion alone has {len(whole) - start} tokens "
                    f"and tuning.max_length is {max_length}. Raise it."
                )
            offsets = tokenizer(row.prompt, return_offsets_mapping=True)["offset_mapping"]
            # A few tokens more than needed: the seam may tokenise otherwise.
            keep = (len(offsets) - spare - 4) // 2
            head, tail = row.prompt[: offsets[keep - 1][1]], row.prompt[offsets[-keep][0] :]
            row = row._replace(prompt=f"{head} … {tail}")
        fitting.append(row)
    return fitting


def _tokens(row: TrainingRow, tokenizer: Any) -> tuple[list[int], int]:
    """Return the tokens of a row, and where its completion begins.

    As TRL does it: the end mark is part of the completion, which begins where the tokens of the
    prompt alone and of the whole part ways.
    """
    head = tokenizer(row.prompt)["input_ids"]
    whole = tokenizer(row.prompt + row.completion + tokenizer.eos_token)["input_ids"]
    start = next(
        (i for i, (a, b) in enumerate(zip(head, whole, strict=False)) if a != b), len(head)
    )
    return whole, start


def check_tokenised(data: Any, counted: Audit) -> None:
    """Make sure that TRL's own tokens are those that were counted: no row lost, none emptied.

    Raises
    ------
    TuningError
        They are not.
    """
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
