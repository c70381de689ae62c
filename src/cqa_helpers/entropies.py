"""H(X) and H(X|Y) apart, and I beside controls: what moved, and whether constraints did it.

I = H(neutral) − H(condition) of one text also rises when a model reads worse without constraints,
and falls under any prefix that helps. So each term is shown, and I under the constraints stands
beside I under another pair's, its own shuffled, and filler of equal length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from cqa_helpers import gains
from cqa_helpers.agreement import Interval
from cqa_helpers.arms import TITLES
from cqa_helpers.conditions import CONDITIONS, CONTROLS, JOINT, NEUTRAL
from cqa_helpers.pairwise import GROUPS

SIDES = ("good", "degraded")
UNITS = {"token": "n_tokens", "char": "n_chars"}
UNIT_TITLES = {"token": "bits per token", "char": "bits per character"}
_ARMS = ("base", *(a for a in TITLES if a != "base"))
# One arm's H by group, side and condition: one row a seed, one column a pair.
Tables = Mapping[tuple[str, str, str, str], pd.DataFrame]


class Terms(NamedTuple):
    """What tuning changed in each term, in bits; intervals with seeds and pairs at random.

    ``information`` is ``neutral`` − ``joint``.
    """

    arm: str
    group: str
    side: str
    unit: str
    neutral: Interval
    joint: Interval
    information: Interval


class Above(NamedTuple):
    """I of good texts under their joint constraints beyond I under each control, bits per token.

    ``above`` is true only where every interval lies above 0 (all have to hold, so nothing is
    corrected: Berger 1982), null where one has no limits.
    """

    arm: str
    group: str
    information: Interval
    beyond: dict[str, Interval]
    above: bool | None


def tables(texts: pd.DataFrame, unit: str) -> Tables:
    """Return H of the base and of each arm's last checkpoint, by arm, group, side, condition."""
    kept = texts[texts["last"].astype(bool) | (texts["arm"] == "base")]
    h = kept.assign(h=kept["bits"] / kept[UNITS[unit]])
    keys = ["arm", "group", "side", "condition"]
    return {
        (str(a), str(g), str(s), str(c)): part.pivot(index="seed", columns="pair", values="h")
        for (a, g, s, c), part in h.groupby(keys)
    }


def levels(texts: pd.DataFrame) -> pd.DataFrame:
    """Return mean H by arm, group, side and condition, per token and per character.

    Means of seeds, a seed being the mean of its known pairs; ``n_missing`` counts seeds and pairs
    without a value.
    """
    rows = [
        {"arm": a, "group": g, "side": s, "condition": c, "unit": unit,
         "value": t.mean(axis=1).mean(), "seeds": len(t), "pairs": t.shape[1],
         "n_missing": int(t.isna().sum().sum())}
        for unit in UNITS
        for (a, g, s, c), t in tables(texts, unit).items()
    ]  # fmt: skip
    made = pd.DataFrame(rows)
    ranks = {name: k for k, name in enumerate((*_ARMS, *GROUPS, *SIDES, *CONDITIONS, *UNITS))}
    by = ["unit", "arm", "group", "side", "condition"]
    return made.sort_values(by, key=lambda c: c.map(ranks), ignore_index=True)


def rows(found: pd.DataFrame, unit: str = "token") -> pd.DataFrame:
    """Return the table of H for show: one row an arm, group and version, one column a condition."""
    mine = found[found["unit"] == unit]
    wide = mine.pivot(index=["arm", "group", "side"], columns="condition", values="value")
    order = mine[["arm", "group", "side"]].drop_duplicates()
    wide = wide.reindex(pd.MultiIndex.from_frame(order))
    wide = wide[[c for c in CONDITIONS if c in wide]].reset_index()
    wide["arm"] = wide["arm"].map(TITLES)
    titles = {"arm": "Arm", "group": "Pairs", "side": "Version"}
    return wide.rename(columns=titles).rename_axis(columns=None)


def terms(texts: pd.DataFrame, level: float, unit: str = "token") -> list[Terms]:
    """Return, by arm, group and version, the change of H(X), of H(X|Y) and of I by tuning."""
    h = tables(texts, unit)
    made = []
    for arm in _ARMS[1:]:
        for group in GROUPS:
            for side in SIDES:
                if (arm, group, side, JOINT) not in h:
                    continue
                moved = [h[arm, group, side, c] - h["base", group, side, c].reindex(
                    h[arm, group, side, c].index) for c in (NEUTRAL, JOINT)]  # fmt: skip
                found = [gains.gain([t], [1], level).mean for t in (*moved, moved[0] - moved[1])]
                made.append(Terms(arm, group, side, unit, *found))
    return made


def sentence(found: Terms) -> str:
    """Return which term moved, in words; where the interval of I holds 0, that it did not."""
    what = f"{TITLES[found.arm]}, {found.group} pairs, {found.side} version"
    i, x, xy = found.information.value, found.neutral.value, found.joint.value
    if i is None or x is None or xy is None:
        return f"{what}: the change of I is not known."
    unit = UNIT_TITLES[found.unit]
    parts = f"H(x) {_signed(x)}, H(x|y) {_signed(xy)}"
    low, high = found.information.low, found.information.high
    if low is None or high is None or low <= 0 <= high:
        return f"{what}: I did not reliably change ({_signed(i)} {unit}; {parts})."
    share = x / i
    if share >= 1:
        why = (
            "all of it from H(x), a worse reading without constraints and no better one with them"
            if i > 0
            else "all of it from H(x), a better reading without constraints"
        )
    elif share <= 0:
        why = f"all of it from H(x|y), a {'better' if i > 0 else 'worse'} reading with constraints"
    else:
        why = f"{share:.0%} of it from H(x) and {1 - share:.0%} from H(x|y)"
    return f"{what}: I {'rose' if i > 0 else 'fell'} by {abs(i):.3f} {unit}, {why} ({parts})."


def term_rows(found: Iterable[Terms]) -> pd.DataFrame:
    """Return the table of terms for show."""
    return pd.DataFrame(
        [
            {
                "Arm": TITLES[t.arm],
                "Pairs": t.group,
                "Version": t.side,
                "Change of H(x)": tuple(t.neutral),
                "Change of H(x|y)": tuple(t.joint),
                "Change of I": tuple(t.information),
            }
            for t in found
        ]
    )


def above_controls(texts: pd.DataFrame, level: float) -> list[Above]:
    """Return, by arm and group, I under joint constraints against I under each control.

    Of the base, which is one model however often it is listed, pairs alone are at random.
    """
    h = tables(texts, "token")
    made = []
    for arm in _ARMS:
        for group in GROUPS:
            mine = {c: h[arm, group, "good", c] for c in CONDITIONS
                    if (arm, group, "good", c) in h}  # fmt: skip
            if not {NEUTRAL, JOINT} <= set(mine):
                continue

            def mean(table: pd.DataFrame, arm: str = arm) -> Interval:
                if arm == "base":
                    return gains.over(table.mean(axis=0).to_numpy(dtype=float), level)[0]
                return gains.gain([table], [1], level).mean

            beyond = {c: mean(mine[c] - mine[JOINT]) for c in CONTROLS if c in mine}
            lows = [i.low for i in beyond.values()]
            known = [low for low in lows if low is not None]
            above = None if not lows or len(known) < len(lows) else min(known) > 0
            made.append(Above(arm, group, mean(mine[NEUTRAL] - mine[JOINT]), beyond, above))
    return made


def above_rows(found: Iterable[Above]) -> pd.DataFrame:
    """Return the table of controls for show."""
    return pd.DataFrame(
        [
            {
                "Arm": TITLES[a.arm],
                "Pairs": a.group,
                "I, joint": tuple(a.information),
                **{f"beyond {c}": tuple(a.beyond.get(c, gains.NONE)) for c in CONTROLS},
                "Above all": a.above,
            }
            for a in found
        ]
    )


def information_rows(found: pd.DataFrame, unit: str = "token") -> pd.DataFrame:
    """Return the table of I under every constraint and control, good and degraded versions."""
    made = rows(found, unit)
    for condition in [c for c in CONDITIONS if c in made and c != NEUTRAL]:
        made[condition] = made[NEUTRAL] - made[condition]
    return made.drop(columns=NEUTRAL)


def results(texts: pd.DataFrame, judgments: pd.DataFrame) -> dict[str, Any]:
    """Return the section of ``results.json``: both terms by group, before and after, by arm."""
    section: dict[str, Any] = {}
    h = tables(texts, "token")
    kept = judgments[judgments["last"].astype(bool) | (judgments["arm"] == "base")]
    for arm in _ARMS:
        for group in GROUPS:
            if (arm, group, "good", NEUTRAL) not in h:
                continue
            names = {"h_x": ("good", NEUTRAL), "h_x_given_y": ("good", JOINT),
                     "h_x_degraded": ("degraded", NEUTRAL),
                     "h_x_given_y_degraded": ("degraded", JOINT)}  # fmt: skip
            of = {name: h[arm, group, side, c] for name, (side, c) in names.items()}
            i = of["h_x"] - of["h_x_given_y"], of["h_x_degraded"] - of["h_x_given_y_degraded"]
            values: dict[str, Any] = {name: _mean(t) for name, t in of.items()}
            values |= {"delta_i": _mean(i[0] - i[1]), "n_pairs": of["h_x"].shape[1]}
            mine = kept[(kept["arm"] == arm) & (kept["group"] == group)]
            if len(mine):
                bits = mine.pivot(index=["seed", "pair"], columns="side", values="bits")
                contrast = bits["good"] - bits["degraded"]
                values |= {"delta_i_judgment": float(contrast.groupby("seed").mean().mean()),
                           "n_without_judgment": int(contrast.isna().sum())}  # fmt: skip
            entry = section.setdefault(group, {"before": None, "after": {}})
            if arm == "base":
                entry["before"] = values
            else:
                entry["after"][arm] = values
    return section


def _mean(table: pd.DataFrame) -> float:
    return float(table.mean(axis=1).mean())


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
