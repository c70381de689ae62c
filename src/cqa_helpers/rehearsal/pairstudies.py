"""Simulated studies of pairs: do declared intervals hold what was planted, and which tests lie?

Each has seeds and pairs of two groups drawn at random and cells missing at random, and is analysed
by :mod:`cqa_helpers.gains` as the real one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from cqa_helpers import gains, power
from cqa_helpers.agreement import Floats, Seed

N_STUDIES = 2000
# What is asked for: the share of intervals that hold the truth, and of findings where none is.
LEAST_COVERAGE, MOST_REJECTED = 0.93, 0.06


class Setting(NamedTuple):
    """How changes vary, in bits (planning values, our choice); an effect is planted beside it.

    Deviations: ``sd_shared`` of a seed's drift that moves both groups, ``sd_seed`` of its
    own drift in each group, ``sd_pair`` of how far pairs differ in what they gain, ``sd_rest`` of
    what is left. ``missing`` is the share of cells without a value. ``skewed``: most pairs gain
    little and a few much (a centred exponential in place of a normal).
    """

    name: str
    seeds: int
    pairs: int
    sd_shared: float
    sd_seed: float
    sd_pair: float
    sd_rest: float
    missing: float = 0.05
    skewed: bool = False

    def detectable(self, level: float) -> float:
        """Return the interaction that four of five such studies should find, by closed form."""
        deviations = (math.sqrt(2) * sd for sd in (self.sd_seed, self.sd_pair, self.sd_rest))
        return power.minimum_detectable(self.seeds, self.pairs, *deviations, level=level)


SETTINGS = (
    Setting("seeds differ, 3 seeds", 3, 20, 0.3, 0.3, 0.1, 1.0),
    Setting("seeds differ, 5 seeds", 5, 20, 0.3, 0.3, 0.1, 1.0),
    Setting("pairs differ, 3 seeds", 3, 20, 0.05, 0.05, 1.0, 0.5),
    Setting("pairs differ, 5 seeds", 5, 20, 0.05, 0.05, 1.0, 0.5),
    Setting("both differ, 3 seeds", 3, 20, 0.2, 0.2, 0.6, 0.8),
    Setting("both differ, 5 seeds", 5, 20, 0.2, 0.2, 0.6, 0.8),
    Setting("both differ, 10 seeds", 10, 20, 0.2, 0.2, 0.6, 0.8),
    Setting("few pairs gain much, 5 seeds", 5, 20, 0.05, 0.05, 1.0, 0.5, skewed=True),
    Setting("a fifth missing, 5 seeds", 5, 20, 0.2, 0.2, 0.6, 0.8, missing=0.2),
)


class Rates(NamedTuple):
    """Shares of studies of one setting in which ``effect`` is planted in literary pairs alone.

    ``coverage`` is of intervals with seeds and pairs at random that hold what is planted, ``found``
    of studies whose two-sided p is below 1 − level, ``rejected`` the same where nothing is planted.
    ``mean`` is the literary change, ``interaction`` literary minus factual. ``these_pairs`` is
    Student's over seeds, held to the effect on all pairs; ``one_checkpoint`` Wilcoxon's over the
    pairs of a study's first seed, ``any_checkpoint`` of at least one of its seeds. ``without`` is
    the share of studies that had no interval: they count as holding nothing and finding nothing.
    """

    effect: float
    coverage_mean: float
    coverage_interaction: float
    rejected_mean: float
    rejected_interaction: float
    found_mean: float
    found_interaction: float
    coverage_these_pairs: float
    rejected_these_pairs: float
    rejected_one_checkpoint: float
    rejected_any_checkpoint: float
    without: float


class Simulated(NamedTuple):
    """Rates by setting, of ``n_studies`` with an effect and as many without in each."""

    n_studies: int
    level: float
    settings: tuple[Setting, ...]
    rates: tuple[Rates, ...]


def draw(setting: Setting, effect: float, n: int, rng: np.random.Generator) -> list[Floats]:
    """Return literary and factual changes of ``n`` studies, each ``(n, seeds, pairs)``."""
    s = setting
    shared = s.sd_shared * rng.standard_normal((n, s.seeds, 1))
    tables = []
    for planted in (effect, 0.0):
        own = s.sd_seed * rng.standard_normal((n, s.seeds, 1))
        shape = (n, 1, s.pairs)
        pair = rng.exponential(size=shape) - 1 if s.skewed else rng.standard_normal(shape)
        rest = s.sd_rest * rng.standard_normal((n, s.seeds, s.pairs))
        table = planted + shared + own + s.sd_pair * pair + rest
        table[rng.random(table.shape) < s.missing] = np.nan
        tables.append(table)
    return tables


def rates(setting: Setting, n: int, level: float, rng: Seed = 0) -> Rates:
    """Return how ``n`` studies of a setting come out, and as many in which nothing is planted.

    Raises
    ------
    ValueError
        A setting of one seed or one pair, in which nothing can be found.
    """
    if min(setting.seeds, setting.pairs) < 2:
        raise ValueError(f"setting {setting.name!r} needs two seeds and two pairs or more")
    generator = np.random.default_rng(rng)
    effect = setting.detectable(level)
    planted = draw(setting, effect, n, generator)
    nothing = draw(setting, 0.0, n, generator)
    mean, both = gains.crossed(planted[:1], [1]), gains.crossed(planted, [1, -1])
    mean_0, both_0 = gains.crossed(nothing[:1], [1]), gains.crossed(nothing, [1, -1])

    def within(found: gains.Crossed, value: float, seeds_alone: bool = False) -> float:
        se, df = (found.se_seed, found.df_seed) if seeds_alone else (found.se, found.df)
        return float(np.mean(np.abs(found.mean - value) <= stats.t.ppf((1 + level) / 2, df) * se))

    def beyond(found: gains.Crossed, seeds_alone: bool = False) -> float:
        se, df = (found.se_seed, found.df_seed) if seeds_alone else (found.se, found.df)
        return float(np.mean(np.abs(found.mean) > stats.t.ppf((1 + level) / 2, df) * se))

    p = _wilcoxon(nothing[0])
    return Rates(
        effect=effect,
        coverage_mean=within(mean, effect),
        coverage_interaction=within(both, effect),
        rejected_mean=beyond(mean_0),
        rejected_interaction=beyond(both_0),
        found_mean=beyond(mean),
        found_interaction=beyond(both),
        coverage_these_pairs=within(mean, effect, seeds_alone=True),
        rejected_these_pairs=beyond(mean_0, seeds_alone=True),
        rejected_one_checkpoint=float(np.mean(p[:, 0] < 1 - level)),
        rejected_any_checkpoint=float(np.mean((p < 1 - level).any(1))),
        without=float(np.mean(~np.isfinite(both.se * both.df))),
    )


def simulate(
    settings: Sequence[Setting] = SETTINGS,
    n_studies: int = N_STUDIES,
    level: float = 0.95,
    seed: int = 0,
) -> Simulated:
    """Return the rates of each setting; they depend on ``seed`` and the setting's name alone."""
    made = tuple(rates(s, n_studies, level, np.random.default_rng([seed, *s.name.encode()]))
                 for s in settings)  # fmt: skip
    return Simulated(n_studies, level, tuple(settings), made)


def missed(found: Simulated) -> dict[str, list[str]]:
    """Return, by setting, what fell short of the coverage or beyond the rejections asked for."""
    short: dict[str, list[str]] = {}
    for setting, r in zip(found.settings, found.rates, strict=True):
        for what, held, rejected in (
            ("mean", r.coverage_mean, r.rejected_mean),
            ("interaction", r.coverage_interaction, r.rejected_interaction),
        ):
            if held < LEAST_COVERAGE or rejected > MOST_REJECTED:
                said = f"the {what} held in {held:.1%} and rejected in {rejected:.1%}"
                short.setdefault(setting.name, []).append(said)
    return short


def as_rows(found: Simulated) -> pd.DataFrame:
    """Return the table for show; shares of studies in per cent."""
    return pd.DataFrame(
        [
            {
                "Setting": s.name,
                "Planted, bits": r.effect,
                "Mean held, %": 100 * r.coverage_mean,
                "Interaction held, %": 100 * r.coverage_interaction,
                "Mean, false, %": 100 * r.rejected_mean,
                "Interaction, false, %": 100 * r.rejected_interaction,
                "Interaction found, %": 100 * r.found_interaction,
                "Seeds alone, false, %": 100 * r.rejected_these_pairs,
                "One checkpoint, false, %": 100 * r.rejected_one_checkpoint,
                "Some checkpoint, false, %": 100 * r.rejected_any_checkpoint,
            }
            for s, r in zip(found.settings, found.rates, strict=True)
        ]
    )


def headline(found: Simulated) -> str:
    """Return the finding, and first what was missed."""
    short = missed(found)
    kept = [r for s, r in zip(found.settings, found.rates, strict=True) if s.name not in short]
    said = []
    if short:
        each = "; ".join(f"{name}: {', '.join(what)}" for name, what in short.items())
        said.append(
            f"Missed what was asked for ({LEAST_COVERAGE:.0%} held, {MOST_REJECTED:.0%} rejected) "
            f"in {len(short)} of {len(found.settings)} settings ({each})."
        )
    if kept:
        held = min(min(r.coverage_mean, r.coverage_interaction) for r in kept)
        false = max(max(r.rejected_mean, r.rejected_interaction) for r in kept)
        said.append(
            f"In {found.n_studies:,} simulated studies of each of {len(kept)} settings, intervals "
            f"with seeds and pairs at random held the planted change in {held:.1%} or more, and "
            f"found one where none was in {false:.1%} or less."
        )
    one = max(r.rejected_one_checkpoint for r in found.rates)
    some = max(r.rejected_any_checkpoint for r in found.rates)
    said.append(
        f"A Wilcoxon test over the pairs of one checkpoint found one where none was in up to "
        f"{one:.1%}, at least one of a study's checkpoints in up to {some:.1%}."
    )
    return " ".join(said)


def _wilcoxon(table: Floats) -> Floats:
    """Return p of the two-sided test over pairs, by study and seed; nan where there are none."""
    flat = table.reshape(-1, table.shape[-1])
    p = np.full(len(flat), np.nan)
    known = (~np.isnan(flat)).sum(1)
    for n in np.unique(known[known > 0]):
        rows = flat[known == n]
        p[known == n] = stats.wilcoxon(rows[~np.isnan(rows)].reshape(-1, n), axis=1).pvalue
    return p.reshape(table.shape[:-1])
