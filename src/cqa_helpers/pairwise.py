"""Good against degraded: what tuning changes in how models read pairs (Δ(ΔI), both directions).

Readings A and B and both directions are declared in the methodology. The seed is the unit: a test
over pairs within one tuned model measures how that model drifted.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
from scipy import stats

from cqa_helpers import surprise
from cqa_helpers.agreement import Interval
from cqa_helpers.arms import TITLES
from cqa_helpers.params import Params
from cqa_helpers.records import Pair

UNITS = {"judgment": "Δ(ΔI), bits per passage", "text": "Δ(ΔI), bits per passage token"}


def difference(pair: Pair) -> tuple[str, str]:
    """Return the words in which good and degraded differ, with a little around them."""
    good, bad = pair.good.split(), pair.degraded.split()
    blocks = difflib.SequenceMatcher(None, good, bad, autojunk=False).get_opcodes()
    changed = [b for b in blocks if b[0] != "equal"]
    first, last = changed[0], changed[-1]
    return (
        " ".join(good[max(first[1] - 4, 0) : last[2] + 4]),
        " ".join(bad[max(first[3] - 4, 0) : last[4] + 4]),
    )


def changes(readings: pd.DataFrame) -> pd.DataFrame:
    """Return after minus before, one row an arm, seed, group, direction and reading.

    ``mean`` is over pairs, in bits; ``p`` is the two-sided Wilcoxon test over pairs of that one
    model. Before is the base, with the same seed's draws.
    """
    table = readings.copy()
    for side in ("good", "degraded"):
        table[f"i_{side}"] = table[f"h_x_{side}"] - table[f"h_x_given_y_{side}"]
    measures = {
        ("text", "A"): table["i_good"],
        ("text", "B"): table["i_good"] - table["i_degraded"],
        ("judgment", "A"): table["judgment_good"],
        ("judgment", "B"): table["judgment_good"] - table["judgment_degraded"],
    }
    rows = []
    for (direction, reading), values in measures.items():
        wide = table.assign(value=values).set_index(["seed", "pair"])
        before = wide.loc[wide["arm"] == "base", "value"]
        for (arm, seed), mine in wide[wide["arm"] != "base"].groupby(["arm", "seed"]):
            gain = mine["value"] - before.reindex(mine.index)
            for group, part in gain.groupby(mine["group"]):
                test = surprise.pair_test(part.to_numpy(dtype=float))
                rows.append(
                    {
                        "arm": arm, "seed": int(str(seed)), "group": group,
                        "direction": direction, "reading": reading, "mean": test.mean,
                        "d": test.cohens_d, "p": test.p_two_sided, "n": test.n,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def _grouped(found: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    return [
        (arm, group, found[(found["arm"] == arm) & (found["group"] == group)])
        for arm in TITLES if arm in set(found["arm"])
        for group in ("literary", "factual") if group in set(found["group"])
    ]  # fmt: skip


def forest_rows(found: pd.DataFrame, direction: str) -> pd.DataFrame:
    """Return the figure's rows: mean over seeds and their range, contrast reading."""
    mine = found[(found["direction"] == direction) & (found["reading"] == "B")]
    return pd.DataFrame(
        [
            {
                "label": f"{TITLES[arm]}, {group}",
                "role": "tuned" if arm == "cot" else "control",
                "value": part["mean"].mean(),
                "low": part["mean"].min() if len(part) > 1 else None,
                "high": part["mean"].max() if len(part) > 1 else None,
            }
            for arm, group, part in _grouped(mine)
        ]
    )


def seed_dots(found: pd.DataFrame, direction: str) -> dict[str, list[float]]:
    """Return each row's seeds by its label."""
    mine = found[(found["direction"] == direction) & (found["reading"] == "B")]
    return {f"{TITLES[arm]}, {group}": list(part["mean"]) for arm, group, part in _grouped(mine)}


def headline(found: pd.DataFrame, direction: str) -> str:
    """Return the figure's finding: what tuning moved in literary and in factual pairs."""
    mine = found[
        (found["direction"] == direction) & (found["reading"] == "B") & (found["arm"] == "cot")
    ]
    means = mine.groupby("group")["mean"].mean()
    said = ", ".join(f"{group} pairs {_signed(value)}" for group, value in means.items())
    return f"Tuning with reasons moves {said} bits" if said else "Change of ΔI by tuning"


def subtitle(direction: str, groups: pd.Series) -> str:
    """Return what is measured, in which direction, on how many pairs."""
    name = {"judgment": "judgment direction, log2 p(y|x)", "text": "text direction, log2 p(x|y)"}
    sizes = ", ".join(f"{n} {group}" for group, n in groups.items())
    return f"{name[direction]}; good minus degraded, after minus before; {sizes} pairs"


def as_rows(found: pd.DataFrame, primary: str) -> pd.DataFrame:
    """Return the table of changes for show: mean of seeds with their range, one row an arm."""
    rows = []
    for arm, group, part in _grouped(found):
        row: dict[str, Any] = {"Arm": TITLES[arm], "Pairs": group}
        for direction in ("judgment", "text"):
            for reading in ("A", "B"):
                means = part.loc[
                    (part["direction"] == direction) & (part["reading"] == reading), "mean"
                ]
                row[f"{direction.capitalize()}, {reading}"] = (
                    means.mean(), means.min(), means.max(),
                )  # fmt: skip
        tested = part[(part["direction"] == primary) & (part["reading"] == "B")]
        row["Seeds with p < .05"] = f"{int((tested['p'] < 0.05).sum())} of {len(tested)}"
        rows.append(row)
    return pd.DataFrame(rows)


class Interaction(NamedTuple):
    """Literary minus factual change, the seed as the unit: mean, t interval, each seed's own."""

    mean: Interval
    by_seed: dict[int, float]


def interactions(found: pd.DataFrame, direction: str, level: float) -> dict[str, Interaction]:
    """Return, by arm, how much more literary pairs moved than factual ones (contrast reading).

    "Significant here, not there" is no test of a difference; this is. The interval is Student's
    over seeds and null for a single seed.
    """
    mine = found[(found["direction"] == direction) & (found["reading"] == "B")]
    wide = mine.pivot_table(index=["arm", "seed"], columns="group", values="mean")
    if not {"literary", "factual"} <= set(wide):
        return {}
    gaps = (wide["literary"] - wide["factual"]).dropna()
    by_arm = {}
    for arm in (a for a in TITLES if a in gaps.index.get_level_values("arm")):
        own = gaps.xs(arm, level="arm")
        mean, low, high = float(own.mean()), None, None
        if len(own) > 1:
            half = float(stats.t.ppf((1 + level) / 2, len(own) - 1) * stats.sem(own))
            low, high = mean - half, mean + half
        by_arm[arm] = Interaction(
            Interval(mean, low, high), {int(str(s)): float(v) for s, v in own.items()}
        )
    return by_arm


def interaction_rows(found: Mapping[str, Interaction]) -> pd.DataFrame:
    """Return the table of interactions for show."""
    return pd.DataFrame(
        [
            {
                "Arm": TITLES[arm],
                "Literary minus factual, bits": tuple(i.mean),
                "Seeds": len(i.by_seed),
                "Lowest seed": min(i.by_seed.values()),
                "Highest seed": max(i.by_seed.values()),
            }
            for arm, i in found.items()
        ]
    )


def entropies(readings: pd.DataFrame) -> pd.DataFrame:
    """Return mean H(x) and H(x|y) of both versions by arm and group, bits per token."""
    columns = {
        "h_x_good": "H(x), good",
        "h_x_given_y_good": "H(x|y), good",
        "h_x_degraded": "H(x), degraded",
        "h_x_given_y_degraded": "H(x|y), degraded",
    }
    means = readings.groupby(["arm", "group"], sort=False)[list(columns)].mean().reset_index()
    means["arm"] = means["arm"].map(lambda arm: TITLES.get(arm, "base, not tuned"))
    return means.rename(columns={**columns, "arm": "Arm", "group": "Pairs"})


def results(readings: pd.DataFrame, found: pd.DataFrame, params: Params) -> dict[str, Any]:
    """Return the section of ``results.json``: entropies before and after, and the changes."""
    assert params.surprise is not None
    section: dict[str, Any] = {"primary_direction": params.surprise.primary, "groups": {}}
    for (arm, group), part in readings.groupby(["arm", "group"]):
        good = (part["h_x_good"] - part["h_x_given_y_good"]).mean()
        bad = (part["h_x_degraded"] - part["h_x_given_y_degraded"]).mean()
        contrast = part["judgment_good"] - part["judgment_degraded"]
        entry = section["groups"].setdefault(str(group), {"before": None, "after": {}})
        values = {
            "h_x": part["h_x_good"].mean(),
            "h_x_given_y": part["h_x_given_y_good"].mean(),
            "h_x_degraded": part["h_x_degraded"].mean(),
            "h_x_given_y_degraded": part["h_x_given_y_degraded"].mean(),
            "delta_i": good - bad,
            "delta_i_judgment": contrast.mean(),
            "n_pairs": int(part["pair"].nunique()),
            "n_without_judgment": int(contrast.isna().sum()),
        }
        if arm == "base":
            entry["before"] = values
        else:
            entry["after"][str(arm)] = values
    section["changes"] = {
        direction: {
            reading: {
                arm: {
                    group: {
                        "mean": part["mean"].mean(),
                        "by_seed": dict(zip(part["seed"].astype(str), part["mean"], strict=True)),
                        "p_by_seed": dict(zip(part["seed"].astype(str), part["p"], strict=True)),
                    }
                    for a, group, part in _grouped(mine) if a == arm
                }
                for arm in dict.fromkeys(a for a, _, _ in _grouped(mine))
            }
            for reading, mine in half.groupby("reading")
        }
        for direction, half in found.groupby("direction")
    }  # fmt: skip
    return section


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
