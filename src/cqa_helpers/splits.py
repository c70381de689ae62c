"""Train and test by work: no novel, story or plot stands on both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from cqa_helpers.records import Passage


class SplitError(ValueError):
    """A split cannot be made, or leaks."""


class Split(NamedTuple):
    """Passage ids on each side."""

    train: tuple[str, ...]
    test: tuple[str, ...]


class NearDuplicate(NamedTuple):
    """Two passages on different sides that share most of their wording."""

    train_id: str
    test_id: str
    similarity: float


def by_work(passages: Sequence[Passage], n_train: int, n_test: int, seed: int) -> Split:
    """Draw whole works into train until it holds ``n_train`` passages, then into test.

    Raises
    ------
    SplitError
        There are too few passages for both sides.
    """
    works: dict[str, list[str]] = {}
    for passage in passages:
        works.setdefault(passage.work_id, []).append(passage.id)
    names = sorted(works)
    order = np.random.default_rng(seed).permutation(len(names))
    train: list[str] = []
    test: list[str] = []
    for i in order:
        side = train if len(train) < n_train else test
        side += works[names[i]]
    if len(train) < n_train or len(test) < min(n_test, 1):
        raise SplitError(
            f"{len(passages)} passages of {len(names)} works give {len(train)} for training and "
            f"{len(test)} for testing; {n_train} and {n_test} are asked for."
        )
    return Split(tuple(train[:n_train]), tuple(test[:n_test]))


def check(split: Split, passages: Mapping[str, Passage]) -> None:
    """Make sure that no passage, work or text stands on both sides.

    Raises
    ------
    SplitError
        Names what stands on both.
    """
    for what, key in (
        ("passage", lambda p: p.id),
        ("work", lambda p: p.work_id),
        ("text", lambda p: p.text or p.url),
    ):
        both = {key(passages[i]) for i in split.train} & {key(passages[i]) for i in split.test}
        if both:
            shown = ", ".join(sorted(str(b)[:60] for b in both)[:5])
            raise SplitError(f"{len(both)} {what}(s) in training and in test: {shown}")


def near_duplicates(
    split: Split, passages: Mapping[str, Passage], threshold: float = 0.9
) -> list[NearDuplicate]:
    """Return pairs across the split whose word 5-gram TF-IDF cosine reaches the threshold."""
    train = [i for i in split.train if passages[i].text]
    test = [i for i in split.test if passages[i].text]
    if not train or not test:
        return []
    vectors = TfidfVectorizer(analyzer="word", ngram_range=(5, 5), token_pattern=r"\S+")
    texts = [passages[i].text or "" for i in (*train, *test)]
    try:
        matrix = vectors.fit_transform(texts)
    except ValueError:  # no text has five words
        return []
    similarity = (matrix[: len(train)] @ matrix[len(train) :].T).tocoo()
    found = [
        NearDuplicate(train[r], test[c], round(float(v), 3))
        for r, c, v in zip(similarity.row, similarity.col, similarity.data, strict=True)
        if v >= threshold
    ]
    return sorted(found, key=lambda pair: -pair.similarity)
