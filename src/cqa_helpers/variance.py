"""How far runs of the same tuning differ: by the annotations drawn, or by the seed.

A run is one tuned model and its value one number on the held-out passages (AUC or kappa). Values
are taken as normal about their means; near a ceiling they are not, and intervals are then rough.
A missing value is counted and left out, never a zero.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from cqa_helpers.agreement import Floats, Interval, Seed
from cqa_helpers.seeds import known_runs

Seeds = Literal["nested", "shared"]
# Draws of the generalised intervals: limits of a standard deviation then move by 1 to 2 %.
N_DRAWS = 100_000
# Squares this small beside the values themselves are rounding, not spread.
_ROUNDING = 1e-24


class Components(NamedTuple):
    """Standard deviations between runs, in units of the value, and what they rest on.

    ``sample`` is that of the annotations drawn, ``seed`` that of runs on the same annotations,
    ``total`` that of runs which differ in both, ``sample_share`` the first one's share of the
    total variance. ``mean`` is the mean of samples. ``cut_at_zero`` says that the estimate of the
    variance between samples, ``sample_variance``, was negative and is shown as zero.
    """

    mean: Interval
    sample: Interval
    seed: Interval
    total: Interval
    sample_share: Interval
    sample_variance: float
    cut_at_zero: bool
    seeds: Seeds
    n_samples: int
    n_runs: int
    n_missing: int


class _Squares(NamedTuple):
    """Mean squares and degrees of freedom of samples, shared seeds and error.

    ``runs`` is how many runs stand behind each sample's mean; ``variance`` the estimated variance
    between samples, before it is cut at zero.
    """

    sample: float
    df_sample: int
    error: float
    df_error: int
    runs: float
    variance: float
    column: float = 0.0
    df_column: int = 1


def components(
    rows: pd.DataFrame, *, seeds: Seeds = "nested", level: float = 0.95, rng: Seed = 0
) -> Components:
    """Separate what the annotations drawn and the training seed do to a run's value.

    Random-effects analysis of variance by the method of moments (Searle, Casella and McCulloch
    1992, chapter 3 for nested seeds, unbalanced or not; chapter 4 for shared ones). Intervals are
    generalised confidence intervals (Weerahandi 1993): mean squares over chi-squared draws. For
    nested seeds and equal numbers those of ``seed`` and ``sample_share`` are the exact ones; for
    unequal numbers the squares of unweighted means stand in (Thomas and Hultquist 1978). An
    estimate below zero has the limits of one at zero (our choice). A nested bootstrap of a few
    samples by a few seeds is far too narrow, so there is none. The mean has a t-interval over the
    means of samples, with Satterthwaite's degrees of freedom where seeds are shared. With no
    spread between seeds at all there are no limits.

    Parameters
    ----------
    rows
        ``sample``, ``seed``, ``value``: one row a run.
    seeds
        ``nested``: each sample has seeds of its own. ``shared``: a seed starts all samples alike
        (the same adapter initialisation), and every sample has the same seeds; nested analysis
        would then find too little variance between samples.
    level, rng
        The intervals' level; seed or generator of their draws.

    Raises
    ------
    ValueError
        A column is missing, a run stands twice, a value is infinite; fewer than two samples, or
        no sample with two seeds; shared seeds that are not the same in every sample.
    """
    known, n_missing = known_runs(rows, ["sample", "seed"])
    groups = [g["value"].to_numpy() for _, g in known.groupby("sample")]
    if len(groups) < 2:
        raise ValueError(
            f"{len(groups)} sample(s) of annotations with a value: two or more are needed to see "
            "what the sample does. Plan more samples."
        )
    if max(map(len, groups)) < 2:
        raise ValueError(
            "no sample of annotations has two seeds with a value: what the seed does cannot be "
            "told from what the sample does. Train two seeds or more on a sample."
        )
    rounding = _ROUNDING * float((known["value"] ** 2).max())
    within = sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / (len(known) - len(groups))
    within = 0.0 if within <= rounding else within
    found = _crossed(known) if seeds == "shared" else _nested(groups, within)
    sample = found.variance if found.variance > rounding else 0.0
    total = sample + within
    values = (math.sqrt(sample), math.sqrt(within), math.sqrt(total))
    share = sample / total if total > 0 else None
    limited = [Interval(v, None, None) for v in (*values, share)]
    if within > 0 and share is not None:
        drawn = _draws(found, len(groups), rng)
        limited = [_limits(v, d, level) for v, d in zip((*values, share), drawn, strict=True)]
    return Components(
        mean=_mean([float(g.mean()) for g in groups], found, level),
        sample=limited[0],
        seed=limited[1],
        total=limited[2],
        sample_share=limited[3],
        sample_variance=found.variance,
        cut_at_zero=found.variance < -rounding,
        seeds=seeds,
        n_samples=len(groups),
        n_runs=len(known),
        n_missing=n_missing,
    )


def _nested(groups: list[Floats], within: float) -> _Squares:
    n = np.array([len(g) for g in groups], dtype=float)
    means = np.array([g.mean() for g in groups])
    df = len(n) - 1
    between = float((n * (means - (n * means).sum() / n.sum()) ** 2).sum()) / df
    variance = (between - within) / float((n.sum() - (n**2).sum() / n.sum()) / df)
    runs = float(len(n) / (1 / n).sum())
    return _Squares(
        runs * float(means.var(ddof=1)), df, within, int(n.sum()) - len(n), runs, variance
    )


def _crossed(known: pd.DataFrame) -> _Squares:
    layout = known.pivot(index="sample", columns="seed", values="value")
    if layout.isna().to_numpy().any():
        raise ValueError(
            "seeds are said to be shared, and not every sample has a value for each of them: "
            'leave out the seeds that lack one, or use seeds="nested".'
        )
    y = layout.to_numpy(dtype=float)
    i, j = y.shape
    down, across = y.mean(1), y.mean(0)
    df = (i - 1) * (j - 1)
    error = float(((y - down[:, None] - across + y.mean()) ** 2).sum()) / df
    sample = j * float(down.var(ddof=1))
    return _Squares(
        sample, i - 1, error, df, j, (sample - error) / j, i * float(across.var(ddof=1)), j - 1
    )


def _mean(means: list[float], found: _Squares, level: float) -> Interval:
    """Return the mean of samples; shared seeds move all samples at once and widen it."""
    value = float(np.mean(means))
    both = found.sample + found.column
    if both <= _ROUNDING * value**2:
        return Interval(value, None, None)
    df = both**2 / (found.sample**2 / found.df_sample + found.column**2 / found.df_column)
    half = stats.t.ppf((1 + level) / 2, df) * math.sqrt(both / (found.runs * len(means)))
    return Interval(value, value - float(half), value + float(half))


def _draws(found: _Squares, n_samples: int, rng: Seed) -> tuple[Floats, Floats, Floats, Floats]:
    """Return draws of the three standard deviations and of the share."""
    generator = np.random.default_rng(rng)

    def drawn(square: float, df: int) -> Floats:
        return square * df / generator.chisquare(df, N_DRAWS)

    sample, error = drawn(1, found.df_sample), drawn(found.error, found.df_error)
    within = error
    if found.column > 0:
        column = drawn(found.column, found.df_column)
        within = error * (1 - 1 / n_samples) + column / n_samples
    total = (found.sample * sample - error) / found.runs + within
    # Means closer than chance would have them are luck: taken as they are, the limits would say
    # that samples surely do not differ. They get those of means as far apart as chance has them.
    between = np.maximum(max(found.sample, found.error) * sample - error, 0) / found.runs
    return np.sqrt(between), np.sqrt(within), np.sqrt(total), between / (between + within)


def _limits(value: float, draws: Floats, level: float) -> Interval:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    # With unequal numbers the value is estimated one way and its draws are made another.
    return Interval(value, min(float(low), value), max(float(high), value))


def as_rows(found: Components) -> pd.DataFrame:
    """Return the table of what makes runs differ, for show."""
    seed_share = Interval(*(None if v is None else 1 - v for v in found.sample_share))
    return pd.DataFrame(
        [
            {
                "Runs differ by": what,
                "Standard deviation": tuple(sd),
                "Share of variance": share,
            }
            for what, sd, share in (
                ("the annotations drawn", found.sample, tuple(found.sample_share)),
                ("the training seed", found.seed,
                 (seed_share.value, seed_share.high, seed_share.low)),
                ("both", found.total, None),
            )
        ]
    )  # fmt: skip


def headline(found: Components) -> str:
    """Return the finding: which matters more only where the interval of the share says so."""
    said = f"A run's value varies by {found.total.value:.3f} (one standard deviation)"
    share = found.sample_share
    if share.value is None:
        return "All runs have the same value"
    if share.low is None or share.high is None:
        return f"{said}; seeds on the same annotations do not differ"
    if share.low > 0.5:
        return f"{said}, more by the annotations drawn than by the training seed"
    if share.high < 0.5:
        return f"{said}, more by the training seed than by the annotations drawn"
    return (
        f"{said}; whether annotations or seeds matter more is open with {found.n_samples} samples"
    )
