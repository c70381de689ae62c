"""Judges that do not read: what agreement is worth beside them.

Their rows stand in every table, because a constant answer can agree with experts better than
any model does where one answer is common.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Literal

import numpy as np

from cqa_helpers.records import Passage, Verdict

Name = Literal["always-no", "always-yes", "majority", "longest", "shuffled"]


def verdicts(
    names: Iterable[Name],
    passages: Iterable[Passage],
    expert_verdicts: Iterable[Verdict],
    seed: int = 0,
) -> list[Verdict]:
    """Return the rows of these baselines on every cell that the experts judged.

    - ``always-no``, ``always-yes``: the lowest, the highest value of the scale.
    - ``majority``: the experts' commonest value of the dimension on *other* works, the lower
      one of a tie; a dimension without other works is ``failed``.
    - ``longest``: the highest value where the passage is longer than the median of those with a
      text in its language, else the lowest; without a text ``failed``.
    - ``shuffled``: one expert's value of each item, dealt out anew among the items of the
      dimension, seeded.

    Raises
    ------
    ValueError
        An unknown baseline, or a verdict on a passage that is not given.
    """
    known = {p.id: p for p in passages}
    rows = [v for v in expert_verdicts if v.value is not None]
    if lost := sorted({v.item_id for v in rows} - set(known)):
        raise ValueError(f"{len(lost)} judged passage(s) are not given: {', '.join(lost[:5])}")
    made: list[Verdict] = []
    for name in names:
        if name not in _BASELINES:
            raise ValueError(f"no baseline {name!r}; there are: {', '.join(_BASELINES)}")
        answer = _BASELINES[name](known, rows, seed)
        for (item, dimension), scale in sorted(
            {(v.item_id, v.dimension): v.scale for v in rows}.items()
        ):
            value, reason = answer(item, dimension, scale)
            made.append(
                Verdict(
                    item_id=item,
                    dimension=dimension,
                    judge_id=name,
                    value=value,
                    scale=scale,
                    reason=reason,
                    status="failed" if value is None else "ok",
                )
            )
    return made


Answer = Callable[[str, str, str], tuple[int | None, str]]
"""Item, dimension and scale to a value with its reason; null where there can be none."""


def _constant(end: int) -> Callable[..., Answer]:
    def baseline(*_: object) -> Answer:
        return lambda item, dimension, scale: (int(scale.split("-")[end]), "constant")

    return baseline


def _majority(known: Mapping[str, Passage], rows: Sequence[Verdict], _: int) -> Answer:
    of_work: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    of_all: dict[str, Counter[int]] = defaultdict(Counter)
    for v in rows:
        assert v.value is not None
        of_work[known[v.item_id].work_id, v.dimension][v.value] += 1
        of_all[v.dimension][v.value] += 1

    def answer(item: str, dimension: str, scale: str) -> tuple[int | None, str]:
        elsewhere = of_all[dimension] - of_work[known[item].work_id, dimension]
        if not elsewhere:
            return None, "no other work"
        return min(elsewhere, key=lambda value: (-elsewhere[value], value)), "other works"

    return answer


def _longest(known: Mapping[str, Passage], rows: Sequence[Verdict], _: int) -> Answer:
    lengths = {p.id: size(p) for p in known.values() if p.text}
    by_language: dict[str, list[int]] = defaultdict(list)
    for item, length in lengths.items():
        by_language[known[item].language].append(length)
    middle = {language: median(found) for language, found in by_language.items()}

    def answer(item: str, dimension: str, scale: str) -> tuple[int | None, str]:
        if item not in lengths:
            return None, "no text"
        long = lengths[item] > middle[known[item].language]
        return int(scale.split("-")[long]), f"length {lengths[item]}"

    return answer


def size(passage: Passage) -> int:
    """Return the words of a passage, or characters in a language written without spaces."""
    found = (passage.text or "").split()
    return sum(map(len, found)) if passage.language.startswith(("zh", "ja")) else len(found)


def _shuffled(known: Mapping[str, Passage], rows: Sequence[Verdict], seed: int) -> Answer:
    rng = np.random.default_rng(seed)
    said: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for v in sorted(rows, key=lambda v: (v.dimension, v.item_id, v.judge_id, v.repeat)):
        assert v.value is not None
        said[v.dimension][v.item_id].append(v.value)
    dealt: dict[tuple[str, str], int] = {}
    for dimension, by_item in said.items():
        values = [int(rng.choice(found)) for found in by_item.values()]
        for item, k in zip(by_item, rng.permutation(len(values)), strict=True):
            dealt[item, dimension] = values[k]
    return lambda item, dimension, scale: (dealt[item, dimension], "dealt from another item")


_BASELINES: dict[str, Callable[[Mapping[str, Passage], Sequence[Verdict], int], Answer]] = {
    "always-no": _constant(0),
    "always-yes": _constant(1),
    "majority": _majority,
    "longest": _longest,
    "shuffled": _shuffled,
}
