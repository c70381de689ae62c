"""What each arm is taught: the annotations, less what the arm takes away.

``cot`` teaches reasoning and verdict; ``verdict-only`` the verdict; ``style-only`` the expert's
way of talking with verdicts decoupled from the passage; ``shuffled`` another passage's annotation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cqa_helpers.annotations import Annotation
from cqa_helpers.prompts import Dialect, FormName, completions, questions
from cqa_helpers.records import Passage
from cqa_helpers.taxonomy import Taxonomy

FORM_OF_ARM: Mapping[str, FormName] = {
    "cot": "reason-first",
    "verdict-only": "verdict-only",
    "style-only": "reason-first",
    "shuffled": "reason-first",
}

# What readers call an arm, in the order of the report.
TITLES = {
    "cot": "reasons first",
    "verdict-only": "verdicts alone",
    "style-only": "style alone (control)",
    "shuffled": "shuffled (control)",
    "base": "base, not tuned",
}


class ArmError(ValueError):
    """An arm cannot be built from the annotations at hand."""


class TrainingRow(NamedTuple):
    """One supervised example: the loss is on the completion alone."""

    item_id: str
    prompt: str
    completion: str


def rows(
    arm: str,
    n: int,
    seed: int,
    annotations: Sequence[Annotation],
    passages: Mapping[str, Passage],
    taxonomy: Taxonomy,
    dialect: Dialect,
) -> list[TrainingRow]:
    """Return the training rows of an arm at size n, in an order fixed by the seed.

    Smaller sizes are nested in larger ones for the same seed.

    Raises
    ------
    ArmError
        Fewer annotations than n, no text for an annotated passage, or a judgement that the
        taxonomy or the dialect does not know: no row is ever left out in silence.
    """
    if arm not in FORM_OF_ARM:
        raise ArmError(f"no arm {arm!r}; there are: {', '.join(FORM_OF_ARM)}.")
    chosen = _of_arm(arm, annotations)
    if len(chosen) < n:
        raise ArmError(f"arm {arm!r} asks for {n} annotations and there are {len(chosen)}.")
    rng = np.random.default_rng([seed, 1])
    chosen = [chosen[i] for i in rng.permutation(len(chosen))[:n]]
    texts = [a.passage_id for a in chosen]
    if arm == "shuffled":
        chosen = _borrowed(chosen, rng)
    elif arm == "style-only" and all(a.meta.get("arm", "cot") == "cot" for a in chosen):
        chosen = _decoupled(chosen, rng, min(dialect.words), max(dialect.words))
    form = FORM_OF_ARM[arm]
    made = []
    for passage_id, annotation in zip(texts, chosen, strict=True):
        if passage_id not in passages or passages[passage_id].text is None:
            raise ArmError(f"annotation {annotation.id}: no text of passage {passage_id!r}.")
        _check(annotation, taxonomy, dialect)
        asked = {
            q.dimensions: q.prompt
            for q in questions([passages[passage_id]], taxonomy, dialect, form)
        }
        for dimensions, completion in completions(annotation, taxonomy, dialect, form):
            made.append(TrainingRow(passage_id, asked[dimensions], completion))
    return made


def _check(annotation: Annotation, taxonomy: Taxonomy, dialect: Dialect) -> None:
    for judgement in annotation.judgements:
        if judgement.dimension not in taxonomy.ids():
            raise ArmError(
                f"annotation {annotation.id} judges {judgement.dimension!r}, and taxonomy "
                f"{taxonomy.id!r} has: {', '.join(taxonomy.ids())}."
            )
        if judgement.value not in dialect.words:
            raise ArmError(
                f"annotation {annotation.id}, {judgement.dimension}: dialect {dialect.id!r} has no "
                f"word for the value {judgement.value}; it has {dialect.words}."
            )


def _of_arm(arm: str, annotations: Sequence[Annotation]) -> list[Annotation]:
    own = [a for a in annotations if a.meta.get("arm", "cot") == arm]
    return own or [a for a in annotations if a.meta.get("arm", "cot") == "cot"]


def _verdicts(annotations: Sequence[Annotation]) -> np.ndarray:
    names = sorted({j.dimension for a in annotations for j in a.judgements})
    table = np.full((len(annotations), len(names)), np.nan)
    for i, annotation in enumerate(annotations):
        for judgement in annotation.judgements:
            table[i, names.index(judgement.dimension)] = judgement.value
    return table


def _borrowed(annotations: Sequence[Annotation], rng: np.random.Generator) -> list[Annotation]:
    """Give each passage another one's annotation, with the least association by chance.

    A single random permutation of 100 leaves a correlation of about 0.1 between a passage's own
    and its borrowed verdicts; the best of 200 leaves next to none.
    """
    if len(annotations) < 2:
        raise ArmError("arm 'shuffled' needs at least two annotations.")
    own = np.nan_to_num(_verdicts(annotations) - np.nanmean(_verdicts(annotations), axis=0))
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
        raise ArmError(
            "arm 'shuffled': too many annotations of the same passages to give each passage "
            "another one's."
        )
    return [annotations[i] for i in best]


def _decoupled(
    annotations: Sequence[Annotation], rng: np.random.Generator, low: int, high: int
) -> list[Annotation]:
    """Keep the reasoning and flip exactly half of the verdicts in each (dimension, value) cell.

    Of cells with an odd number every other one flips more than it keeps, from a seeded start:
    always keeping the odd one would leave the verdicts coupled in small arms.
    """
    table = _verdicts(annotations)
    names = sorted({j.dimension for a in annotations for j in a.judgements})
    flipped = np.zeros(table.shape, dtype=bool)
    odd = int(rng.integers(2))
    for d in range(len(names)):
        for value in np.unique(table[~np.isnan(table[:, d]), d]):
            cell = rng.permutation(np.flatnonzero(table[:, d] == value))
            flipped[cell[: (len(cell) + odd) // 2], d] = True
            odd ^= len(cell) % 2
    return [
        annotation.model_copy(
            update={
                "judgements": tuple(
                    j.model_copy(update={"value": low + high - j.value})
                    if flipped[i, names.index(j.dimension)]
                    else j
                    for j in annotation.judgements
                )
            }
        )
        for i, annotation in enumerate(annotations)
    ]
