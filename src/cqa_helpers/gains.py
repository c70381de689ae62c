"""Whether tuning moved something, or one checkpoint drifted: tests of changes by seed and pair.

A change is measured once for each seed (one tuned model) and pair of texts. Tests over the pairs
of one model ask how that model drifted; what tuning does is asked over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from cqa_helpers import power
from cqa_helpers.agreement import Floats, Interval, Seed, interval

# A billionth of a bit is rounding, not a change.
DECIMALS = 9
N_BOOT = 2000
SEEDS = (3, 5, 8, 12, 20)
PAIRS = (10, 20, 40, 80, 160)
NONE = Interval(None, None, None)


class Gain(NamedTuple):
    """A mean change in bits, with seeds at random, and with pairs at random too.

    ``mean`` is primary: its interval and ``p`` (two-sided) hold for other seeds and other pairs
    of the kind. ``these_pairs`` and ``p_these_pairs`` are Student's over seeds and hold for other
    seeds on these very pairs. ``n_pairs`` counts pairs with a value, by group; ``n_missing`` cells
    of seed and pair without one. The standard deviations are between seeds, between pairs and of
    what is left, cut at zero; for a difference of groups the last two are of both together.
    """

    mean: Interval
    p: float | None
    these_pairs: Interval
    p_these_pairs: float | None
    by_seed: dict[str, float]
    n_pairs: tuple[int, ...]
    n_missing: int
    sd_seed: float | None
    sd_pair: float | None
    sd_rest: float | None


class Crossed(NamedTuple):
    """Estimates of many studies at once: arrays of their shape, ``by_seed`` with seeds last.

    ``se`` and ``df`` are with pairs at random, ``se_seed`` and ``df_seed`` with pairs as they are.
    ``variances`` are of seeds, pairs and rest, cut at zero.
    """

    mean: Floats
    se: Floats
    df: Floats
    se_seed: Floats
    df_seed: Floats
    by_seed: Floats
    variances: tuple[Floats, Floats, Floats]


class Drift(NamedTuple):
    """What one tuned model did to its pairs; no more than that: other seeds may do the contrary.

    ``d`` is Cohen's for paired differences with a bootstrap interval over pairs. ``p_two_sided``
    and ``p_greater`` (after above before) are Wilcoxon's, ``p_sign`` the two-sided sign test's.
    """

    mean: float | None
    d: Interval
    p_two_sided: float | None
    p_greater: float | None
    p_sign: float | None
    n_up: int
    n_down: int
    n: int
    n_missing: int


def crossed(tables: Sequence[Floats], signs: Sequence[float]) -> Crossed:
    """Return Σ sign · mean of tables ``(..., seeds, pairs)`` that share their seeds; signs ±1.

    One table with sign 1 is a mean; two with 1 and −1 are the difference of groups of pairs. Each
    is taken as value = mean + seed + pair + rest, all drawn at random, seeds shared by the tables.
    With A the variance between seeds (of the signed sum of their means), B that between means of
    pairs and E the mean square of the rest, S seeds and P pairs, the mean has the variance
    A/S + Σ (B − E/S)/P, taken as no less than A/S or Σ B/P alone; Satterthwaite's (1946) degrees
    of freedom. Missing cells count as the additive model's
    least-squares values (Yates 1933), so that a seed's mean does not move with the pairs it lacks;
    each takes one degree of freedom. A seed without a value in one table is left out of all.
    """
    there = np.all([np.any(~np.isnan(t), axis=-1) for t in tables], axis=0)
    by_seed = np.zeros(there.shape)
    seeds = there.sum(-1)
    pairs_part, rest_part, tail = (np.zeros(seeds.shape) for _ in range(3))
    sigma_pair, sigma_rest, over_pairs = (np.zeros(seeds.shape) for _ in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        for table, sign in zip(tables, signs, strict=True):
            given = np.where(there[..., None], table, np.nan)
            filled = completed(given)
            alive = ~np.isnan(filled)
            pairs = alive.any(-2).sum(-1)
            rows, columns = _mean(filled, -1), _mean(filled, -2)
            fitted = rows[..., None] + columns[..., None, :] - _mean(rows, -1)[..., None, None]
            lost = (alive & np.isnan(given)).sum((-2, -1))
            free = np.maximum((seeds - 1) * (pairs - 1) - lost, 1)
            rest = np.nansum((filled - fitted) ** 2, (-2, -1)) / free
            between = _variance(columns)
            by_seed = by_seed + sign * rows
            pairs_part = pairs_part + between / pairs
            rest_part = rest_part + rest / (seeds * pairs)
            tail = tail + (between / pairs) ** 2 / (pairs - 1)
            tail = tail + (rest / (seeds * pairs)) ** 2 / free
            sigma_pair = sigma_pair + np.maximum(between - rest / seeds, 0)
            sigma_rest = sigma_rest + rest
            over_pairs = over_pairs + rest / pairs
        own = _variance(by_seed)
        seed_part = own / seeds
        whole = np.maximum.reduce([seed_part + pairs_part - rest_part, seed_part, pairs_part])
        df = whole**2 / (seed_part**2 / (seeds - 1) + tail)
    return Crossed(
        _mean(by_seed, -1), np.sqrt(whole), df, np.sqrt(seed_part), seeds - 1.0, by_seed,
        (np.maximum(own - over_pairs, 0), sigma_pair, sigma_rest),
    )  # fmt: skip


def completed(table: Floats) -> Floats:
    """Return tables ``(..., seeds, pairs)`` with missing cells as an additive model has them.

    Least squares for seeds, pairs eliminated. A seed or pair without any value stays missing.
    """
    known = ~np.isnan(table)
    if known.all():
        return table
    values, each = np.where(known, table, 0.0), known.sum(-2)
    share = np.where(each > 0, 1 / np.maximum(each, 1), 0.0)
    pair_means = values.sum(-2) * share
    left = values.sum(-1) - (known * pair_means[..., None, :]).sum(-1)
    seed = (np.linalg.pinv(_links(known), hermitian=True) @ left[..., None])[..., 0]
    pair = pair_means - (known * seed[..., None]).sum(-2) * share
    alive = np.any(known, axis=-1, keepdims=True) & np.any(known, axis=-2, keepdims=True)
    fitted = np.where(alive, seed[..., None] + pair[..., None, :], np.nan)
    return np.where(known, table, fitted)


def gain(tables: Sequence[pd.DataFrame], signs: Sequence[float], level: float) -> Gain:
    """Return the signed sum of tables' means, seeds as the unit.

    Both intervals are shown (our choice: pairs at random is primary). The claim is about literary
    texts, not about the twenty that were written for it, and these differ in how much a model can
    gain on them. With few seeds that differ much and pairs that differ more, Satterthwaite's
    degrees of freedom can make the interval with pairs at random the narrower of the two.

    One seed, one pair a group, or missing cells that leave seeds without a pair in common, give no
    interval with pairs at random; nor does a change that is the same everywhere.

    Parameters
    ----------
    tables
        One row a seed, one column a pair, nan where missing. Seeds are matched by name.
    """
    seeds = list(dict.fromkeys(s for t in tables for s in t.index))
    aligned = [t.reindex(seeds) for t in tables]
    arrays = [t.to_numpy(dtype=float).round(DECIMALS) for t in aligned]
    n_pairs = tuple(int((~np.isnan(a)).any(0).sum()) for a in arrays)
    n_missing = sum(int(np.isnan(a).sum()) for a in arrays)
    if min(n_pairs, default=0) == 0 or np.isnan((c := crossed(arrays, signs)).mean):
        return Gain(NONE, None, NONE, None, {}, n_pairs, n_missing, None, None, None)
    there = ~np.isnan(c.by_seed)
    by_seed = {str(s): float(v) for s, v in zip(seeds, c.by_seed, strict=True) if not np.isnan(v)}
    several = len(by_seed) > 1
    both = several and min(n_pairs) > 1 and all(_connected(a[there]) for a in arrays)
    mean = float(c.mean)
    spread = np.sqrt(c.variances) if both else [None] * 3
    unknown = (Interval(mean, None, None), None)
    primary, p = _student(mean, c.se, c.df, level) if both else unknown
    these, p_these = _student(mean, c.se_seed, c.df_seed, level) if several else unknown
    sds = [None if s is None else float(s) for s in spread]
    return Gain(primary, p, these, p_these, by_seed, n_pairs, n_missing, *sds)


def over(values: Floats, level: float) -> tuple[Interval, float | None]:
    """Return the mean of a sample with Student's interval and two-sided p; missing left out."""
    known = np.asarray(values, dtype=float).round(DECIMALS)
    known = known[~np.isnan(known)]
    if known.size == 0:
        return NONE, None
    mean = float(known.mean())
    if known.size == 1:
        return Interval(mean, None, None), None
    return _student(mean, float(stats.sem(known)), known.size - 1, level)


def drift(values: Floats, level: float, rng: Seed = 0) -> Drift:
    """Test the changes ``(pairs,)`` of one tuned model.

    Changes within a billionth of a bit count as none. Where all are none there is no test; where
    all are equal there is no d.
    """
    v = np.asarray(values, dtype=float).round(DECIMALS)
    known = v[~np.isnan(v)]
    up, down = int((known > 0).sum()), int((known < 0).sum())
    mean = float(known.mean()) if known.size else None
    d = two_sided = greater = sign = None
    limits = NONE
    if up + down:
        two_sided = float(stats.wilcoxon(known).pvalue)
        greater = float(stats.wilcoxon(known, alternative="greater").pvalue)
        sign = float(stats.binomtest(up, up + down).pvalue)
    if mean is not None and np.ptp(known) > 0:
        d = mean / float(known.std(ddof=1))
        drawn = known[np.random.default_rng(rng).integers(known.size, size=(N_BOOT, known.size))]
        spread = np.where(np.ptp(drawn, axis=1) > 0, drawn.std(1, ddof=1), np.nan)
        limits = interval(d, drawn.mean(1) / spread, level)
    return Drift(mean, limits, two_sided, greater, sign, up, down, known.size, v.size - known.size)


def detectable(
    found: Gain, level: float, seeds: Sequence[int] = SEEDS, pairs: Sequence[int] = PAIRS
) -> pd.DataFrame:
    """Return the smallest change, bits, that four of five studies find, by seeds and pairs.

    From the deviations of ``found``, taken as known: from few seeds they are rough, and the table
    with them. Pairs are of each group. The test is the primary one, seeds and pairs at random.

    Returns
    -------
    DataFrame
        ``seeds``, ``pairs``, ``difference``, ``declared`` (the study's own numbers); empty where
        ``found`` has no deviations.
    """
    if found.sd_seed is None or found.sd_pair is None or found.sd_rest is None:
        return pd.DataFrame(columns=["seeds", "pairs", "difference", "declared"])
    own = (len(found.by_seed), min(found.n_pairs))
    return pd.DataFrame(
        [
            {
                "seeds": s,
                "pairs": p,
                "difference": power.minimum_detectable(
                    s, p, found.sd_seed, found.sd_pair, found.sd_rest, level=level
                ),
                "declared": (s, p) == own,
            }
            for s in sorted({*seeds, own[0]})
            for p in sorted({*pairs, own[1]})
        ]
    )


def _student(mean: float, se: Any, df: Any, level: float) -> tuple[Interval, float | None]:
    if not se > 10.0**-DECIMALS:
        return Interval(mean, None, None), None
    half = float(stats.t.ppf((1 + level) / 2, df) * se)
    return Interval(mean, mean - half, mean + half), float(2 * stats.t.sf(abs(mean) / se, df))


def _links(known: np.ndarray) -> Floats:
    """Return the normal equations of seeds, pairs eliminated: what pairs in common link them."""
    k = known.astype(float)
    weighted = k / np.maximum(k.sum(-2), 1)[..., None, :]
    own = np.eye(k.shape[-2]) * k.sum(-1)[..., None]
    return np.asarray(own - weighted @ np.swapaxes(k, -1, -2))


def _connected(table: Floats) -> bool:
    """Return whether pairs in common link all seeds, so that their means can be compared."""
    return bool(np.linalg.matrix_rank(_links(~np.isnan(table)), hermitian=True) == len(table) - 1)


def _mean(values: Floats, axis: int) -> Floats:
    """Return means of what is known, nan where nothing is, without numpy's warning."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(axis) / known.sum(axis))


def _variance(values: Floats) -> Floats:
    """Return variances along the last axis of what is known."""
    apart = values - _mean(values, -1)[..., None]
    return np.asarray(np.nansum(apart**2, -1) / ((~np.isnan(values)).sum(-1) - 1))
