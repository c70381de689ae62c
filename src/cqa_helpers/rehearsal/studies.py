"""Simulated blind tests: how often each conclusion comes out, and how often it is right.

Each is dealt as the plan declares, rated as :mod:`cqa_helpers.rehearsal.scenarios` plants it, and
analysed as the real one.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field
from statsmodels.stats.proportion import proportion_confint

from cqa_helpers import blindtest, params, ratingmodels, study
from cqa_helpers.params import Params
from cqa_helpers.records import Record, write_atomically
from cqa_helpers.rehearsal.scenarios import Scenario, Setting, deal, rate, scenarios, setting_of

BLOCK = 10
"""Studies on one dealing; a process takes a block at a time."""


class Found(NamedTuple):
    """What one study concluded; limits are null where the ratings gave none."""

    scenario: str
    outcome: study.Outcome
    low: float | None
    high: float | None
    converged: bool


class Rates(Record):
    """How studies of one scenario came out.

    ``coverage`` is the share of intervals that hold ``effect``, ``width`` their mean width, both
    null where no study had one; ``without`` is the share of studies that had none.
    """

    effect: float
    n: int = Field(ge=1)
    shares: dict[study.Outcome, float]
    coverage: float | None
    width: float | None
    without: float
    not_converged: float
    own_model: bool


class Simulated(Record):
    """Rates of all scenarios; ``fingerprint`` is that of the params they were simulated for.

    ``type_i_beats`` is the share of *beats* at equality, ``type_i_matches`` that of *beats* or
    *matches* where the candidate is worse by the whole margin, ``coverage`` the share of all
    intervals that hold what was planted; each with Clopper and Pearson's 95 % limits.
    """

    fingerprint: str
    n_studies: int
    type_i_beats: float
    type_i_beats_limits: tuple[float, float]
    type_i_matches: float
    type_i_matches_limits: tuple[float, float]
    coverage: float | None
    coverage_limits: tuple[float, float] | None
    by_scenario: dict[str, Rates]


def fingerprint(given: Params) -> str:
    """Return the hash of what the studies depend on."""
    setting = setting_of(given)
    return params.fingerprint(
        {
            "blind": setting.blind.model_dump(mode="json"),
            "study": setting.plan.model_dump(mode="json"),
            "seeds": setting.seeds,
            "seed": setting.seed,
        }
    )


def conclude(scenario: Scenario, setting: Setting, table: pd.DataFrame) -> Found:
    """Return what the analysis of the real ratings makes of these."""
    rows = table[(table["kind"] == "item") & (table["criterion"] == setting.blind.criterion)]
    found = ratingmodels.fit(rows, setting.plan.reference)
    said = blindtest.concluded(found, setting.blind, setting.plan)
    converged = found.fit is not None and found.fit.converged
    return Found(scenario.name, said.outcome, said.difference.low, said.difference.high, converged)


def block(setting: Setting, scenario: Scenario, studies: range) -> list[Found]:
    """Return the studies of these numbers, on one dealing.

    They depend on the run's seed, the scenario's name and their numbers alone.
    """
    named = [setting.seed, *scenario.name.encode()]
    dealt = deal(setting, np.random.default_rng([*named, studies.start, 0]))
    tables = (
        rate(scenario, setting, dealt, np.random.default_rng([*named, i, 1])) for i in studies
    )
    return [conclude(scenario, setting, table) for table in tables]


def simulate(given: Params, processes: int = 1) -> Simulated:
    """Return how the simulated studies of a profile come out, the same by any ``processes``."""
    setting = setting_of(given)
    assert setting.blind.simulation is not None
    n = setting.blind.simulation.studies
    planted = scenarios(setting)
    tasks = [
        (setting, s, range(start, min(start + BLOCK, n)))
        for s in planted
        for start in range(0, n, BLOCK)
    ]
    if processes == 1:
        blocks = list(itertools.starmap(block, tasks))
    else:
        # New processes and not forked ones: a fork of one with threads can hang.
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            blocks = list(pool.map(block, *zip(*tasks, strict=True)))
    return summary(planted, [f for made in blocks for f in made], fingerprint(given))


def summary(planted: Sequence[Scenario], found: Sequence[Found], of: str) -> Simulated:
    """Return the rates of studies by scenario, and those that say whether the analysis holds."""
    effects = {s.name: s.effect for s in planted}
    by_scenario = {s.name: _rates(s, [f for f in found if f.scenario == s.name]) for s in planted}
    equal, worse = by_scenario["equal"], by_scenario["at the margin"]
    matched = worse.shares["matches"] + worse.shares["beats"]
    held = [_holds(f, effects[f.scenario]) for f in found if f.low is not None]
    return Simulated(
        fingerprint=of,
        n_studies=len(found),
        type_i_beats=equal.shares["beats"],
        type_i_beats_limits=_limits(equal.shares["beats"], equal.n),
        type_i_matches=matched,
        type_i_matches_limits=_limits(matched, worse.n),
        coverage=float(np.mean(held)) if held else None,
        coverage_limits=_limits(float(np.mean(held)), len(held)) if held else None,
        by_scenario=by_scenario,
    )


def _rates(scenario: Scenario, found: Sequence[Found]) -> Rates:
    spans = [(f.low, f.high) for f in found if f.low is not None and f.high is not None]
    held = [_holds(f, scenario.effect) for f in found if f.low is not None]
    return Rates(
        effect=scenario.effect,
        n=len(found),
        shares={o: float(np.mean([f.outcome == o for f in found])) for o in study.OUTCOMES},
        coverage=float(np.mean(held)) if held else None,
        width=float(np.mean([high - low for low, high in spans])) if spans else None,
        without=(len(found) - len(spans)) / len(found),
        not_converged=float(np.mean([not f.converged for f in found])),
        own_model=not scenario.others,
    )


def _holds(found: Found, effect: float) -> bool:
    return found.low is not None and found.high is not None and found.low <= effect <= found.high


def _limits(share: float, n: int) -> tuple[float, float]:
    low, high = proportion_confint(round(share * n), n, alpha=0.05, method="beta")
    return float(low), float(high)


def as_rows(found: Simulated) -> pd.DataFrame:
    """Return the table of rates for show; shares in per cent, missing where there is none.

    The column of studies without an interval is there where some have none.
    """

    def percent(share: float | None) -> float | None:
        return None if share is None else 100 * share

    names: dict[study.Outcome, str] = {
        "beats": "Beats, %", "matches": "Matches, %", "inconclusive": "Inconclusive, %",
        "falls-short": "Falls short, %",
    }  # fmt: skip
    made = pd.DataFrame(
        [
            {
                "Planted": name,
                "Log-odds": r.effect,
                "Studies": r.n,
                **{title: percent(r.shares[o]) for o, title in names.items()},
                "Interval holds it, %": percent(r.coverage),
                "Mean width": r.width,
                "No interval, %": percent(r.without),
            }
            for name, r in found.by_scenario.items()
        ]
    )
    lost = made["No interval, %"].any()
    return made if lost else made.drop(columns="No interval, %")


def headline(found: Simulated) -> str:
    """Return the finding as one sentence."""
    low, high = found.type_i_beats_limits
    equal = found.by_scenario["equal"].shares
    held = (
        "no interval could be computed"
        if found.coverage is None
        else f"intervals held the planted effect in {found.coverage:.1%}"
    )
    return (
        f"In {found.n_studies:,} simulated studies an equal candidate was said to match the "
        f"reference in {equal['matches']:.1%} and to beat it in {found.type_i_beats:.1%} (95 % "
        f"limits {low:.1%} to {high:.1%}), one worse by the whole margin to match or beat it in "
        f"{found.type_i_matches:.1%}, and {held}."
    )


def read(file: Path) -> Simulated:
    """Return what :func:`main` wrote."""
    return Simulated.model_validate_json(Path(file).read_text(encoding="utf-8"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate the studies of a params file and write their rates as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=min(8, os.cpu_count() or 1))
    given = parser.parse_args(arguments)
    # For the new processes: matrices here are too small for threads, whoever has set more.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    found = simulate(params.load(given.params), given.processes)
    write_atomically(given.out, found.model_dump_json(indent=1) + "\n")
    print(headline(found))


if __name__ == "__main__":
    main()
