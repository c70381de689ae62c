"""What control arms do to annotations: borrow another passage's, decouple verdicts, flip some."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cqa_helpers.annotations import Annotation


class ControlError(ValueError):
    """A control cannot be made from the annotations at hand."""


def borrowed(annotations: Sequence[Annotation], rng: np.random.Generator) -> list[Annotation]:
    """Give each passage another one's annotation, with the least association by chance.

    A single random permutation of 100 leaves a correlation of about 0.1 between a passage's own
    and its borrowed verdicts; the best of 200 leaves next to none.

    Raises
    ------
    ControlError
        Fewer than two annotations, or too many of the same passages.
    """
    if len(annotations) < 2:
        raise ControlError("arm 'shuffled' needs at least two annotations.")
    table, _ = _verdicts(annotations)
    own = np.nan_to_num(table - np.nanmean(table, axis=0))
    passages = np.array([a.passage_id for a in annotations])
    best, least = None, np.inf
    for _ in range(200):
        order = rng.permutation(len(annotations))
        # A cyclic shift of a random order leaves nobody with his own.
        shift = np.empty_like(order)
        shift[order] = np.roll(order, 1)
        if np.any(passages == passages[shift]):  # another expert's word on the same passage
            continue
        association = np.abs((own * own[shift]).sum(axis=0)).max()
        if association < least:
            best, least = shift, association
    if best is None:
        raise ControlError(
            "arm 'shuffled': too many annotations of the same passages to give each passage "
            "another one's."
        )
    return [annotations[i] for i in best]


def decoupled(
    annotations: Sequence[Annotation], rng: np.random.Generator, low: int, high: int
) -> list[Annotation]:
    """Keep the reasoning and flip exactly half of the verdicts in each (dimension, value) cell.

    Of cells with an odd number every other one flips more than it keeps, from a seeded start:
    always keeping the odd one would leave the verdicts coupled in small arms.
    """
    table, names = _verdicts(annotations)
    chosen = np.zeros(table.shape, dtype=bool)
    odd = int(rng.integers(2))
    for d in range(len(names)):
        for value in np.unique(table[~np.isnan(table[:, d]), d]):
            cell = rng.permutation(np.flatnonzero(table[:, d] == value))
            chosen[cell[: (len(cell) + odd) // 2], d] = True
            odd ^= len(cell) % 2
    return _flipped(annotations, chosen, names, low, high)


def noisy(
    annotations: Sequence[Annotation], percent: int, rng: np.random.Generator, low: int, high: int
) -> list[Annotation]:
    """Flip ``percent`` of the verdicts and keep every reason, which then speaks against some."""
    table, names = _verdicts(annotations)
    return _flipped(annotations, to_flip(table, percent, rng), names, low, high)


def to_flip(values: np.ndarray, percent: int, rng: np.random.Generator) -> np.ndarray:
    """Return which verdicts of a table (items by dimensions, NaN is none) to flip.

    Their number is ``percent`` of the verdicts, rounded half up; it is shared out over the
    dimensions and within each over its values, in proportion, so that no share is off by one or
    more. Our choice: errors that lean to one side would be a bias and not a noise.
    """
    chosen = np.zeros(values.shape, dtype=bool)
    known = ~np.isnan(values)
    total = (percent * int(known.sum()) + 50) // 100
    of_dimension = _share_out(total, known.sum(axis=0), rng)
    for d, number in enumerate(of_dimension):
        there = np.unique(values[known[:, d], d])
        cells = [np.flatnonzero(values[:, d] == value) for value in there]
        shares = _share_out(int(number), np.array([len(c) for c in cells], dtype=int), rng)
        for cell, share in zip(cells, shares, strict=True):
            chosen[rng.permutation(cell)[:share], d] = True
    return chosen


def _share_out(total: int, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Divide a number in proportion to sizes: whole shares, the largest remainders rounded up."""
    if not total:
        return np.zeros(len(sizes), dtype=int)
    scaled = total * sizes
    shares, rests = np.divmod(scaled, sizes.sum())
    # Equal remainders are drawn, so that no dimension or value is always the one with more.
    order = np.lexsort((rng.permutation(len(sizes)), -rests))
    shares[order[: total - int(shares.sum())]] += 1
    return shares


def _verdicts(annotations: Sequence[Annotation]) -> tuple[np.ndarray, list[str]]:
    """Return the verdicts as a table, annotations by dimensions, NaN where there is none."""
    names = sorted({j.dimension for a in annotations for j in a.judgements})
    table = np.full((len(annotations), len(names)), np.nan)
    for i, annotation in enumerate(annotations):
        for judgement in annotation.judgements:
            table[i, names.index(judgement.dimension)] = judgement.value
    return table, names


def _flipped(
    annotations: Sequence[Annotation], chosen: np.ndarray, names: list[str], low: int, high: int
) -> list[Annotation]:
    return [
        annotation.model_copy(
            update={
                "judgements": tuple(
                    j.model_copy(update={"value": low + high - j.value})
                    if chosen[i, names.index(j.dimension)]
                    else j
                    for j in annotation.judgements
                )
            }
        )
        for i, annotation in enumerate(annotations)
    ]
