"""What several prompts begin with is read once: a rubric for many passages, a passage for many
questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

    from cqa_helpers.models import LocalModel

# Below this many tokens saved, of all that are to be read, a second pass costs more than it
# saves (our choice).
LEAST_SHARE = 0.15


class Prefill(NamedTuple):
    """The model's memory of each row's beginning; ``lengths`` are in tokens, the rows padded left.

    ``ids`` and ``mask`` are of shape (rows, longest beginning).
    """

    cache: Any
    ids: torch.Tensor
    mask: torch.Tensor
    lengths: list[int]


def shared(
    rows: Sequence[Sequence[int]],
    labels: Sequence[Any] | None,
    limits: Sequence[int] | None = None,
) -> list[tuple[int, int]]:
    """Return each row's group, and how many tokens are read with the others of its group.

    Neighbours with an equal label are a group; where no two have one, all rows are. Of a row, at
    most ``limits`` tokens are read so, and at least one is left (so that of a row without
    company, nearly all is).
    """
    n = len(rows)
    most = [len(row) - 1 for row in rows]
    if limits is not None:
        most = [min(pair) for pair in zip(most, limits, strict=True)]
    runs = [list(run) for _, run in groupby(range(n), key=lambda i: labels[i] if labels else i)]
    if len(runs) == n:
        runs = [list(range(n))]
    found = [(0, 0)] * n
    for group, members in enumerate(runs):
        first, last = min(list(rows[i]) for i in members), max(list(rows[i]) for i in members)
        common = next(
            (k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first)
        )
        common = min(common, *(most[i] for i in members))
        for i in members:
            found[i] = (group, common)
    return found


def worthwhile(rows: Sequence[Sequence[int]], found: Sequence[tuple[int, int]]) -> bool:
    """Whether reading the beginnings once saves enough of all tokens."""
    sizes: dict[int, list[int]] = {}
    for group, common in found:
        sizes.setdefault(group, []).append(common)
    saved = sum(common[0] * (len(common) - 1) for common in sizes.values())
    # Nothing can be read of a beginning that is empty.
    empty = any(common[0] == 0 for common in sizes.values())
    return not empty and saved > LEAST_SHARE * sum(map(len, rows))


def prefill(
    local: LocalModel,
    rows: Sequence[Sequence[int]],
    labels: Sequence[Any] | None,
    limits: Sequence[int] | None = None,
) -> Prefill | None:
    """Read what rows of tokens begin with in common, once a group; None if it saves too little."""
    import torch

    found = shared(rows, labels, limits)
    if not worthwhile(rows, found):
        return None
    groups = list(dict.fromkeys(group for group, _ in found))
    first = {group: next(i for i, f in enumerate(found) if f[0] == group) for group in groups}
    beginnings = [list(rows[first[g]][: found[first[g]][1]]) for g in groups]
    ids, mask = padded(beginnings, local, "left")
    with torch.inference_mode():
        cache = local.model(
            input_ids=ids, attention_mask=mask, use_cache=True, logits_to_keep=1,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        ).past_key_values  # fmt: skip
        which = torch.tensor([groups.index(group) for group, _ in found], device=ids.device)
        cache.batch_select_indices(which)
    return Prefill(cache, ids[which], mask[which], [common for _, common in found])


def padded(
    rows: Sequence[Sequence[int]], local: LocalModel, side: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of tokens as one tensor, and the mask of what is not padding."""
    import torch

    width = max(map(len, rows))
    ids = torch.full((len(rows), width), local.tokenizer.pad_token_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for r, row in enumerate(rows):
        span = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[r, span] = torch.tensor(row)
        mask[r, span] = 1
    return ids.to(local.model.device), mask.to(local.model.device)
