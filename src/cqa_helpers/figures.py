"""Figures of the report: one colour a role, intervals always, the finding as the title."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers and in grey.
COLOURS = {
    "tuned": "#D55E00",
    "reference": "#0072B2",
    "human": "#009E73",
    "base": "#56B4E9",
    "control": "#CC79A7",
    "recorded": "#5F6B76",
    "baseline": "#A7ADB4",
}
INK, SOFT = "#1C2126", "#5F6B76"


def role_of(judge_id: str, reference: str, recorded: Sequence[str] = ()) -> str:
    """Return the role whose colour a judge wears."""
    if judge_id == "experts":
        return "human"
    if judge_id == reference:
        return "reference"
    if judge_id in recorded:
        return "recorded"
    if judge_id in ("tuned", "tuned-second-base"):
        return "tuned"
    if judge_id.startswith("tuned-"):
        return "control"
    return "base" if judge_id.startswith("base") else "baseline"


def use_style() -> None:
    """Set the look of all figures: vector output with repeatable ids, few lines, room."""
    mpl.rcParams.update(
        {
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "svg.hashsalt": "cqa",
            "svg.fonttype": "path",
            "font.family": ["DejaVu Sans"],
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.spines.left": False,
            "axes.edgecolor": SOFT,
            "axes.labelcolor": SOFT,
            "xtick.color": SOFT,
            "ytick.color": INK,
            "ytick.left": False,
            "text.color": INK,
            "axes.grid": False,
        }
    )
    try:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        # A creation date inside the file would make two equal runs differ.
        set_matplotlib_formats("svg", metadata={"Date": None}, bbox_inches="tight")
    except ImportError:
        pass


def show_table(table: pd.DataFrame, digits: int = 2) -> None:
    """Show a table as Markdown, which JupyterLab, HTML and PDF all set natively."""
    plain = table.copy()
    for column in plain:
        plain[column] = [_cell(value, digits) for value in plain[column]]
    numeric = [
        "right" if pd.api.types.is_numeric_dtype(table[c]) or _mostly_numbers(table[c]) else "left"
        for c in table
    ]
    display(Markdown(plain.to_markdown(index=False, colalign=numeric, disable_numparse=True)))


def number(value: Any, digits: int = 2) -> str:
    """Return a number as text with a true minus sign; a missing one is an en dash."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def span(interval: Any, digits: int = 2) -> str:
    """Return an interval as text: ``0.08 (0.05 to 0.12)``."""
    value, low, high = interval
    if value is None:
        return "–"
    if low is None:
        return number(value, digits)
    return f"{number(value, digits)} ({number(low, digits)} to {number(high, digits)})"


def titled(figure: Figure, ax: Axes, title: str, subtitle: str) -> None:
    """Set a figure's finding and, below it, what is measured, in what unit, on how many."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold", wrap=True)
    ax.set_title(subtitle, loc="left", fontsize=8.5, color=SOFT, pad=10, x=0)


def forest(
    rows: pd.DataFrame,
    title: str,
    subtitle: str,
    xlabel: str,
    lines: Mapping[float, str],
    dots: Mapping[str, Sequence[float]] | None = None,
) -> Figure:
    """Draw estimates with intervals, one row each, labelled in place.

    ``rows`` has ``label``, ``value``, ``low``, ``high``, ``role``; ``lines`` are named vertical
    lines; ``dots`` are single seeds drawn behind a row's interval, by label.
    """
    figure, ax = plt.subplots(figsize=(7.2, 1.25 + 0.3 * len(rows)))
    places = np.arange(len(rows))[::-1]
    for y, (_, row) in zip(places, rows.iterrows(), strict=True):
        colour = COLOURS[row["role"]]
        for seed in (dots or {}).get(row["label"], ()):
            ax.plot(seed, y, "o", ms=4, mfc="none", mec=colour, mew=0.8, alpha=0.8, zorder=2)
        if pd.notna(row["low"]):
            ax.plot([row["low"], row["high"]], [y, y], color=colour, lw=2.2, zorder=3,
                    solid_capstyle="round")  # fmt: skip
        if pd.notna(row["value"]):
            ax.plot(row["value"], y, "o", ms=6, color=colour, zorder=4)
        text = span((row["value"], row["low"], row["high"]))
        ax.annotate(text, (1.01, y), xycoords=("axes fraction", "data"), va="center",
                    fontsize=8, color=INK)  # fmt: skip
    ax.set_yticks(places, rows["label"])
    for tick, role in zip(ax.get_yticklabels(), rows["role"], strict=True):
        tick.set_fontweight("bold" if role in ("tuned", "reference", "human") else "normal")
    ax.set_ylim(-0.7, len(rows) - 0.3)
    for x, name in lines.items():
        ax.axvline(x, color=SOFT, lw=0.8, ls=(0, (4, 3)), zorder=1)
        ax.annotate(name, (x, len(rows) - 0.45), fontsize=7.5, color=SOFT, ha="left",
                    va="bottom", xytext=(3, 0), textcoords="offset points")  # fmt: skip
    ax.set_xlabel(xlabel)
    titled(figure, ax, title, subtitle)
    return figure


def curve(
    rows: pd.DataFrame,
    title: str,
    subtitle: str,
    xlabel: str,
    ylabel: str,
    lines: Mapping[float, str],
) -> Figure:
    """Draw a learning curve: one dot a seed, the mean as a line, over sizes on a log scale.

    ``rows`` has ``n`` and ``value``, one row a seed.
    """
    figure, ax = plt.subplots(figsize=(7.2, 3.2))
    means = rows.groupby("n")["value"].mean()
    ax.plot(means.index, means, color=COLOURS["tuned"], lw=2)
    ax.plot(rows["n"], rows["value"], "o", mfc="white", mec=COLOURS["tuned"], ms=6)
    for n, value in means.items():
        ax.annotate(number(value), (n, value), xytext=(8, -11), textcoords="offset points",
                    fontsize=8)  # fmt: skip
    for y, name in lines.items():
        ax.axhline(y, color=SOFT, lw=0.8, ls=(0, (4, 3)))
        ax.annotate(name, (1, y), xycoords=("axes fraction", "data"), fontsize=7.5, color=SOFT,
                    ha="right", va="bottom")  # fmt: skip
    ax.set_xscale("log")
    ax.set_xticks(list(means.index), [str(n) for n in means.index])
    ax.minorticks_off()
    ax.spines["left"].set_visible(True)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    titled(figure, ax, title, subtitle)
    return figure


def reliability(
    curves: Mapping[str, tuple[str, Sequence[tuple[float, float, int]]]], title: str, subtitle: str
) -> Figure:
    """Draw reliability curves: judge to (role, bins of mean probability, share of yes, number)."""
    figure, axes = plt.subplots(
        1, len(curves), figsize=(7.2, 2.9), sharex=True, sharey=True, squeeze=False
    )
    for ax, (judge, (role, bins)) in zip(axes[0], curves.items(), strict=True):
        ax.plot([0, 1], [0, 1], color=SOFT, lw=0.8, ls=(0, (4, 3)))
        largest = max((n for *_, n in bins), default=1)
        ax.plot([b[0] for b in bins], [b[1] for b in bins], color=COLOURS[role], lw=1.6)
        ax.scatter([b[0] for b in bins], [b[1] for b in bins],
                   s=[12 + 50 * b[2] / largest for b in bins], color=COLOURS[role])  # fmt: skip
        ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        ax.set_xticks([0, 0.5, 1])
        ax.set_yticks([0, 0.5, 1])
        ax.spines["left"].set_visible(True)
        ax.text(0.03, 0.97, judge, transform=ax.transAxes, fontweight="bold",
                color=COLOURS[role], va="top")  # fmt: skip
        ax.set_xlabel("P(effective)")
    axes[0][0].set_ylabel("share effective by experts")
    figure.suptitle(title + "\n", x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    axes[0][0].annotate(subtitle, (0.012, 0.905), xycoords="figure fraction", fontsize=8.5,
                        color=SOFT)  # fmt: skip
    return figure


def _cell(value: Any, digits: int) -> str:
    if isinstance(value, tuple) and len(value) == 3:
        return span(value, digits)
    if value is None or value is pd.NA:
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        return number(float(value), digits)
    return str(value).replace("|", "\\|")


def _mostly_numbers(column: pd.Series) -> bool:
    known = [v for v in column if v is not None and v is not pd.NA]
    return bool(known) and all(isinstance(v, tuple | int | float | np.number) for v in known)
