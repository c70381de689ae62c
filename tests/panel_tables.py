"""Tables of verdicts for tests of panels: printed examples, and simulated ones."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

Cell = tuple[str, str, str, int | None]  # item, dimension, judge, value

# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section C: four observers, one
# a line, twelve units, a dot where an observer gave no value. Printed there: nominal alpha .743,
# ordinal .815, interval .849, over 40 values in units with two or more.
KRIPPENDORFF = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)

# Fleiss 1971 (Psychological Bulletin 76, 378-382), table 1: how many of six psychiatrists gave each
# of thirty patients the diagnosis depression, personality disorder, schizophrenia, neurosis,
# other. Printed there: kappa .430; by diagnosis .245, .245, .520, .471, .566.
FLEISS = (
    "00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 "
    "10050 11040 03300 10050 02031 00501 30012 51000 02040 10203 "
    "00006 01050 02013 20040 10041 05010 40002 02040 10500 00006"
)


def frame(rows: Iterable[Cell], scale: str = "1-5") -> pd.DataFrame:
    """Return rows as ``to_table`` gives them, without the time that validation takes."""
    table = pd.DataFrame(list(rows), columns=["item_id", "dimension", "judge_id", "value"])
    lost = table["value"].isna()
    return table.assign(
        repeat=0, scale=scale, probability=pd.array([pd.NA] * len(table), dtype="Float64"),
        reason="", status=np.where(lost, "unparsed", "ok"), meta="{}",
    ).astype({"value": "Int64"})  # fmt: skip


def from_lines(lines: Iterable[str]) -> pd.DataFrame:
    """Return one judge a line, one item a column; a dot has no value."""
    return frame(
        (f"u{u:02}", "d", f"judge {j}", None if v == "." else int(v))
        for j, line in enumerate(lines)
        for u, v in enumerate(line.split())
    )


def from_counts(counts: Iterable[Iterable[int]]) -> pd.DataFrame:
    """Return a row of counts as that many verdicts 1, 2, … on one item, by nameless judges."""
    rows = []
    for i, row in enumerate(counts):
        values = [k for k, n in enumerate(row, start=1) for _ in range(n)]
        rows += [(f"i{i:02}", "d", f"r{j:02}", value) for j, value in enumerate(values)]
    return frame(rows)


def simulated(
    seed: int,
    n_items: int = 12,
    dimensions: Iterable[str] = ("d",),
    n_judges: int = 4,
    missing: float = 0.2,
    top: int = 4,
) -> pd.DataFrame:
    """Return judges who loosely agree on values 1 to ``top``, some without a value."""
    rng = np.random.default_rng(seed)
    rows: list[Cell] = []
    for i in range(n_items):
        for d in dimensions:
            truth = rng.integers(1, top + 1)
            for j in range(n_judges):
                said = int(truth if rng.random() < 0.6 else rng.integers(1, top + 1))
                rows.append((f"i{i:03}", d, f"j{j}", None if rng.random() < missing else said))
    return frame(rows)


def works(table: pd.DataFrame, n: int) -> dict[str, str]:
    """Return each item's work: ``n`` works, items dealt out in turn."""
    return {item: f"w{k % n:03}" for k, item in enumerate(sorted(set(table["item_id"])))}


def copied(table: pd.DataFrame, of_item: dict[str, str], times: Iterable[int]) -> pd.DataFrame:
    """Return a resample made the long way: each work's rows copied as often as it was drawn."""
    parts = []
    for work, n in zip(sorted(set(of_item.values())), times, strict=True):
        own = table[table["item_id"].map(of_item) == work]
        parts += [own.assign(item_id=own["item_id"] + f" copy {c}") for c in range(n)]
    return pd.concat(parts, ignore_index=True)
