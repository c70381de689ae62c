"""The learning curve: how runs rise with annotations, and how many a wanted precision would take.

Values are AUC or kappa on held-out passages, one a size and seed. What lies beyond the largest
size measured is extrapolated and marked as such.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from cqa_helpers.agreement import FEWEST_CLUSTERS, Floats, Interval, Seed, interval, resample
from cqa_helpers.powerlaw import FASTEST, SLOWEST, Fit, fits
from cqa_helpers.seeds import known_runs, t_interval

# Beyond four times the largest size an extrapolation is flagged as far.
FAR = 4
MOST = 1_000_000
NOTHING = Interval(None, None, None)
# Shares of a scale that count as nothing, as near an edge, and as often.
_NONE, _EDGE, _OFTEN = 1e-6, 1.02, 0.25


class Needed(NamedTuple):
    """A number of annotations; null, with the reason in ``why``, where none can be given.

    ``n`` has whole numbers, from the smallest size measured up; an upper limit that is null is
    above a million, or has no bound. ``beyond`` and ``far`` say
    that it lies above the largest size measured, and above four times that.
    """

    wanted: float
    n: Interval
    beyond: bool
    far: bool
    why: str | None
    exponent: Interval = NOTHING


class Curve(NamedTuple):
    """A learning curve.

    ``sizes`` has a row a size: ``n``, ``runs``, ``missing``, ``sd``, ``value`` (mean) with a
    t-interval ``low`` and ``high``. ``band`` is the fitted curve on a grid, ``n``, ``value``,
    ``low``, ``high``; empty without a fit. ``notes`` say what the data do not pin down. ``draws``
    are fits ``(draws, 3)`` to resampled seeds.
    """

    sizes: pd.DataFrame
    fit: Fit | None
    asymptote: Interval
    band: pd.DataFrame
    notes: tuple[str, ...]
    n_seeds: int
    level: float
    draws: Floats

    def at(self, n: float) -> Interval:
        """Return the fitted value at a size, with its band."""
        if self.fit is None:
            return NOTHING
        a, b, c = self.draws.T
        return interval(self.fit.at(n), a - b * n**-c, self.level)

    def as_dict(self) -> dict[str, object]:
        """Return the curve for a results file, without its draws."""
        return {
            "sizes": self.sizes.to_dict("records"),
            "fit": self.fit,
            "asymptote": self.asymptote,
            "notes": list(self.notes),
            "n_seeds": self.n_seeds,
        }

    def reaches(self, target: float) -> Needed:
        """Return the size at which the curve reaches a target.

        Null where the interval of the asymptote does not lie above the target.
        """
        low = self.asymptote.low
        if self.fit is None or low is None:
            lacking = "there is no fitted curve" if self.fit is None else "the curve has no band"
            return Needed(target, NOTHING, False, False, f"{lacking}: {'; '.join(self.notes)}")
        if min(low, self.fit.a) <= target:
            why = f"where the curve levels off ({self.asymptote.value:.2f}, from {low:.2f})"
            return Needed(target, NOTHING, False, False, f"{why} is not above {target:.2f}")
        a, b, c = np.vstack([self.fit, self.draws[~np.isnan(self.draws[:, 0])]]).T
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            sizes = np.where(a > target, (b / np.maximum(a - target, 0)) ** (1 / c), np.inf)
        tails = [(1 - self.level) / 2, (1 + self.level) / 2]
        ends = np.quantile(sizes[1:], tails, method="inverted_cdf")
        measured = self.sizes.loc[self.sizes["runs"] > 0, "n"]
        return needed(target, (sizes[0], *ends), measured)


def learning_curve(
    rows: pd.DataFrame,
    *,
    ceiling: float = 1.0,
    pool: int | None = None,
    n_boot: int = 2000,
    rng: Seed = 0,
    level: float = 0.95,
) -> Curve:
    """Fit an inverse power law to runs at several sizes, by least squares over all runs.

    The band draws whole seeds anew, because a seed's runs at several sizes are not independent.
    Drawn means are moved away from the means seen until the interval of a plain mean would be its
    t-interval; with so few seeds a plain bootstrap is too narrow (our choice). Fewer than five
    seeds have no band, fewer than three sizes no fit.

    Parameters
    ----------
    rows
        ``n``, ``seed``, ``value``: one row a run.
    ceiling
        The highest value there is, 1 for AUC and kappa: no asymptote or limit lies above it.
    pool
        How many annotations all samples are drawn from. Seeds that see most of it see the same.
    n_boot, rng, level
        Resamples of seeds, their seed or generator, and the level of intervals.

    Raises
    ------
    ValueError
        As :func:`cqa_helpers.seeds.known_runs`, no value at all, or a size below 1.
    """
    known, _ = known_runs(rows, ["n", "seed"])
    sizes = _sizes(rows, known, level, ceiling)
    seen = sizes[sizes["runs"] > 0]
    notes = pooled(seen["n"], pool)
    layout = known.pivot(index="seed", columns="n", values="value").to_numpy(dtype=float)
    none = pd.DataFrame(columns=["n", "value", "low", "high"], dtype=float)
    if len(seen) < 3:
        why = f"{len(seen)} size(s) cannot tell how the rise levels off; three or more can"
        return Curve(
            sizes, None, NOTHING, none, (why, *notes), len(layout), level,
            np.empty((0, 3)),
        )  # fmt: skip
    n, means = seen["n"].to_numpy(dtype=float), seen["value"].to_numpy(dtype=float)
    counts = seen["runs"].to_numpy(dtype=float)
    fit = Fit(*fits(n, means[None], counts[None], ceiling)[0].tolist())
    draws = np.empty((0, 3))
    if len(layout) >= FEWEST_CLUSTERS:
        drawn, weights = _drawn_means(layout, means, n_boot, rng, level)
        draws = fits(n, drawn, weights, ceiling)
    notes = [*_unsure(fit, draws, ceiling, len(layout)), *notes]
    curve = Curve(
        sizes, fit, interval(fit.a, draws[:, 0], level), none, tuple(notes), len(layout), level,
        draws,
    )  # fmt: skip
    grid = np.union1d(np.geomspace(n.min(), FAR * n.max(), 60), n)
    band = pd.DataFrame([{"n": at, **curve.at(at).as_dict()} for at in grid], dtype=float)
    return curve._replace(band=band)


def _sizes(rows: pd.DataFrame, known: pd.DataFrame, level: float, ceiling: float) -> pd.DataFrame:
    if known.empty:
        raise ValueError("no run has a value: there is no learning curve.")
    if not (rows["n"] >= 1).all():
        raise ValueError(f"a size is {rows['n'].min()}: sizes are numbers of annotations from 1.")
    made = []
    for n, group in rows.groupby("n"):
        y = known.loc[known["n"] == n, "value"]
        sd = float(y.std(ddof=1)) if len(y) > 1 else None
        made.append(
            {"n": n, "runs": len(y), "missing": len(group) - len(y), "sd": sd,
             **t_interval(y, level).as_dict()}
        )  # fmt: skip
    table = pd.DataFrame(made)
    return table.assign(high=table["high"].astype(float).clip(upper=ceiling))


def _drawn_means(
    layout: Floats, means: Floats, n_boot: int, rng: Seed, level: float
) -> tuple[Floats, Floats]:
    """Return each resample's means and numbers of runs by size, spread as t-intervals are."""
    n_seeds = len(layout)
    times = resample(n_seeds, n_boot, rng)
    weights = (times @ ~np.isnan(layout)).astype(float)
    drawn = times @ np.nan_to_num(layout) / np.maximum(weights, 1)
    tail = (1 + level) / 2
    wider = stats.t.ppf(tail, n_seeds - 1) / stats.norm.ppf(tail)
    wider *= math.sqrt(n_seeds / (n_seeds - 1))
    return means + wider * (drawn - means), weights


def _unsure(fit: Fit, draws: Floats, ceiling: float, n_seeds: int) -> list[str]:
    said = []
    if len(draws) == 0:
        said.append(f"{n_seeds} seed(s) carry no band; {FEWEST_CLUSTERS} or more do")
    if fit.b <= _NONE:
        said.append("no rise is seen: the curve is flat")
    elif not SLOWEST * _EDGE < fit.c < FASTEST / _EDGE:
        said.append(
            f"the rate is at the edge of the range we allow ({SLOWEST:g} to {FASTEST:g}): where "
            "the curve levels off follows from our choice"
        )
    elif fit.a >= ceiling - _NONE:
        said.append(f"the curve would rise past {ceiling:g}: it levels off there by our bound")
    elif len(draws):
        a, b, c = draws[~np.isnan(draws[:, 0])].T
        bound = (a >= ceiling - _NONE) | (b <= _NONE) | (c <= SLOWEST) | (c >= FASTEST)
        if (share := bound.mean()) > _OFTEN:
            said.append(
                f"in {share:.0%} of resamples the fit ends at a bound of ours: where the curve "
                "levels off is not pinned down"
            )
    return said


def pooled(n: pd.Series, pool: int | None) -> list[str]:
    """Return a warning where the largest sample takes more than half of all annotations."""
    if pool is None or n.max() <= pool / 2:
        return []
    return [
        f"at {n.max():.0f} annotations seeds share most or all of the {pool} there are: what other "
        "annotations would do does not show there"
    ]


def needed(
    wanted: float,
    found: Sequence[float],
    sizes: pd.Series,
    why: str | None = None,
    exponent: Interval = NOTHING,
) -> Needed:
    """Return sizes (value, low, high) as whole numbers of annotations, with their flags."""
    low, high = float(sizes.min()), float(sizes.max())
    n, first, last = (math.ceil(max(v, low) - 1e-6) if v <= MOST else None for v in found)
    if n is None:
        lacking = f"more than {MOST:,} annotations"
        return Needed(wanted, NOTHING, False, False, lacking, exponent)
    return Needed(wanted, Interval(n, first, last), n > high, n > FAR * high, why, exponent)


def as_rows(curve: Curve) -> pd.DataFrame:
    """Return the table of sizes for show: means with intervals, and the fitted curve."""
    made = []
    for row in curve.sizes.to_dict("records"):
        made.append(
            {
                "Annotations": int(row["n"]),
                "Runs": int(row["runs"]),
                "Without a value": int(row["missing"]),
                "Mean": (row["value"], row["low"], row["high"]),
                "Standard deviation": row["sd"],
            }
        )
        if curve.fit is not None:
            made[-1]["Fitted curve"] = tuple(curve.at(row["n"]))
    return pd.DataFrame(made)


def headline(curve: Curve, measure: str = "AUC") -> str:
    """Return the finding: a rise only where the ends' fitted bands lie apart."""
    ends = curve.sizes[curve.sizes["runs"] > 0]
    first, last = int(ends["n"].iloc[0]), int(ends["n"].iloc[-1])
    if first == last:
        return f"{measure} {ends['value'].iloc[0]:.2f} at {first} annotations"
    said = (
        f"From {first} to {last} annotations, mean {measure} goes from "
        f"{ends['value'].iloc[0]:.2f} to {ends['value'].iloc[-1]:.2f}"
    )
    low, high = curve.at(first), curve.at(last)
    if low.high is None or high.low is None:
        return f"{said}; too few sizes or seeds to say how it goes on"
    if high.low <= low.high:
        return f"{said}; a rise is not shown"
    if curve.notes:
        return f"{said}; where it levels off is not pinned down"
    level = curve.asymptote
    return f"{said}, and levels off at {level.value:.2f} ({level.low:.2f} to {level.high:.2f})"
