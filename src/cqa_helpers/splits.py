"""Train and test by work: no novel, story or plot, and no near-duplicate, stands on both sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cqa_helpers.overlap import Twins
from cqa_helpers.params import fingerprint as _fingerprint
from cqa_helpers.records import Passage


class SplitError(ValueError):
    """A split cannot be made, or leaks."""


class Split(NamedTuple):
    """Passage ids on each side."""

    train: tuple[str, ...]
    test: tuple[str, ...]

    def fingerprint(self) -> str:
        """Return the hash of who stands where, 16 hexadecimal digits."""
        return _fingerprint({"train": sorted(self.train), "test": sorted(self.test)})


class Shared(NamedTuple):
    """What stands on both sides, and the test passages it touches."""

    names: tuple[str, ...]
    test_ids: tuple[str, ...]


def groups(passages: Sequence[Passage], twins: Iterable[Twins] = ()) -> dict[str, str]:
    """Return the group of each passage, named after its first work.

    Passages of one work belong together, and so do works that share a near-duplicate.
    """
    works = sorted({p.work_id for p in passages})
    place = {work: i for i, work in enumerate(works)}
    work_of = {p.id: place[p.work_id] for p in passages}
    links = [(work_of[t.first], work_of[t.second]) for t in twins]
    rows, columns = zip(*links, strict=True) if links else ((), ())
    graph = coo_array((np.ones(len(links)), (rows, columns)), shape=(len(works), len(works)))
    _, component = connected_components(graph, directed=False)
    first: dict[int, str] = {}
    for work, part in zip(works, component, strict=True):
        first.setdefault(int(part), work)
    return {p.id: first[int(component[work_of[p.id]])] for p in passages}


def by_work(
    passages: Sequence[Passage],
    n_train: int,
    n_test: int,
    seed: int,
    strata: Mapping[str, str] | None = None,
    twins: Iterable[Twins] = (),
    trainable: Collection[str] | None = None,
    testable: Collection[str] | None = None,
) -> Split:
    """Draw whole groups into train until it holds ``n_train`` passages, then into test.

    Parameters
    ----------
    strata
        Passage to stratum; a group is in the stratum of most of its passages. Groups are drawn
        so that every stretch of the order holds each stratum in proportion.
    twins
        Near-duplicates: their works stay on one side.
    trainable, testable
        Passages that may stand on a side (those annotated, those with verdicts); all by default.

    Raises
    ------
    SplitError
        There are too few passages for both sides.
    """
    group_of = groups(passages, twins)
    members: dict[str, list[str]] = {}
    for passage in passages:
        members.setdefault(group_of[passage.id], []).append(passage.id)
    train: list[str] = []
    test: list[str] = []
    for name in _order(members, strata or {}, seed):
        able = [i for i in members[name] if trainable is None or i in trainable]
        if len(train) < n_train and able:
            train += able
        else:
            test += [i for i in members[name] if testable is None or i in testable]
    if len(train) < n_train or len(test) < min(n_test, 1):
        raise SplitError(
            f"{len(passages)} passages of {len(members)} works give {len(train)} for training and "
            f"{len(test)} for testing; {n_train} and {n_test} are asked for. A work never stands "
            "on both sides, and only annotated passages train: ask for fewer, or add works."
        )
    return Split(tuple(train[:n_train]), tuple(test[:n_test]))


def _order(members: Mapping[str, Sequence[str]], strata: Mapping[str, str], seed: int) -> list[str]:
    """Return the groups in seeded order, each stratum spread evenly over it."""
    names = sorted(members)
    shuffled = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    stratum = {
        name: Counter(strata.get(i, "") for i in members[name]).most_common(1)[0][0]
        for name in shuffled
    }
    size = Counter(stratum.values())
    seen: Counter[str] = Counter()
    key = {}
    for name in shuffled:
        key[name] = (seen[stratum[name]] + 0.5) / size[stratum[name]]
        seen[stratum[name]] += 1
    return sorted(shuffled, key=key.__getitem__)


def check(split: Split, passages: Mapping[str, Passage], twins: Iterable[Twins] = ()) -> None:
    """Make sure that no passage, work, text or near-duplicate stands on both sides.

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
        both = shared(split, passages, key).names
        if both:
            shown = ", ".join(sorted(str(b)[:60] for b in both)[:5])
            raise SplitError(f"{len(both)} {what}(s) in training and in test: {shown}")
    if leaks := across(split, twins):
        shown = ", ".join(f"{t.first} and {t.second} ({t.similarity})" for t in leaks[:5])
        raise SplitError(f"{len(leaks)} near-duplicate(s) in training and in test: {shown}")


def shared(
    split: Split, passages: Mapping[str, Passage], key: Callable[[Passage], str | None]
) -> Shared:
    """Return what a key gives on both sides: works, writers or texts; null keys do not count."""
    train = {key(passages[i]) for i in split.train} - {None}
    touched = [i for i in split.test if key(passages[i]) in train]
    return Shared(tuple(sorted({str(key(passages[i])) for i in touched})), tuple(touched))


def across(split: Split, twins: Iterable[Twins]) -> list[Twins]:
    """Return the near-duplicates whose two passages stand on different sides."""
    train, test = set(split.train), set(split.test)
    return [
        t for t in twins
        if (t.first in train and t.second in test) or (t.first in test and t.second in train)
    ]  # fmt: skip
