"""Time the blind test's statistics on simulated ratings. Run by hand.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/blind.py                # all but power
    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/blind.py --only rounds

``rounds``: the bootstrap over passages and raters beside a plain loop that copies the rows and
columns of each resample. ``studies``: simulated studies in several processes. ``fit``: one ordinal
model beside R's ``clmm``, where Rscript and the package ordinal are installed. ``power`` times
nothing: it asks how often simulated studies find what the power formula says four of five do.
"""

from __future__ import annotations

import argparse
import datetime
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from run import git, machine

from cqa_helpers import contrasts, effects, ordinal, params, power
from cqa_helpers.agreement import interval
from cqa_helpers.rehearsal import scenarios, studies

T = TypeVar("T")
TERMS = ("rater", "passage", "passage:judge", "rater:judge")
CLMM = """
library(ordinal)
rows <- read.csv(commandArgs(TRUE)[1], stringsAsFactors = TRUE)
rows$value <- factor(rows$value)
seconds <- system.time(found <- suppressWarnings(clmm(
  value ~ judge + (1 | rater) + (1 | passage) + (1 | diagnosis) + (1 | taste), data = rows
)))[["elapsed"]]
cat(seconds, as.numeric(logLik(found)), found$beta, "\\n")
"""


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Run a call; return wall seconds and what it gave."""
    start = time.perf_counter()
    found = call()
    return time.perf_counter() - start, found


def ratings(passages: int, raters: int, seed: int = 0) -> tuple[scenarios.Setting, pd.DataFrame]:
    """Return simulated ratings of three judges: every rater rates every passage."""
    setting = scenarios.setting_of(params.load("params/phase1.yaml"))
    changes = {
        "n_items": passages, "raters_a_passage": None,
        "raters": [f"rater-{i}" for i in range(1, raters + 1)],
    }  # fmt: skip
    setting = setting._replace(blind=setting.blind.model_copy(update=changes), seeds=1)
    rng = np.random.default_rng(seed)
    planted = scenarios.Scenario("equal", 0.0)
    return setting, scenarios.rate(planted, setting, scenarios.deal(setting, rng), rng)


def rounds(n_boot: int) -> list[str]:
    """Time the bootstrap, and the loop whose limits it must have."""
    setting, table = ratings(100, 5)
    names = {"judge": "judge_id", "passage": "passage_id", "rater": "rater_id"}
    named = table.rename(columns=names)
    a, b = setting.plan.candidate, setting.plan.reference

    def plain() -> contrasts.Interval:
        centred = named["value"] - named.groupby("rater_id")["value"].transform("mean")
        wide = named.assign(value=centred).pivot(
            index=["passage_id", "rater_id"], columns="judge_id", values="value"
        )
        gap = (wide[a] - wide[b]).unstack("rater_id").to_numpy()
        p, r = gap.shape
        rng = np.random.default_rng(0)
        draws = [
            np.nanmean(gap[np.ix_(rng.integers(0, p, p), rng.integers(0, r, r))])
            for _ in range(n_boot)
        ]
        return interval(float(np.nanmean(gap)), draws)

    ours = [timed(lambda: contrasts.rating_contrast(named, a, b, n_boot)) for _ in range(3)]
    slow, loop = timed(plain)
    for one, other in zip(ours[0][1], loop, strict=True):
        if one is None or other is None or abs(one - other) > 0.02:
            raise SystemExit(f"limits differ: {ours[0][1]} and, by the loop, {loop}")
    what = f"{n_boot:,} rounds, 100 passages × 3 judges × 5 raters"
    best = min(seconds for seconds, _ in ours)
    return [f"| {what}: ours, best of three | {best:.2f} |", f"| {what}: a loop | {slow:.2f} |"]


def simulated(profile: str, total: int, processes: int) -> list[str]:
    """Time about ``total`` studies in all, over the scenarios."""
    given = params.load(params.file_of(profile))
    setting = scenarios.setting_of(given)
    assert setting.blind.simulation is not None
    each = max(10, round(total / len(scenarios.scenarios(setting))))
    by = setting.blind.simulation.model_copy(update={"studies": each})
    blind = setting.blind.model_copy(update={"simulation": by})
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, found = timed(
        lambda: studies.simulate(given.model_copy(update={"blind": blind}), processes)
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(studies.headline(found))
    print(studies.as_rows(found).round(1).to_string(index=False), "\n")
    what = f"{found.n_studies:,} studies as {profile} declares, {processes} process(es)"
    rows = [f"| {what} | {seconds:.0f} |"]
    if processes > 1:
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        rows.append(f"| the same: CPU seconds of all processes | {cpu:.0f} |")
    return rows


def fit(passages: int, raters: int) -> list[str]:
    """Time one model, and R's of the same ratings if it is there."""
    _, table = ratings(passages, raters)
    what = f"one fit, {passages} passages × {raters} raters × 3 judges, four random terms"
    times = [timed(lambda: ordinal.fit(table, random=TERMS)) for _ in range(3)]
    found = times[0][1]
    best = min(seconds for seconds, _ in times)
    rows = [f"| {what}: ours, best of three | {best:.2f} |"]
    if not shutil.which("Rscript"):
        return [*rows, "| the same by R's clmm | no Rscript here |"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ratings.csv"
        table.assign(
            diagnosis=table["passage"] + table["judge"], taste=table["rater"] + table["judge"]
        ).to_csv(file, index=False)
        (Path(folder) / "clmm.R").write_text(CLMM, encoding="utf-8")
        done = subprocess.run(
            ["Rscript", str(Path(folder) / "clmm.R"), str(file)], capture_output=True, text=True
        )
    if done.returncode:
        return [*rows, "| the same by R's clmm | the package ordinal is not there |"]
    seconds, loglik, *_ = map(float, done.stdout.split())
    assert found.loglik is not None
    gap = effects.contrast(found, "tuned", "gpt4", small_sample=False)
    print(
        f"log-likelihood {found.loglik:.4f}, R's {loglik:.4f}; tuned minus gpt4 {gap.value:.4f}\n"
    )
    return [*rows, f"| the same by R's clmm, loading left out | {seconds:.2f} |"]


DESIGNS: tuple[dict[str, Any], ...] = (
    {"raters": 5}, {"raters": 5, "seeds": 1}, {"raters": 5, "seeds": 3, "n_items": 30},
    {"raters": 5, "seeds": 3, "n_items": 80}, {"raters": 3, "seeds": 1},
    {"raters": 10, "seeds": 1, "n_items": 60}, {"raters": 8, "n_items": 60},
    {"raters": 10, "raters_a_passage": None, "n_items": 30, "seeds": 1},
    {"raters": 6, "raters_a_passage": None, "n_items": 20},
    {"raters": 4, "n_items": 20, "seeds": 1},
)  # fmt: skip


def powers(n: int) -> None:
    """Plant what each of ten designs should find in four of five studies, and see."""
    base = scenarios.setting_of(params.load(params.file_of("phase1")))
    print(
        "| raters | a passage | passages | seeds | log-odds | found, % |\n|--:|--:|--:|--:|--:|--:|"
    )
    for given in DESIGNS:
        changes = dict(given)
        seeds = changes.pop("seeds", base.seeds)
        changes["raters"] = [f"rater-{i}" for i in range(1, changes["raters"] + 1)]
        blind = base.blind.model_copy(update=changes)
        clear = power.of_design(blind, base.plan.level, seeds)
        setting, planted = base._replace(blind=blind, seeds=seeds), scenarios.Scenario("", clear)
        found = [
            f
            for start in range(0, n, studies.BLOCK)
            for f in studies.block(setting, planted, range(start, min(start + studies.BLOCK, n)))
        ]
        share = sum(f.outcome == "beats" for f in found) / n
        each = blind.raters_a_passage or len(blind.raters)
        print(f"| {len(blind.raters)} | {each} | {blind.n_items} | {seeds} | {clear:.2f} "
              f"| {100 * share:.0f} |", flush=True)  # fmt: skip


def main() -> None:
    """Measure what is asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["rounds", "studies", "fit", "power"])
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--profile", default="rehearsal")
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    print(machine(), git("rev-parse", "--short", "HEAD"), datetime.date.today(), sep=", ")
    print(f"load average {os.getloadavg()[0]:.1f}\n")
    if given.only == "power":
        return powers(given.studies // len(DESIGNS))
    rows = []
    if given.only in (None, "rounds"):
        rows += rounds(given.rounds)
    if given.only in (None, "fit"):
        rows += [row for size in ((24, 4), (100, 5)) for row in fit(*size)]
    if given.only in (None, "studies"):
        rows += simulated(given.profile, given.studies, given.processes)
    print("| what | seconds |\n|---|--:|", *rows, sep="\n")


if __name__ == "__main__":
    main()
