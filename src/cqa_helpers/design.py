"""Who rates what: sheets of passages and judges for raters, balanced and in a seeded order.

A sheet is one passage with ``per_sheet`` judges' diagnoses under labels (A, B, C, …). Exact where
the numbers allow and searched for where they do not: what was achieved is :func:`imbalance`.
Balance is over the sheets that count; hidden repeats and attention sheets come on top.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from cqa_helpers import dealing

Kind = Literal["item", "repeat", "attention"]


class DesignError(ValueError):
    """No such design exists; the message says which number stands in the way."""


class Sheet(NamedTuple):
    """One passage for one rater; ``judges`` in the order of their labels.

    ``of`` is the position at which a repeated sheet was first shown. On an attention sheet the
    diagnosis at index ``swapped`` was written for the passage ``donor``.
    """

    rater: str
    position: int
    passage: str
    judges: tuple[str, ...]
    kind: Kind = "item"
    of: int | None = None
    donor: str | None = None
    swapped: int | None = None


class Design(NamedTuple):
    """All sheets, by rater and position (from 1)."""

    passages: tuple[str, ...]
    judges: tuple[str, ...]
    raters: tuple[str, ...]
    sheets: tuple[Sheet, ...]

    def of(self, rater: str) -> list[Sheet]:
        """Return a rater's sheets in their order."""
        return [s for s in self.sheets if s.rater == rater]


class Imbalance(NamedTuple):
    """How far a design is from equal numbers; zero is perfect. Ranges are most minus least.

    ``raters_a_passage``, ``sheets_a_rater``, ``judge_pairs`` (sheets on which two judges meet),
    ``rater_pairs`` (passages that two raters share) and ``judges_a_passage`` are ranges.
    ``label`` is the worst distance of a rater's count of one judge under one label from equal
    shares, ``label_overall`` the same over all raters. ``early`` is the worst difference, in
    sheets, between a judge's showings in the first and the second half of a rater's sequence,
    ``early_overall`` over all raters. ``repeat_gap`` is the fewest sheets from a showing to its
    repeat, and None without repeats.
    """

    raters_a_passage: int
    sheets_a_rater: int
    judge_pairs: int
    rater_pairs: int
    judges_a_passage: int
    label: float
    label_overall: float
    early: int
    early_overall: int
    repeat_gap: int | None


def design(
    passages: Sequence[str],
    judges: Sequence[str],
    raters: Sequence[str],
    per_sheet: int | None = None,
    *,
    sheets_a_rater: int | None = None,
    raters_a_passage: int | None = None,
    repeats: float = 0.0,
    attention: int = 0,
    spare: Sequence[str] = (),
    excluded: Collection[tuple[str, str]] = (),
    works: Mapping[str, str] | None = None,
    seed: int | np.random.Generator = 0,
) -> Design:
    """Return who rates which judges' diagnoses of which passages, under which labels, and when.

    Counts of raters by passage and of passages by rater differ by at most one. Judges meet on
    sheets, stand under labels and come early or late as equally as the search finds: block
    designs and counterbalancing as in Cochran and Cox (1957); the search is our own choice.

    Parameters
    ----------
    per_sheet
        Judges on a sheet; all of them unless given.
    sheets_a_rater, raters_a_passage
        Give one of them, or neither: then every rater rates every passage.
    repeats
        Share of a rater's sheets that is shown again, at least half the sequence later and each
        judge under another label.
    attention
        Attention sheets a rater: one of the diagnoses belongs to another passage.
    spare
        Passages for attention sheets; what a rater does not rate serves too.
    excluded
        Pairs of rater and passage that must not meet, such as own annotations.
    works
        The work of each passage: a wrong diagnosis comes from another work if one is there.

    Raises
    ------
    DesignError
        The numbers do not allow a design; says which.
    """
    size = len(judges) if per_sheet is None else per_sheet
    total = _total(passages, judges, raters, size, sheets_a_rater, raters_a_passage)
    if not 0 <= repeats <= 0.5:
        raise DesignError(f"repeats is {repeats}: a share of a rater's sheets, 0 to 0.5.")
    rng = np.random.default_rng(seed)
    barred = set(excluded)
    shape = len(raters), len(passages)
    given = dealing.incidence(shape, total, _numbered(barred, raters, passages), rng)
    if given is None:
        raise DesignError(
            f"{total} sheets cannot be shared out evenly among {len(raters)} raters with "
            f"{len(barred)} excluded pair(s): let fewer raters rate a passage, or find raters who "
            "did not annotate it."
        )
    where = np.argwhere(given)
    sets = dealing.blocks(where, len(judges), size, shape, rng)
    orders = dealing.orders(where, sets, len(judges), shape, rng)
    sequences = dealing.sequences(where, orders, len(judges), shape, rng)
    repeated, wrong = Counter[str](), Counter[tuple[str, int]]()
    sheets: list[Sheet] = []
    for r, rater in enumerate(raters):
        mine = [
            Sheet(rater, 0, passages[where[s, 1]], tuple(judges[j] for j in orders[s]))
            for s in sequences[r]
        ]
        rated = {s.passage for s in mine}
        free = [
            p
            for p in dict.fromkeys([*spare, *passages])
            if p not in rated and (rater, p) not in barred
        ]
        slots = [(k + 0.5, sheet, k) for k, sheet in enumerate(mine)]
        slots += _again(mine, repeats, repeated, rng)
        slots += [
            (len(mine) * (n + rng.uniform(0.2, 0.8)) / attention, sheet, -1)
            for n, sheet in enumerate(
                _attention(rater, attention, free, size, judges, wrong, works or {}, rng)
            )
        ]
        slots.sort(key=lambda slot: slot[0])
        first = {k: i for i, (_, s, k) in enumerate(slots, start=1) if s.kind == "item"}
        sheets += [
            sheet._replace(position=i, of=first[k] if sheet.kind == "repeat" else None)
            for i, (_, sheet, k) in enumerate(slots, start=1)
        ]
    return Design(tuple(passages), tuple(judges), tuple(raters), tuple(sheets))


def imbalance(made: Design) -> Imbalance:
    """Return how far the sheets that count are from equal numbers."""
    items = [s for s in made.sheets if s.kind == "item"]
    by_passage = Counter(s.passage for s in items)
    by_rater = Counter(s.rater for s in items)
    met = Counter(p for s in items for p in itertools.combinations(sorted(s.judges), 2))
    seen = {r: {s.passage for s in items if s.rater == r} for r in made.raters}
    shared = [len(seen[a] & seen[b]) for a, b in itertools.combinations(made.raters, 2)]
    in_passage = Counter((s.passage, j) for s in items for j in s.judges)
    label, label_overall, early, early_overall = 0.0, 0.0, 0, 0
    overall, lead = Counter[tuple[str, int]](), Counter[str]()
    size = len(items[0].judges)
    for rater in made.raters:
        mine = [s for s in items if s.rater == rater]
        under = Counter((j, at) for s in mine for at, j in enumerate(s.judges))
        overall.update(under)
        half = len(mine) // 2
        for judge in made.judges:
            mean = sum(under[judge, at] for at in range(size)) / size
            label = max(label, *(abs(under[judge, at] - mean) for at in range(size)))
            gap = sum(judge in s.judges for s in mine[:half])
            gap -= sum(judge in s.judges for s in mine[len(mine) - half :])
            early = max(early, abs(gap))
            lead[judge] += gap
    for judge in made.judges:
        mean = sum(overall[judge, at] for at in range(size)) / size
        label_overall = max(label_overall, *(abs(overall[judge, at] - mean) for at in range(size)))
        early_overall = max(early_overall, abs(lead[judge]))
    gaps = [s.position - s.of for s in made.sheets if s.of is not None]
    return Imbalance(
        _range(by_passage[p] for p in made.passages),
        _range(by_rater[r] for r in made.raters),
        _range(met[p] for p in itertools.combinations(sorted(made.judges), 2)),
        _range(shared or [0]),
        max(_range(in_passage[p, j] for j in made.judges) for p in made.passages),
        label,
        label_overall,
        early,
        early_overall,
        min(gaps, default=None),
    )


def _range(counts: Iterable[int]) -> int:
    found = list(counts)
    return max(found) - min(found)


def _total(
    passages: Sequence[str],
    judges: Sequence[str],
    raters: Sequence[str],
    size: int,
    sheets_a_rater: int | None,
    raters_a_passage: int | None,
) -> int:
    """Return how many sheets count, once the numbers allow a design."""
    for what, names in (("passages", passages), ("judges", judges), ("raters", raters)):
        if not names:
            raise DesignError(f"No {what}: a design needs at least one.")
        if doubled := sorted(n for n, k in Counter(names).items() if k > 1):
            raise DesignError(f"{what} stand twice: {', '.join(doubled)}.")
    if not 2 <= size <= len(judges):
        raise DesignError(f"per_sheet is {size}: 2 to {len(judges)}, the number of judges.")
    if sheets_a_rater is not None and raters_a_passage is not None:
        raise DesignError("Give sheets_a_rater or raters_a_passage: one follows from the other.")
    if sheets_a_rater is not None:
        if not 1 <= sheets_a_rater <= len(passages):
            raise DesignError(
                f"sheets_a_rater is {sheets_a_rater}: 1 to {len(passages)}, the passages there are."
            )
        return sheets_a_rater * len(raters)
    each = len(raters) if raters_a_passage is None else raters_a_passage
    if not 1 <= each <= len(raters):
        raise DesignError(f"raters_a_passage is {each}: 1 to {len(raters)}, the raters there are.")
    return each * len(passages)


def _numbered(
    barred: Collection[tuple[str, str]], raters: Sequence[str], passages: Sequence[str]
) -> list[tuple[int, int]]:
    row = {name: i for i, name in enumerate(raters)}
    column = {name: i for i, name in enumerate(passages)}
    return [(row[r], column[p]) for r, p in sorted(barred) if r in row and p in column]


def _again(
    mine: Sequence[Sheet], share: float, shown: Counter[str], rng: np.random.Generator
) -> list[tuple[float, Sheet, int]]:
    """Return the sheets to be repeated, from a rater's first half, with their place."""
    n = max(1, round(share * len(mine))) if share and len(mine) > 1 else 0
    half = len(mine) // 2
    # Passages that others have not repeated come first, so that repeats are not all of one.
    order = sorted(rng.permutation(half), key=lambda k: shown[mine[k].passage])
    made = []
    for turn, k in enumerate(sorted(order[:n])):
        shown[mine[k].passage] += 1
        judges = mine[k].judges
        by = 1 + turn % (len(judges) - 1)
        sheet = mine[k]._replace(judges=judges[by:] + judges[:by], kind="repeat")
        made.append((rng.uniform(k + 1 + half, len(mine) + 1), sheet, int(k)))
    return made


def _attention(
    rater: str,
    n: int,
    free: Sequence[str],
    size: int,
    judges: Sequence[str],
    wrong: Counter[tuple[str, int]],
    works: Mapping[str, str],
    rng: np.random.Generator,
) -> list[Sheet]:
    """Return a rater's attention sheets; whose diagnosis is wrong, and under which label, is
    dealt evenly over all raters."""
    if len(free) < n + (n > 0):
        raise DesignError(
            f"{rater} rates all but {len(free)} passages; {n} attention sheet(s) need {n + 1} that "
            "are not rated: give spare passages, or let fewer raters rate a passage."
        )
    made = []
    for passage in free[:n]:
        others = [p for p in free if p != passage]
        foreign = [p for p in others if works.get(p, p) != works.get(passage, passage)]
        fresh = [p for p in foreign or others if p not in free[:n]]
        donor = str(rng.choice(fresh or foreign or others))
        ways = [(j, at) for j in judges for at in range(size)]
        least = min(wrong[way] for way in ways)
        judge, at = ways[int(rng.choice([i for i, w in enumerate(ways) if wrong[w] == least]))]
        wrong[judge, at] += 1
        rest = [str(j) for j in rng.permutation([j for j in judges if j != judge])[: size - 1]]
        order = (*rest[:at], judge, *rest[at:])
        made.append(Sheet(rater, 0, passage, order, "attention", None, donor, at))
    return made
