"""What readers see of changes in pairs: rows, the finding in words, the course of training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cqa_helpers import figures, gains
from cqa_helpers.arms import TITLES
from cqa_helpers.charts import dress
from cqa_helpers.conditions import JOINT
from cqa_helpers.pairwise import CONTROL, GROUPS, INTERACTION, Checkpoint, Effect, corrected

UNITS = {
    "passage": "Δ(ΔI), bits per passage",
    "token": "Δ(ΔI), bits per passage token",
    "char": "Δ(ΔI), bits per character",
}


def forest_rows(found: Iterable[Effect]) -> pd.DataFrame:
    """Return the figure's rows: groups by arm with the interval for other seeds and pairs."""
    return pd.DataFrame(
        [
            {"label": _label(e), "role": role(e.arm), **e.gain.mean._asdict()}
            for e in found
            if e.against is None and e.group in GROUPS
        ]
    )


def seed_dots(found: Iterable[Effect]) -> dict[str, list[float]]:
    """Return each row's seeds by its label."""
    return {_label(e): list(e.gain.by_seed.values()) for e in found if e.against is None}


def headline(found: Sequence[Effect], arm: str = "cot") -> str:
    """Return the figure's finding, which is about the interaction where there is one.

    Where the style-only control moves the same way, it is said with it.
    """
    mine = {e.group: e for e in found if (e.arm, e.against) == (arm, None)}
    digits = 2 if all(e.unit == "passage" for e in mine.values()) else 4
    name = {"cot": "Tuning with reasons"}.get(arm, f"Tuning ({TITLES[arm]})")
    value, low, high = mine[INTERACTION].gain.mean if INTERACTION in mine else gains.NONE
    if value is None:
        means = [(g, e.gain.mean.value) for g, e in mine.items()]
        said = [f"{g} pairs {_signed(v, digits)}" for g, v in means if v is not None]
        return f"{name} moves {', '.join(said)} bits" if said else "Change of ΔI by tuning"
    moved = f"{_signed(value, digits)} bits"
    if low is None or high is None:
        return f"{name} moves literary pairs {moved} beyond factual ones, no interval"
    limits = f"{moved} ({_signed(low, digits)} to {_signed(high, digits)})"
    if low <= 0 <= high:
        return f"{name} is not shown to move literary pairs beyond factual ones: {limits}"
    style = [e.gain.mean for e in found
             if (e.arm, e.against, e.group) == (CONTROL, None, INTERACTION)]  # fmt: skip
    also = any(
        i.low is not None and i.high is not None and (i.low > 0 if low > 0 else i.high < 0)
        for i in style
    )
    more = "more" if low > 0 else "less"
    said_of_style = "; so does style alone" * also
    return f"{name} moves literary pairs {more} than factual ones: {limits}{said_of_style}"


def subtitle(direction: str, reading: str, groups: pd.Series) -> str:
    """Return what is measured, in which direction and reading, on how many pairs."""
    name = {"judgment": "judgment direction, log2 p(y|x)", "text": "text direction, log2 p(x|y)"}
    what = {"A": "good version", "B": "good minus degraded"}
    sizes = ", ".join(f"{n} {group}" for group, n in groups.items())
    return f"{name[direction]}; {what[reading]}, after minus before; {sizes} pairs"


def as_rows(found: Iterable[Effect]) -> pd.DataFrame:
    """Return the table of both directions and readings, last checkpoint; the interval is primary.

    A row an arm and group, their difference and the arm beyond the style-only control included.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for e in (e for e in found if e.last and e.unit != "char" and e.condition in (JOINT, "")):
        row = rows.setdefault((_who(e), e.group), {"Arm": _who(e), "Pairs": e.group})
        row[f"{e.direction.capitalize()}, {e.reading}"] = tuple(e.gain.mean)
    return pd.DataFrame(rows.values())


def effect_rows(found: Iterable[Effect]) -> pd.DataFrame:
    """Return the table of one measure: with pairs at random (primary), and these pairs alone."""
    return pd.DataFrame(
        [
            {
                "Arm": _who(e),
                "Pairs": e.group,
                "Bits": tuple(e.gain.mean),
                "p": e.gain.p,
                "On these pairs": tuple(e.gain.these_pairs),
                "p, these pairs": e.gain.p_these_pairs,
                "Lowest seed": min(e.gain.by_seed.values(), default=None),
                "Highest seed": max(e.gain.by_seed.values(), default=None),
                "Seeds": len(e.gain.by_seed),
                "Missing": e.gain.n_missing,
            }
            for e in found
        ]
    )


def checkpoint_rows(found: Iterable[Checkpoint]) -> pd.DataFrame:
    """Return the table of tests within one tuned model: drift, and shown as that."""
    return pd.DataFrame(
        [
            {
                "Arm": TITLES[c.arm],
                "Seed": c.seed,
                "Pairs": c.group,
                "Bits": c.drift.mean,
                "Cohen's d": tuple(c.drift.d),
                "Wilcoxon p": c.drift.p_two_sided,
                "one-sided": c.drift.p_greater,
                "Up : down": f"{c.drift.n_up} : {c.drift.n_down}",
                "Sign test p": c.drift.p_sign,
                "Missing": c.drift.n_missing,
            }
            for c in found
        ]
    )


def tested_rows(tests: Mapping[str, Effect]) -> pd.DataFrame:
    """Return the table of declared tests, each with its p before and after Holm's correction."""
    adjusted = corrected(tests)
    return pd.DataFrame(
        [
            {"Test": name, "Bits": tuple(e.gain.mean), "p": e.gain.p, "p, Holm": adjusted[name]}
            for name, e in tests.items()
        ]
    )


def power_rows(found: pd.DataFrame) -> pd.DataFrame:
    """Return what can be detected, bits: one row a number of seeds, one column one of pairs."""
    wide = found.pivot(index="seeds", columns="pairs", values="difference")
    wide.columns = [f"{n} pairs a group" for n in wide.columns]
    return wide.rename_axis("Seeds").reset_index()


def trajectory(found: pd.DataFrame) -> pd.DataFrame:
    """Return ``arm, checkpoint, last, group, value, low, high, seeds`` of one measure's changes.

    The mean of seeds with their range, by checkpoint; a seed is the mean of its known pairs.

    Raises
    ------
    ValueError
        Changes of several measures, which have no mean.
    """
    if (n := len(found[["direction", "reading", "condition", "unit"]].drop_duplicates())) > 1:
        raise ValueError(f"changes of {n} measures: select one direction, reading and unit")
    step = found["checkpoint"].where(~found["last"].astype(bool), -1)
    keys = ["arm", "step", "last", "group"]
    seeds = found.assign(step=step).groupby([*keys, "seed"], as_index=False).agg(
        value=("value", "mean"), checkpoint=("checkpoint", "max")
    )  # fmt: skip
    rows = seeds.groupby(keys, as_index=False).agg(
        checkpoint=("checkpoint", "max"), low=("value", "min"), high=("value", "max"),
        seeds=("value", "count"), value=("value", "mean"),
    )  # fmt: skip
    order = {arm: k for k, arm in enumerate(TITLES)}
    rows = rows.sort_values(["group", "arm", "checkpoint"], key=lambda c: c.replace(order),
                            ignore_index=True)  # fmt: skip
    return rows[["arm", "checkpoint", "last", "group", "value", "low", "high", "seeds"]]


def trajectory_figure(rows: pd.DataFrame, title: str, subtitle: str, ylabel: str) -> Figure:
    """Draw changes over training from 0, one line an arm, bars the range of seeds.

    The last checkpoint, declared primary beforehand, is marked in every panel. The line of an arm
    that was read there alone is dotted. Arms stand a little apart so that bars do not hide bars.
    """
    groups = [g for g in GROUPS if g in set(rows["group"])]
    arms = list(dict.fromkeys(rows["arm"]))
    looks = dress(pd.DataFrame({"arm": arms, "role": [role(a) for a in arms]}))
    drawn, axes = figures.canvas(title, subtitle, 2.3, right=0.77, panels=len(groups))
    for ax, group in zip(np.atleast_1d(axes), groups, strict=True):
        mine = rows[rows["group"] == group]
        ax.axhline(0, color=figures.SOFT, lw=0.8, ls=(0, (4, 3)))
        for at in sorted(set(mine.loc[mine["last"].astype(bool), "checkpoint"])):
            ax.axvline(at, color=figures.SOFT, lw=0.8)
            ax.annotate("primary", (at, 1), xycoords=("data", "axes fraction"), fontsize=7.5,
                        color=figures.SOFT, ha="right", va="top", xytext=(-3, 0),
                        textcoords="offset points")  # fmt: skip
        apart = 0.012 * float(rows["checkpoint"].max())
        for arm, part in mine.groupby("arm", sort=False):
            colour, marker = looks[str(arm)]
            x = part["checkpoint"] + apart * (arms.index(arm) - (len(arms) - 1) / 2)
            ax.plot([0, *x], [0, *part["value"]], color=colour, lw=1.8,
                    ls="-" if len(part) > 1 else ":")  # fmt: skip
            reach = [part["value"] - part["low"], part["high"] - part["value"]]
            ax.errorbar(x, part["value"], reach, color=colour, fmt=marker, ms=4, lw=1,
                        mec="white", mew=0.5, label=TITLES[str(arm)])  # fmt: skip
        ax.spines["left"].set_visible(True)
        ax.set(xlabel=f"training step, {group} pairs")
    axes = np.atleast_1d(axes)
    axes[0].set_ylabel(ylabel)
    axes[-1].legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=7.5)
    return drawn


def role(arm: str) -> str:
    """Return the role whose colour an arm wears."""
    return {"cot": "tuned", CONTROL: "control", "shuffled": "control"}.get(arm, "arm")


def _who(effect: Effect) -> str:
    less = f" − {TITLES[effect.against].removesuffix(' (control)')}" if effect.against else ""
    return TITLES[effect.arm] + less


def _label(effect: Effect) -> str:
    return f"{TITLES[effect.arm]}, {effect.group}"


def _signed(value: float, digits: int) -> str:
    text = figures.number(value, digits)
    return text if value < 0 or not float(text) else f"+{text}"
