"""Strengths of judges from rankings with ties, by Bradley and Terry's model in Davidson's form.

A ranking becomes its pairs. Pairs of one ranking are not independent, nor are rankings of one
rater or passage: intervals come from a bootstrap that resamples raters and passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from cqa_helpers import davidson
from cqa_helpers.agreement import (
    FEWEST_CLUSTERS,
    Floats,
    Interval,
    Seed,
    interval,
    limited,
    resample,
)

NOTHING = Interval(None, None, None)


class Strengths(NamedTuple):
    """Log strengths of judges, with clustered intervals.

    They sum to zero over those that have one. A strength that is not to be had is null, and
    ``warnings`` says why. ``draws`` are the bootstrap strengths, ``(n_boot, judges)``, nan where
    a resample has none. ``tie`` is ν: two equals tie with probability ν / (2 + ν).
    """

    strengths: dict[str, Interval]
    tie: Interval
    judges: tuple[str, ...]
    draws: Floats
    loglik: float | None
    n_pairs: int
    n_ties: int
    n_sheets: int
    n_missing: int
    warnings: tuple[str, ...]


def fit(
    rows: pd.DataFrame,
    value: str = "value",
    *,
    n_boot: int = 2000,
    seed: Seed = 0,
    level: float = 0.95,
) -> Strengths:
    """Return strengths from rankings, raters and passages resampled.

    Judges that win, or lose, every comparison without a tie have an infinite strength: they get
    null and are left out of the rest, to which their comparisons no longer matter.

    Parameters
    ----------
    rows
        One rank a row: ``sheet``, ``passage``, ``rater``, ``judge`` and the rank in ``value``, 1
        the best, equal ranks a tie. A missing rank is counted and left out. Two rows of one
        judge on a sheet (two seeds of it, say) are each compared with the others, not together.

    Raises
    ------
    ValueError
        A column is missing, or a sheet has two raters or passages.
    """
    needed = ["sheet", "passage", "rater", "judge", value]
    if absent := [c for c in needed if c not in rows.columns]:
        raise ValueError(f"no column {', '.join(absent)} in a table of {', '.join(rows.columns)}")
    known = rows[rows[value].notna()]
    if (known.groupby("sheet")[["passage", "rater"]].nunique() > 1).to_numpy().any():
        raise ValueError("a sheet has two raters or passages: give each sheet its own name")
    paired = _paired(known, value)
    n_pairs, n_ties = len(paired), int((paired["outcome"] == 2).sum())
    said: list[str] = []
    judges = sorted(set(known["judge"]))
    everyone = tuple(judges)
    while extreme := _extremes(paired, judges):
        for judge, word in extreme.items():
            said.append(f"{judge} {word} every comparison: its strength is infinite")
        judges = [j for j in judges if j not in extreme]
        paired = paired[paired["first"].isin(judges) & paired["second"].isin(judges)]
    pairs = list(combinations(range(len(judges)), 2))
    tensor = _tensor(paired, judges, pairs)
    total = tensor.sum((0, 1))
    why = (
        davidson.trouble(total, pairs, len(judges))
        if total.sum()
        else "no two judges were compared"
    )
    result = Strengths(
        strengths=dict.fromkeys(everyone, NOTHING),
        tie=NOTHING,
        judges=everyone,
        draws=np.full((n_boot, len(everyone)), np.nan),
        loglik=None,
        n_pairs=n_pairs,
        n_ties=n_ties,
        n_sheets=known["sheet"].nunique(),
        n_missing=len(rows) - len(known),
        warnings=tuple(said),
    )
    if why:
        return result._replace(warnings=(*said, why))
    found = davidson.fit(total, pairs)
    if not total[:, 2].any():
        said.append("no two judges were ever tied: the tie parameter is zero")
    rng = np.random.default_rng(seed)
    n_passages, n_raters = tensor.shape[:2]
    passages, raters = resample(n_passages, n_boot, rng), resample(n_raters, n_boot, rng)
    by_rater = np.tensordot(passages.astype(float), tensor, 1)
    drawn = np.einsum("br,brpo->bpo", raters.astype(float), by_rater)
    x, _ = davidson.newton(drawn, pairs, len(judges), bool(total[:, 2].any()))
    # A resample without ties has ν at zero and strengths; one of ties alone has none.
    far = ~(np.abs(x[:, : len(judges) - 1]) < davidson.FARTHEST).all(1) | ~(
        x.max(1) < davidson.FARTHEST
    )
    x[far] = np.nan
    strengths = davidson.centred(x, len(judges))
    if lost := int(np.isnan(strengths[:, 0]).sum()):
        said.append(f"{lost} of {n_boot} resamples have no finite strengths and are left out")
    fewest = min(n_passages, n_raters)
    if fewest < FEWEST_CLUSTERS:
        said.append(f"{n_raters} rater(s), {n_passages} passage(s): too few for limits")
    draws = result.draws.copy()
    places = [everyone.index(j) for j in judges]
    draws[:, places] = strengths
    ties = np.exp(x[:, -1]) if found.tie else np.zeros(n_boot)
    return result._replace(
        strengths=result.strengths
        | {
            j: limited(interval(float(s), d, level), fewest)
            for j, s, d in zip(judges, found.strengths, strengths.T, strict=True)
        },
        tie=limited(interval(found.tie, ties, level), fewest),
        draws=draws,
        loglik=found.loglik,
        warnings=tuple(said),
    )


def difference(found: Strengths, a: str, b: str, level: float = 0.95) -> Interval:
    """Return judge ``a`` minus judge ``b`` in log strength; null where either is.

    Raises
    ------
    ValueError
        A judge that was not ranked.
    """
    if unknown := [j for j in (a, b) if j not in found.judges]:
        raise ValueError(f"no ranking of {', '.join(unknown)}")
    one, other = found.strengths[a], found.strengths[b]
    if one.value is None or other.value is None:
        return NOTHING
    draws = found.draws[:, found.judges.index(a)] - found.draws[:, found.judges.index(b)]
    whole = interval(one.value - other.value, draws, level)
    return whole if one.low is not None else Interval(whole.value, None, None)


def _paired(known: pd.DataFrame, value: str) -> pd.DataFrame:
    """Return one row a pair of different judges of a sheet, by name, with its outcome."""
    slim = known[["sheet", "passage", "rater", "judge"]].assign(rank=known[value].astype(float))
    both = slim.merge(slim[["sheet", "judge", "rank"]], on="sheet", suffixes=("", "_other"))
    both = both[both["judge"] < both["judge_other"]]
    outcome = np.where(both["rank"] < both["rank_other"], 0, 1)
    outcome = np.where(both["rank"] == both["rank_other"], 2, outcome)
    return pd.DataFrame(
        {
            "first": both["judge"], "second": both["judge_other"], "outcome": outcome,
            "passage": both["passage"], "rater": both["rater"],
        }
    )  # fmt: skip


def _extremes(paired: pd.DataFrame, judges: Sequence[str]) -> dict[str, str]:
    """Return judges that won, or lost, every comparison they were in."""
    found = {}
    for judge in judges:
        first, second = paired["first"] == judge, paired["second"] == judge
        # Won is 0 and lost is 1 for the first; a tie is 2, and −1 seen from the second.
        sides = {*paired["outcome"][first], *(1 - paired["outcome"][second])}
        if len(sides) == 1 and (side := sides.pop()) in (0, 1):
            found[judge] = "won" if side == 0 else "lost"
    return found


def _tensor(paired: pd.DataFrame, judges: Sequence[str], pairs: davidson.Pairs) -> Floats:
    """Return counts ``(passage, rater, pair, outcome)``."""
    at = {(judges[i], judges[j]): k for k, (i, j) in enumerate(pairs)}
    pair = [at[key] for key in zip(paired["first"], paired["second"], strict=True)]
    passage, passages = pd.factorize(paired["passage"], sort=True)
    rater, raters = pd.factorize(paired["rater"], sort=True)
    table = np.zeros((len(passages), len(raters), len(pairs), 3))
    outcome = paired["outcome"].to_numpy(dtype=int)
    np.add.at(table, (passage, rater, np.array(pair, dtype=int), outcome), 1)
    return table
