"""Time the audit's agreement statistics on 100,000 simulated verdicts. Run by hand.

    .venv/bin/python benchmarks/audit.py                    # the whole: under a minute
    .venv/bin/python benchmarks/audit.py --works 200 --rounds 200

Prints a Markdown table of seconds and memory, then the same measures as a plain loop over copied
rows on a small slice, whose limits must come out the same.
"""

from __future__ import annotations

import argparse
import datetime
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
from run import git, machine

from cqa_helpers import raters, reliability
from cqa_helpers.agreement import resample

SCALES = {"ending": "0-1", "logic": "0-1", "suspense": "0-1", "voice": "1-5", "world": "1-5"}
JUDGES = [f"judge-{j:02}" for j in range(12)]
ITEMS_A_WORK = 3
UNREADABLE = 0.02
T = TypeVar("T")


class Step(NamedTuple):
    """One measured call: wall seconds, and the process's highest memory so far in MiB."""

    what: str
    seconds: float
    peak_mib: float


def simulate(n_works: int, seed: int = 0) -> pd.DataFrame:
    """Return simulated verdicts: three or four of twelve judges read an item, on all dimensions.

    Works differ in quality and judges in harshness and skill; a few verdicts are unreadable.
    """
    rng = np.random.default_rng(seed)
    n_items = n_works * ITEMS_A_WORK
    quality = np.repeat(rng.normal(0, 1, n_works), ITEMS_A_WORK) + rng.normal(0, 0.7, n_items)
    harsh, noise = rng.normal(0, 0.4, len(JUDGES)), rng.uniform(0.5, 1.5, len(JUDGES))
    reads = rng.permuted(np.tile(np.arange(len(JUDGES)), (n_items, 1)), axis=1)[:, :4]
    keep = np.arange(4) < np.where(rng.random(n_items) < 1 / 3, 4, 3)[:, None]
    item, judge = np.nonzero(keep)[0], reads[keep]
    parts = []
    for dimension, scale in SCALES.items():
        low, high = map(int, scale.split("-"))
        own = rng.normal(0, 0.7, n_items)
        felt = (quality + own)[item] - harsh[judge] + noise[judge] * rng.normal(0, 1, len(item))
        value = np.clip(np.rint((low + high) / 2 + felt * (high - low) / 4), low, high).astype(int)
        lost = rng.random(len(item)) < UNREADABLE
        parts.append(pd.DataFrame({
            "item_id": [f"w{i // ITEMS_A_WORK:05}-{i % ITEMS_A_WORK}" for i in item],
            "dimension": dimension, "judge_id": [JUDGES[j] for j in judge], "repeat": 0,
            "value": pd.array(value, dtype="Int64"), "scale": scale,
            "probability": pd.array([pd.NA] * len(item), dtype="Float64"), "reason": "",
            "status": np.where(lost, "unparsed", "ok"), "meta": "{}",
        }))  # fmt: skip
        parts[-1].loc[lost, "value"] = pd.NA
    return pd.concat(parts, ignore_index=True)


def timed(what: str, call: Callable[[], T]) -> tuple[Step, T]:
    """Run a call and measure it."""
    print(f"{what} …", file=sys.stderr, flush=True)
    start = time.perf_counter()
    found = call()
    seconds = time.perf_counter() - start
    return Step(what, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024), found


def audit(table: pd.DataFrame, clusters: dict[str, str], n_boot: int) -> list[Step]:
    """Measure each statistic of the audit on the whole table."""
    more = {"clusters": clusters, "n_boot": n_boot}
    two, five = (table[table["scale"] == s] for s in ("0-1", "1-5"))
    steps = [
        timed("alpha, nominal", lambda: reliability.krippendorff_alpha(table, **more)),
        timed("alpha, ordinal", lambda: reliability.krippendorff_alpha(table, "ordinal", **more)),
        timed("alpha, interval", lambda: reliability.krippendorff_alpha(five, "interval", **more)),
        timed("Fleiss' kappa", lambda: reliability.fleiss(table, **more)),
        timed("by dimension", lambda: reliability.by_dimension(table, **more)),
        timed("66 pairs, Cohen's kappa", lambda: raters.pairwise_kappa(table, **more)),
        timed("leave one of 12 out", lambda: raters.leave_one_out(table, **more)),
        timed("harshness, scale 0-1", lambda: raters.harshness(two, **more)),
        timed("harshness, scale 1-5", lambda: raters.harshness(five, **more)),
    ]
    return [step for step, _ in steps]


def plain_alpha(rows: pd.DataFrame) -> float:
    """Return nominal alpha of one dimension's readable rows with pandas alone."""
    counts = rows.groupby(["item_id", "value"]).size().unstack(fill_value=0)
    counts = counts[counts.sum(axis=1) > 1]
    m, n = counts.sum(axis=1), counts.sum()
    apart = (m * m - (counts**2).sum(axis=1)) / (m - 1)
    return 1 - (n.sum() - 1) * apart.sum() / (n.sum() ** 2 - (n**2).sum())


def plain_harshness(rows: pd.DataFrame, judge: str) -> float:
    """Return one judge's mean difference from the others on a cell with pandas alone."""
    total = rows.groupby(["item_id", "dimension"])["value"].agg(["sum", "size"])
    own = rows[rows["judge_id"] == judge].set_index(["item_id", "dimension"])["value"]
    total = total.loc[own.index]
    others = (total["sum"] - own) / (total["size"] - 1)
    return float((own - others)[total["size"] > 1].mean())


def looped(
    rows: pd.DataFrame,
    clusters: dict[str, str],
    rounds: int,
    measure: Callable[[pd.DataFrame], float],
) -> list[float]:
    """Return a measure on copies of rows, one resample of works after the other."""
    by_work = dict(list(rows.groupby(rows["item_id"].map(clusters))))
    names = sorted(by_work)
    drawn = []
    for times in resample(len(names), rounds, 0):
        copies = [
            by_work[name].assign(item_id=by_work[name]["item_id"] + f"+{c}")
            for name, n in zip(names, times, strict=True)
            for c in range(n)
        ]
        drawn.append(measure(pd.concat(copies)))
    return drawn


def compare(table: pd.DataFrame, clusters: dict[str, str], rounds: int) -> list[str]:
    """Time loops beside ours on the same slice and rounds; refuse limits that differ."""
    rows = table[table["dimension"] == "voice"]
    ok = rows[rows["status"] == "ok"].astype({"value": int})
    more = {"clusters": clusters, "n_boot": rounds}
    judge = JUDGES[0]
    pairs = (
        ("alpha, nominal", plain_alpha,
         lambda: reliability.krippendorff_alpha(rows, **more).alpha[1:]),
        ("harshness, one judge", lambda r: plain_harshness(r, judge),
         lambda: raters.harshness(rows, **more).loc[0, ["difference_low", "difference_high"]]),
    )  # fmt: skip
    lines = []
    for what, plain, ours in pairs:
        slow, drawn = timed(f"{what}, loop", lambda p=plain: looped(ok, clusters, rounds, p))
        quick, limits = timed(f"{what}, ours", ours)
        by_loop = np.quantile(drawn, [0.025, 0.975])
        if not np.allclose(by_loop, list(limits), rtol=0, atol=1e-9):
            sys.exit(f"{what}: limits differ, {by_loop} by the loop and {list(limits)} by ours")
        ratio = slow.seconds / quick.seconds
        lines.append(f"| {what} | {slow.seconds:.2f} | {quick.seconds:.3f} | {ratio:.0f} |")
    return lines


def main() -> None:
    """Simulate, measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--works", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--slice", type=int, default=60, help="works in the plain loop")
    parser.add_argument("--slice-rounds", type=int, default=100)
    args = parser.parse_args()
    start = f"{datetime.date.today()}, commit {git('rev-parse', '--short', 'HEAD')}"
    start += f", load {os.getloadavg()[0]:.1f} at the start  "
    table = simulate(args.works)
    clusters = {item: item.split("-")[0] for item in set(table["item_id"])}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    steps = audit(table, clusters, args.rounds)
    kept = table["item_id"].map(clusters) < f"w{args.slice:05}"
    lines = compare(table[kept], clusters, args.slice_rounds)
    print(start)
    print(f"{machine()}  ")
    print(f"Simulated: {len(table):,} verdicts, {args.works:,} works, {len(JUDGES)} judges, "
          f"{args.rounds:,} rounds; {before:.0f} MiB before the first\n")  # fmt: skip
    print("| statistic | seconds | peak so far, MiB |\n|---|---:|---:|")
    for step in steps:
        print(f"| {step.what} | {step.seconds:.2f} | {step.peak_mib:.0f} |")
    print(f"| **all** | {sum(s.seconds for s in steps):.2f} | {steps[-1].peak_mib:.0f} |\n")
    print(f"The same draws on {args.slice} works, one dimension, {args.slice_rounds} rounds:\n")
    print("| measure | plain loop, s | ours, s | times |\n|---|---:|---:|---:|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
