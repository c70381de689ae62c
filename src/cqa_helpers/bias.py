"""What moves a judge besides what experts see: length and manner of a text, and whose it is.

Everything is a least-squares regression within dimensions on cells that experts judged too. A
measure is null where nothing can be said: a judge that always answers the same, a feature that
does not vary, a side without passages, fewer than five clusters a feature.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from cqa_helpers import baselines, slopes
from cqa_helpers.agreement import Floats, Interval, Seed, limited
from cqa_helpers.pairing import CELL, Clusters, ok_rows, pairs
from cqa_helpers.panels import estimates
from cqa_helpers.records import Passage

# With fewer clusters a slope would follow single passages (our choice).
CLUSTERS_A_FEATURE = 5

_SENTENCE = re.compile(r"[.!?]+[\"”’」』)\]]*(?=\s|$)|[。！？…⋯]+")
# A speech that runs on opens the next paragraph with another mark and leaves the first unclosed;
# straight marks look the same at both ends and must close. Single ‘quotes’ are not told from
# apostrophes and not counted.
_SPEECH = re.compile(r"“([^”\n]*)|「([^」\n]*)|『([^』\n]*)|\"([^\"\n]*)\"")


class Leaning(NamedTuple):
    """Points of P(yes) that a standard deviation of a feature is worth, at an equal share of yes.

    ``gap`` is judge minus one expert, on the same draws; null, as ``expert`` is, where no cell
    has two experts.
    """

    judge: Interval
    expert: Interval
    gap: Interval


class Leanings(NamedTuple):
    """A judge's leanings; ``n_without`` counts its cells without features or two experts."""

    judge_id: str
    by_feature: dict[str, Leaning]
    n_cells: int
    n_clusters: int
    n_without: int


class Adjusted(NamedTuple):
    """How much more often an expert says yes where the judge does: 0 by chance, 1 at best.

    ``adjusted`` is at equal features, null where none varies; ``difference`` adjusted minus raw.
    ``n_without`` counts pairs without features.
    """

    judge_id: str
    raw: Interval
    adjusted: Interval
    difference: Interval
    n_pairs: int
    n_clusters: int
    n_without: int


class SelfPreference(NamedTuple):
    """How much more often a judge says yes to its own family's passages than experts would.

    ``difference`` is judge's minus experts' share of yes, own minus other passages. It takes for
    granted that judge and experts move alike: a judge who hardly tells passages apart seems to
    favour whatever experts like less. ``at_equal_share`` does not: it is how much more often the
    judge says yes to its own at an equal share of experts' yes. Null where a side is empty or the
    judge always answers the same, without limits where a side has fewer than five clusters.
    ``n_own`` and ``n_other`` count cells.
    """

    judge_id: str
    difference: Interval
    at_equal_share: Interval
    n_own: int
    n_other: int
    n_clusters: int


def features(passages: Iterable[Passage]) -> pd.DataFrame:
    """Return the manner of each passage with a text, in standard deviations within its language.

    By item id: ``length``, log of the number of words (characters in Chinese and Japanese);
    ``sentence_length``, log of words a sentence; ``dialogue``, the share of the text between
    quotation marks. A passage stands at 0 where its language has no spread.
    """
    rows = []
    for p in passages:
        text = p.text or ""
        if not (words := text.split()):
            continue
        size = sum(map(len, words))
        n = baselines.size(p)
        spoken = sum(map(len, "".join(map("".join, _SPEECH.findall(text))).split()))
        sentences = max(1, len(_SENTENCE.findall(text)))
        rows.append((p.id, p.language, np.log(n), np.log(n / sentences), spoken / size))
    columns = ["item_id", "language", "length", "sentence_length", "dialogue"]
    raw = pd.DataFrame(rows, columns=columns).set_index("item_id")
    own = raw.groupby("language")
    centred = raw.drop(columns="language") - own.transform("mean")
    spread = own.transform("std", ddof=0)
    return (centred / spread.where(spread > slopes.NONE_LEFT)).fillna(0.0)


def leaning(
    table: pd.DataFrame,
    judge_id: str,
    experts: Sequence[str],
    features: pd.DataFrame,
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
    positive: int = 1,
) -> Leanings:
    """Return what a judge's yes owes to each feature, beside what one expert's yes owes to it.

    On each cell the judge's yes, and one expert's, is regressed on the *other* experts' share of
    yes, the dimension and all features; each expert is left out in turn. Both sides face the same
    share, equally noisy, so that a judge who is a colleague like the others has no gap, though
    the share of a few experts leaves some merit for length to stand for. Where no cell has two
    experts, the judge faces the one and there is nobody to compare with. Repeats are averaged.

    A linear probability model, not a logistic one: a judge who says nearly always yes separates
    the classes on some dimension, a logistic slope then runs to infinity and most resamples with
    it. Slopes of the linear model exist, average over cells and read as points of probability.

    Raises
    ------
    ValueError
        An unknown judge or expert, or an item without a cluster.
    """
    own = _yes(table, [judge_id], positive)
    theirs = _yes(table, [e for e in experts if e != judge_id], positive)
    panel = theirs.groupby(CELL)["yes"]
    size, total = panel.transform("size"), panel.transform("sum")
    if (size > 1).any():
        theirs = theirs.assign(rest=(total - theirs["yes"]) / (size - 1))[size > 1]
    else:  # Nobody to compare with: what does not vary comes out null.
        theirs = theirs.assign(rest=theirs["yes"], yes=0.0)
    rows = own.merge(theirs, on=CELL, suffixes=("", "_expert"))
    rows = rows[rows["item_id"].isin(features.index)]
    names = [str(f) for f in features]
    sums, n_clusters = slopes.moments(rows, ["rest", "yes", "yes_expert"], features, clusters)
    able = slopes.varying(sums, [3 + i for i in range(len(names))])
    if n_clusters < CLUSTERS_A_FEATURE * len(able):
        able = []
    x = [*slopes.varying(sums, [0]), *able]

    def measure(drawn: Floats) -> Floats:
        within = slopes.within(drawn)
        judge, expert = (slopes.fit(within, y, x)[:, len(x) - len(able) :] for y in (1, 2))
        return np.concatenate([judge, expert, judge - expert], axis=1)

    found = estimates(sums, measure, n_boot, seed, level) if able else []
    by_feature = dict.fromkeys(names, Leaning(*[Interval(None, None, None)] * 3))
    by_feature |= {names[f - 3]: Leaning(*found[i :: len(able)]) for i, f in enumerate(able)}
    n_cells = len(rows.drop_duplicates(CELL))
    return Leanings(judge_id, by_feature, n_cells, n_clusters, len(own) - n_cells)


def adjusted_agreement(
    table: pd.DataFrame,
    judge_id: str,
    experts: Sequence[str],
    features: pd.DataFrame,
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
    positive: int = 1,
) -> Adjusted:
    """Return how much more often a single expert says yes where a judge says yes, raw and adjusted.

    The slope of the experts' yes on the judge's over :func:`cqa_helpers.pairing.pairs`, within
    dimensions, without and with the features. The judge ``"experts"`` is one expert against
    another. What is taken out may be merit: experts too can like a passage for its length. Read
    each judge's change, not one judge's value against another's: who says no but rarely, and then
    surely, gets a steep slope from few cells.

    Raises
    ------
    ValueError
        An unknown judge or expert, or an item without a cluster.
    """
    both = pairs(table, judge_id, experts)
    rows = both[both["item_id"].isin(features.index)].assign(
        yes=lambda r: (r["value"] >= positive).astype(float),
        yes_expert=lambda r: (r["expert_value"] >= positive).astype(float),
    )
    sums, n_clusters = slopes.moments(rows, ["yes", "yes_expert"], features, clusters)
    able = slopes.varying(sums, list(range(2, 2 + features.shape[1])))
    enough = bool(able) and n_clusters >= CLUSTERS_A_FEATURE * len(able)

    def measure(drawn: Floats) -> Floats:
        within = slopes.within(drawn)
        raw = slopes.fit(within, 1, [0])[:, 0]
        adjusted = slopes.fit(within, 1, [0, *able])[:, 0] if enough else np.full_like(raw, np.nan)
        return np.stack([raw, adjusted, adjusted - raw], axis=1)

    raw, adjusted, difference = estimates(sums, measure, n_boot, seed, level)
    n_without = len(both) - len(rows)
    return Adjusted(judge_id, raw, adjusted, difference, len(rows), n_clusters, n_without)


def self_preference(
    table: pd.DataFrame,
    judge_id: str,
    experts: Sequence[str],
    own_items: Collection[str],
    other_items: Collection[str],
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
    positive: int = 1,
) -> SelfPreference:
    """Return how much kinder than experts a judge is to its own family's passages than to others'.

    Both measures are slopes within dimensions; repeats are averaged, and so are experts.
    ``other_items`` should be machine-written too, or the difference is one of people and machines.

    Raises
    ------
    ValueError
        An unknown judge or expert, an item on both sides, or an item without a cluster.
    """
    if twice := sorted(set(own_items) & set(other_items)):
        raise ValueError(f"{len(twice)} item(s) are own and other at once: {', '.join(twice[:5])}")
    own = _yes(table, [judge_id], positive)
    theirs = _yes(table, [e for e in experts if e != judge_id], positive)
    share = theirs.groupby(CELL, as_index=False)["yes"].mean()
    rows = own.merge(share, on=CELL, suffixes=("", "_share"))
    rows = rows[rows["item_id"].isin({*own_items, *other_items})]
    rows = rows.assign(own=rows["item_id"].isin(set(own_items)).astype(float))
    rows = rows.assign(gap=rows["yes"] - rows["yes_share"])
    sums, n_clusters = slopes.moments(rows, ["own", "yes_share", "yes", "gap"], None, clusters)
    x, tells = [0, *slopes.varying(sums, [1])], bool(slopes.varying(sums, [2]))

    def measure(drawn: Floats) -> Floats:
        within = slopes.within(drawn)
        difference = slopes.fit(within, 3, [0])[:, 0]
        equal = slopes.fit(within, 2, x)[:, 0]
        return np.stack([difference if tells else np.full_like(equal, np.nan), equal], axis=1)

    sizes = sums[:, :, 0, [0, 1]].sum(1) @ [[0, 1], [1, -1]]
    carry = int((sizes > 0).sum(0).min())
    found = estimates(sums, measure, n_boot, seed, level)
    difference, equal = (limited(i, carry) for i in found)
    n_own, n_other = sizes.sum(0).astype(int).tolist()
    return SelfPreference(judge_id, difference, equal, n_own, n_other, n_clusters)


def _yes(table: pd.DataFrame, judge_ids: Sequence[str], positive: int) -> pd.DataFrame:
    """Return the share of yes among each judge's repeats on a cell."""
    rows = ok_rows(table, judge_ids)
    yes = rows.assign(yes=(rows["value"] >= positive).astype(float))
    return yes.groupby([*CELL, "judge_id"])[["yes"]].mean().reset_index()
