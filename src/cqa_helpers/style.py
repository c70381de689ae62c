"""How reasons are said, apart from what they say: does a judge talk like the expert?

Only what :mod:`cqa_helpers.speech` reads counts: no content word, no verdict. Expert and judge are
compared on the same dimension with the same verdict, so that a judge who says no more often, or
speaks of other dimensions, is not another speaker for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from cqa_helpers.agreement import (
    FEWEST_CLUSTERS,
    Floats,
    Interval,
    interval,
    resample,
)
from cqa_helpers.pairing import Clusters, cluster_codes
from cqa_helpers.speech import Lexicon, features, has_words, lexicon

# A function word that hardly occurs tells speakers apart by accident (our choice).
FREQUENT = 0.05
# How the discriminator is trained: strong shrinkage, since reasons are few and features many, and
# several divisions into folds, since one is a matter of luck (our choices, not tuned).
SHRINKAGE, FOLDS, ROUNDS = 0.1, 5, 4
# Resampling what was scored leaves out that the discriminators were trained on the same few
# reasons. Nadeau and Bengio (2003) add the ratio of scored to trained: variance 1/K + 1/(K - 1) in
# place of 1/K.
WIDER = np.sqrt(1 + FOLDS / (FOLDS - 1))


class Similarity(NamedTuple):
    """How far a judge's reasons pass for the expert's.

    ``similarity`` is 1 where a discriminator that reads style alone cannot tell the judge's
    reasons from the expert's, 0 where it always can: ``1 - max(0, 2 told - 1)``, and ``told`` is
    how often it picks the expert's out of one of each (its AUC, .5 by chance). Null where a side
    has reasons on fewer than five clusters: too few to learn a speaker from is not likeness.
    ``n_silent`` counts the judge's rows without a readable verdict or without a reason.
    """

    similarity: Interval
    told: Interval
    by_repeat: dict[int, float | None]
    n_reasons: int
    n_silent: int
    n_expert: int
    n_clusters: int


def similarity(
    judge: pd.DataFrame,
    expert: pd.DataFrame,
    language: str = "en",
    clusters: Clusters = None,
    n_boot: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Similarity:
    """Return how far one judge's reasons pass for the expert's, by style alone.

    Both tables are those of :func:`cqa_helpers.records.to_table`; a judge's repeats are its
    seeds. The expert's reasons should be ones the judge was not trained on. A logistic regression
    on :func:`features` learns the two speakers on four fifths of the clusters and is scored on
    the rest, only on pairs of the same dimension and verdict (a classifier two-sample test,
    Lopez-Paz and Oquab 2017; the matching and the scale are our choice). Clusters and repeats are
    resampled; limits are widened for what the training adds (Nadeau and Bengio 2003). More
    reasons make a sharper discriminator: compare arms on the same passages.

    Raises
    ------
    SpeechError
        No word lists for the language.
    ValueError
        The table holds more than one judge, or an item without a cluster.
    """
    if len(names := sorted(set(judge["judge_id"]))) > 1:
        raise ValueError(f"one judge at a time; the table holds {', '.join(names)}")
    words = lexicon(language)
    theirs, mine = _spoken(expert, words), _spoken(judge, words)
    both = pd.concat([theirs, mine], ignore_index=True)
    own = np.arange(len(both)) >= len(theirs)
    code, known = cluster_codes(both, clusters) if len(both) else (np.empty(0, dtype=np.intp), ())
    style = features(both["reason"].tolist(), words)
    kept = _frequent(style, words) if len(both) else []
    stratum = both.groupby(["dimension", "value"]).ngroup().to_numpy().astype(np.int64)
    rng = np.random.default_rng(seed)
    folds = np.stack([rng.permutation(len(known)) % FOLDS for _ in range(ROUNDS)])
    repeats = sorted({int(r) for r in judge["repeat"]})
    picked = [~own | (both["repeat"] == r).to_numpy() for r in repeats]
    x = style[kept].to_numpy()
    pairs = [_compare(x[p], own[p], stratum[p], code[p], folds) for p in picked]
    by_repeat = {r: _alike(_share(p)) for r, p in zip(repeats, pairs, strict=True)}
    told = _told(pairs, len(known), n_boot, rng, level)
    return Similarity(
        Interval(*map(_alike, (told.value, told.high, told.low))),
        told,
        by_repeat,
        n_reasons=len(mine),
        n_silent=len(judge) - len(mine),
        n_expert=len(theirs),
        n_clusters=len(known),
    )


def differences(judge: pd.DataFrame, expert: pd.DataFrame, language: str = "en") -> pd.DataFrame:
    """Return what tells the judge's reasons from the expert's, the greatest difference first.

    Columns ``feature``, ``judge`` and ``expert`` (means) and ``difference``, judge minus expert
    in standard deviations over both speakers' reasons, each speaker weighing half. Function words
    are those that stand in 5 % of all reasons. Empty where a side has no reason.
    """
    words = lexicon(language)
    sides = [features(_spoken(t, words)["reason"].tolist(), words) for t in (judge, expert)]
    if any(side.empty for side in sides):
        return pd.DataFrame(columns=["feature", "judge", "expert", "difference"])
    kept = _frequent(pd.concat(sides), words)
    (a, b), (va, vb) = ([s[kept].mean() for s in sides], [s[kept].var(ddof=0) for s in sides])
    spread = np.sqrt((va + vb) / 2 + ((a - b) / 2) ** 2)
    gap: pd.Series = ((a - b) / spread).where(spread > 1e-12, 0.0)
    table = pd.DataFrame({"feature": kept, "judge": a, "expert": b, "difference": gap})
    order = (-table["difference"].abs()).sort_values(kind="stable").index
    return table.loc[order].reset_index(drop=True)


def delta(judge: pd.DataFrame, expert: pd.DataFrame, language: str = "en") -> float | None:
    """Return Burrows's Delta between two speakers, or null where a side spoke of under five items.

    The mean absolute difference of the z-scores of frequent function words (Burrows 2002). The
    classic form, not the cosine: z-scores are over these two speakers, whose profiles then point
    in opposite directions whoever they are. It has no fixed zero (two halves of one speaker
    differ by chance): a description beside :func:`similarity`.
    """
    words = lexicon(language)
    if min(_spoken(t, words)["item_id"].nunique() for t in (judge, expert)) < FEWEST_CLUSTERS:
        return None
    rows = differences(judge, expert, language)
    rows = rows[rows["feature"].isin(words.function)]
    return float(rows["difference"].abs().mean()) if len(rows) else None


def _spoken(table: pd.DataFrame, words: Lexicon) -> pd.DataFrame:
    rows = table[table["status"] == "ok"]
    return rows[np.array([has_words(r, words) for r in rows["reason"]], dtype=bool)]


def _frequent(style: pd.DataFrame, words: Lexicon) -> list[str]:
    often = (style[list(words.function)] > 0).mean()
    dropped = {w for w in words.function if often[w] < FREQUENT}
    return [str(c) for c in style if c not in dropped]


def _compare(
    x: Floats,
    own: NDArray[np.bool_],
    stratum: NDArray[np.int64],
    cluster: NDArray[np.intp],
    folds: NDArray[np.int64],
) -> tuple[Floats, Floats] | None:
    """Return wins and pairs by (expert's cluster, judge's cluster), or None for too few clusters.

    A pair is won where the judge's reason scores higher as the judge's; a tie counts half.
    """
    if min(len(set(cluster[own])), len(set(cluster[~own]))) < FEWEST_CLUSTERS:
        return None
    won, of = np.zeros((2, folds.shape[1], folds.shape[1]))
    for division in folds:
        for fold in range(FOLDS):
            held = division[cluster] == fold
            weight = _weights(own[~held], stratum[~held])
            if not weight.any():
                continue
            score = _discriminate(x[~held], own[~held], weight, x[held])
            a, b = np.flatnonzero(~own[held]), np.flatnonzero(own[held])
            alike = stratum[held][a][:, None] == stratum[held][b][None, :]
            wins = (np.sign(score[b][None, :] - score[a][:, None]) + 1) / 2 * alike
            place = (cluster[held][a][:, None], cluster[held][b][None, :])
            np.add.at(won, place, wins)
            np.add.at(of, place, alike)
    return (won, of) if of.any() else None


def _weights(own: NDArray[np.bool_], stratum: NDArray[np.int64]) -> Floats:
    """Let both speakers weigh alike in each stratum; where only one speaks nothing weighs."""
    n = np.stack([np.bincount(stratum[side], minlength=stratum.max() + 1) for side in (~own, own)])
    mass = n[0] * n[1] / np.maximum(n.sum(0), 1)
    return np.asarray((mass / np.maximum(n, 1))[own.astype(int), stratum], dtype=float)


def _discriminate(x: Floats, own: NDArray[np.bool_], weight: Floats, held: Floats) -> Floats:
    used = weight > 0
    mean, spread = x[used].mean(0), x[used].std(0)
    spread[spread < 1e-12] = 1.0
    model = LogisticRegression(C=SHRINKAGE, max_iter=1000)
    scaled = weight[used] * used.sum() / weight.sum()
    model.fit((x[used] - mean) / spread, own[used], sample_weight=scaled)
    return np.asarray(model.decision_function((held - mean) / spread), dtype=float)


def _share(pairs: tuple[Floats, Floats] | None) -> float | None:
    return None if pairs is None else float(pairs[0].sum() / pairs[1].sum())


def _told(
    pairs: Sequence[tuple[Floats, Floats] | None],
    n_clusters: int,
    n_boot: int,
    rng: np.random.Generator,
    level: float,
) -> Interval:
    """Return the mean AUC over repeats; null where one repeat has none, as a mean would hide it."""
    known = [p for p in pairs if p is not None]
    if not known or len(known) < len(pairs):
        return Interval(None, None, None)
    times = resample(n_clusters, n_boot, rng).astype(float)
    picks = resample(len(known), n_boot, rng) / len(known)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = np.stack(
            [((times @ w) * times).sum(1) / ((times @ n) * times).sum(1) for w, n in known], axis=1
        )
    whole = float(np.mean([w.sum() / n.sum() for w, n in known]))
    even = drawn.mean(1)
    draws = whole + WIDER * (even - whole) + ((drawn * picks).sum(1) - even)
    return interval(whole, np.clip(draws, 0, 1), level)


def _alike(told: float | None) -> float | None:
    return None if told is None else 1 - max(0.0, 2 * told - 1)
