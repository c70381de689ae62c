"""Passages told in other words: of the work of their original, and always on its side.

A judge that follows what a passage does, and not how it is worded, judges both alike.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cqa_helpers import overlap
from cqa_helpers.records import Passage


class RewordingError(ValueError):
    """A passage says that it tells another in other words, and cannot."""


def apart(
    passages: Sequence[Passage], judged: Collection[str] = ()
) -> tuple[list[Passage], list[Passage]]:
    """Return the passages as they are, and those with ``meta.rewords``, the id of an original.

    Raises
    ------
    RewordingError
        The original is unknown, reworded itself or of another work; or the reworded passage is
        among those ``judged``: its truth is that of its original.
    """
    told = {p.id: p for p in passages if "rewords" not in p.meta}
    reworded = [p for p in passages if "rewords" in p.meta]
    for p in reworded:
        original = told.get(str(p.meta["rewords"]))
        if original is None:
            raise RewordingError(
                f"passage {p.id} rewords {p.meta['rewords']!r}, which is no passage told as it "
                "is: give meta.rewords the id of the original."
            )
        if original.work_id != p.work_id:
            raise RewordingError(
                f"passage {p.id} rewords {original.id} and has another work_id ({p.work_id!r}, "
                f"{original.work_id!r}): it is the same work."
            )
        if p.id in judged:
            raise RewordingError(
                f"passage {p.id} rewords {original.id} and is judged or annotated itself: its "
                "truth is that of its original; take the rows out."
            )
    return list(told.values()), reworded


def twins(passages: Sequence[Passage], reworded: Sequence[Passage]) -> list[overlap.Twins]:
    """Return the near-duplicates among passages, a reworded one counted as its original.

    A split that parts none of them keeps both, and whatever is like either, on one side.
    """
    known = {p.id for p in passages}
    name = {i: i for i in known} | {p.id: str(p.meta["rewords"]) for p in reworded}
    pairs: dict[tuple[str, str], overlap.Twins] = {}
    for found in overlap.near_duplicates([*passages, *reworded]):
        first, second = sorted((name[found.first], name[found.second]))
        if first != second and {first, second} <= known:
            # Most alike first: of several likenesses the greatest is kept.
            pairs.setdefault((first, second), overlap.Twins(first, second, found.similarity))
    return list(pairs.values())
