"""Blind raters: how each rated, and whether the conclusion hangs on any of it.

Two rules are ours and are declared here, for sensitivity analyses alone; the primary analysis
leaves nobody out.

- A rater *failed attention* who passed half or fewer of the attention sheets they answered. A
  sheet is passed where no diagnosis is ranked below the swapped one or, on ``TRUTH``, rated below
  it, and some diagnosis is ranked above it.
- A rater is *inconsistent* whose ratings of repeats differ from the first ones by more than
  ``MOST_APART`` points on average.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from cqa_helpers import reliability, sections, variants
from cqa_helpers.agreement import Interval
from cqa_helpers.panels import add_up, estimates, ratio
from cqa_helpers.reliability import Alpha
from cqa_helpers.sheets import RANK
from cqa_helpers.variants import Effect, Variant

TRUTH = "accuracy"
MOST_APART = 1.0


class Rater(NamedTuple):
    """One rater; what cannot be had is null.

    ``severity`` is by how many points others rated the same diagnoses higher. ``seconds`` is the
    median of their sheets. ``same`` is the share of repeated ratings that are equal, ``apart``
    their mean absolute difference in points. ``passed`` of ``n_attention`` answered sheets.
    """

    rater: str
    n: int
    n_missing: int
    share_missing: float | None
    mean: float | None
    severity: float | None
    seconds: float | None
    n_repeats: int
    same: float | None
    apart: float | None
    n_attention: int
    passed: float | None
    failed_attention: bool
    inconsistent: bool


class Pooled(NamedTuple):
    """A measure over all raters, who are resampled; ``n`` ratings or sheets."""

    value: Interval
    n: int


class Check(NamedTuple):
    """All that is checked of the raters."""

    raters: tuple[Rater, ...]
    same: Pooled
    apart: Pooled
    passed: Pooled
    alpha: dict[str, Alpha | None]
    effects: tuple[Effect, ...]
    variants: tuple[Variant, ...]


def check(table: pd.DataFrame, blind: sections.Blind, plan: sections.Study, seed: int) -> Check:
    """Return who rated how, and the primary contrast under every other choice.

    Parameters
    ----------
    table
        As :func:`cqa_helpers.scores.table`.
    seed
        Of the resamples.
    """
    items = table[table["kind"] == "item"]
    again, attention = repeats(table), attended(table)
    raters = each(table, again, attention)
    options = plan.n_boot, seed, plan.level
    excluded = {
        "without raters who failed attention": {r.rater for r in raters if r.failed_attention},
        "without inconsistent raters": {r.rater for r in raters if r.inconsistent},
    }
    rows = items[items["criterion"] == blind.criterion]
    effects, others = variants.under_other_choices(rows, excluded, blind, plan)
    return Check(
        raters,
        pooled(again, "same", options), pooled(again, "apart", options),
        pooled(attention, "passed", options),
        {str(c): alpha(items[items["criterion"] == c], options)
         for c in dict.fromkeys(items["criterion"])},
        effects, others,
    )  # fmt: skip


def each(table: pd.DataFrame, again: pd.DataFrame, attention: pd.DataFrame) -> tuple[Rater, ...]:
    """Return how each rater rated, from the table, its :func:`repeats` and :func:`attended`."""
    return tuple(_rater(r, table, again, attention) for r in sorted(set(table["rater"])))


def repeats(table: pd.DataFrame) -> pd.DataFrame:
    """Return each rating that was given twice: ``rater``, ``criterion``, ``same``, ``apart``.

    Ranks are left out: on one sheet they hang together. What lacks a value either time is too.
    """
    rated = table[(table["criterion"] != RANK) & table["value"].notna()]
    keys = ["rater", "criterion"]
    both = rated[rated["kind"] == "repeat"].merge(
        rated[[*keys, "code", "value"]],
        left_on=[*keys, "of"], right_on=[*keys, "code"], suffixes=("", "_first"),
    )  # fmt: skip
    gap = (both["value"] - both["value_first"]).abs()
    return both[keys].assign(same=(gap == 0).astype(float), apart=gap.astype(float))


def attended(table: pd.DataFrame) -> pd.DataFrame:
    """Return each answered attention sheet: ``rater``, ``sheet`` and ``passed``, 0 or 1.

    A sheet is answered where the swapped diagnosis has a rank and at least one other does too,
    and so for ``TRUTH`` if it was asked.
    """
    asked = table[table["kind"] == "attention"]
    made = []
    for (rater, sheet), rows in asked.groupby(["rater", "sheet"], sort=True):
        verdicts: list[bool] = []
        for criterion in (RANK, TRUTH):
            given = rows[rows["criterion"] == criterion]
            if given.empty and criterion == TRUTH:
                continue
            known = given[given["value"].notna()]
            odd = known.loc[known["swapped"].astype(bool), "value"]
            rest = known.loc[~known["swapped"].astype(bool), "value"]
            if odd.empty or rest.empty:
                verdicts = []
                break
            if criterion == RANK:
                verdicts.append(bool(odd.min() >= rest.max() and odd.min() > rest.min()))
            else:
                verdicts.append(bool(odd.max() <= rest.min()))
        if verdicts:
            made.append((rater, sheet, float(all(verdicts))))
    return pd.DataFrame(made, columns=["rater", "sheet", "passed"])


def alpha(rows: pd.DataFrame, options: tuple[int, int, float]) -> Alpha | None:
    """Return raters' ordinal alpha on one criterion, passages resampled; null without ratings."""
    known = rows[rows["value"].notna()]
    if known.empty:
        return None
    named = pd.DataFrame(
        {
            "item_id": known["passage"] + "\x00" + known["judge"] + "\x00" + known["seed"],
            "dimension": "", "judge_id": known["rater"], "value": known["value"],
            "status": "ok", "scale": "", "probability": np.nan, "passage": known["passage"],
        }
    ).drop_duplicates(["item_id", "judge_id"])  # fmt: skip
    clusters = dict(zip(named["item_id"], named["passage"], strict=True))
    n_boot, seed, level = options
    return reliability.krippendorff_alpha(named, "ordinal", "", clusters, n_boot, seed, level)


def _rater(rater: str, table: pd.DataFrame, again: pd.DataFrame, attention: pd.DataFrame) -> Rater:
    mine = table[table["rater"] == rater]
    own = mine[mine["kind"] == "item"]
    rated = own[own["criterion"] != RANK]
    seconds = mine.drop_duplicates("sheet")["seconds"].median()
    twice = again[again["rater"] == rater]
    sheets = attention.loc[attention["rater"] == rater, "passed"]
    apart, passed = _mean(twice["apart"]), _mean(sheets)
    return Rater(
        rater, int(own["value"].notna().sum()), int(own["value"].isna().sum()),
        _mean(own["value"].isna()), _mean(rated["value"]), _severity(rater, table),
        None if np.isnan(seconds) else float(seconds),
        len(twice), _mean(twice["same"]), apart, len(sheets), passed,
        passed is not None and passed <= 0.5, apart is not None and apart > MOST_APART,
    )  # fmt: skip


def _severity(rater: str, table: pd.DataFrame) -> float | None:
    rated = table[(table["kind"] == "item") & (table["criterion"] != RANK) & table["value"].notna()]
    same = ["passage", "judge", "seed", "criterion"]
    mine = rated["rater"] == rater
    others = rated[~mine].groupby(same)["value"].mean().rename("others").reset_index()
    both = rated[mine].merge(others, on=same)
    return _mean(both["others"] - both["value"])


def _mean(values: pd.Series) -> float | None:
    mean = values.astype(float).mean()
    return None if np.isnan(mean) else float(mean)


def pooled(rows: pd.DataFrame, column: str, options: tuple[int, int, float]) -> Pooled:
    """Return a column's mean over all rows, raters resampled; limits need five raters."""
    raters, names = pd.factorize(rows["rater"], sort=True)
    values = np.stack([rows[column].to_numpy(dtype=float), np.ones(len(rows))], axis=1)
    sums = add_up(raters, len(names), values)
    (found,) = estimates(sums, lambda s: ratio(s[:, :1], s[:, 1:]), *options)
    return Pooled(found, len(rows))
