from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cqa_helpers import figures


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    figures.use_style()
    yield
    plt.close("all")


def texts(figure: Figure) -> list[str]:
    found = [t.get_text() for t in figure.texts]
    for ax in figure.axes:
        found += [t.get_text() for t in (*ax.texts, *ax.get_yticklabels(), ax.xaxis.label)]
    return found


def shown(table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, digits: int = 2) -> list[str]:
    said: list[Any] = []
    monkeypatch.setattr(figures, "display", said.append)
    figures.show_table(table, digits)
    return str(said[0].data).splitlines()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.5, "−0.50"), (None, "–"), (float("nan"), "–"), (float("inf"), "–"), (1, "1.00"),
        (-0.001, "0.00"), (0.0, "0.00"),
    ],
)  # fmt: skip
def test_a_number_has_a_true_minus_and_a_missing_one_is_a_dash(value: Any, text: str) -> None:
    assert figures.number(value) == text


def test_an_interval_is_shown_with_its_limits_where_it_has_them() -> None:
    assert figures.span((0.08, -0.05, 0.12)) == "0.08 (−0.05 to 0.12)"
    assert figures.span((0.08, None, None)) == "0.08"
    assert figures.span((None, None, None)) == "–"


def test_a_table_is_markdown_with_numbers_to_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame(
        {"Judge": ["a|b", "专家"], "N": [1234, 5], "κ": [(0.1, 0.0, 0.2), (None, None, None)]}
    )
    lines = shown(table, monkeypatch)
    assert lines[0] == "| Judge | N | κ |"
    rules = lines[1].strip("| ").split(" | ")
    assert [rule.endswith(":") for rule in rules] == [False, True, True]
    assert lines[2] == r"| a\|b | 1,234 | 0.10 (0.00 to 0.20) |"
    assert lines[3] == "| 专家 | 5 | – |"


def test_no_cell_can_break_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"Said": ["two\nlines", "a | b"], "P": [pd.NA, 0.5]})
    lines = shown(table, monkeypatch)
    assert len(lines) == 4
    assert "two lines" in lines[2]
    assert "| – |" in lines[2]


@pytest.mark.parametrize(
    ("judge", "role"),
    [
        ("experts", "human"), ("gpt4", "reference"), ("claude", "recorded"), ("tuned", "tuned"),
        ("tuned-second-base", "tuned"), ("tuned-style-only", "control"), ("base", "base"),
        ("base-second-base", "base"), ("always-no", "baseline"),
    ],
)  # fmt: skip
def test_each_judge_wears_the_colour_of_its_role(judge: str, role: str) -> None:
    assert figures.role_of(judge, "gpt4", ["gpt4", "claude"]) == role
    assert role in figures.COLOURS


ROWS = pd.DataFrame(
    [
        {"label": "tuned", "role": "tuned", "value": 0.5, "low": 0.4, "high": 0.6},
        {"label": "no limits", "role": "base", "value": 0.1, "low": None, "high": None},
        {"label": "nothing", "role": "control", "value": None, "low": None, "high": None},
    ]
)


def test_a_forest_labels_every_row_and_says_its_numbers() -> None:
    figure = figures.forest(
        ROWS, "The finding", "what is measured", "κ", {0.0: "chance"}, {"tuned": [0.45, 0.55]}
    )
    found = texts(figure)
    for text in ("The finding", "what is measured", "κ", "chance", "0.50 (0.40 to 0.60)", "0.10"):
        assert text in found
    assert {"tuned", "no limits", "nothing"} <= set(found)


def test_equal_data_give_the_same_file_bit_for_bit() -> None:
    made = []
    for _ in range(2):
        buffer = io.BytesIO()
        figure = figures.forest(ROWS, "t", "s", "x", {})
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        made.append(buffer.getvalue())
    assert made[0] == made[1]


def test_a_curve_shows_sizes_as_they_are_and_the_mean_of_seeds() -> None:
    rows = pd.DataFrame({"n": [10, 10, 100, 100], "value": [0.5, 0.7, 0.9, 0.9]})
    figure = figures.curve(rows, "t", "s", "annotations", "AUC", {0.5: "cannot tell"})
    (ax,) = figure.axes
    assert [t.get_text() for t in ax.get_xticklabels()] == ["10", "100"]
    assert {"0.60", "0.90", "cannot tell"} <= set(texts(figure))


def test_a_fitted_curve_has_a_band_and_is_dashed_beyond_what_was_measured() -> None:
    rows = pd.DataFrame({"n": [10, 10, 100, 100], "value": [0.5, 0.7, 0.9, 0.9]})
    band = pd.DataFrame({"n": [10, 100, 200, 400], "value": [0.6, 0.9, 0.92, 0.93]})
    band = band.assign(low=band["value"] - 0.05, high=band["value"] + 0.05)
    figure = figures.curve(rows, "t", "s", "annotations", "AUC", {}, band=band.iloc[::-1])
    (ax,) = figure.axes
    solid, dashed, _ = ax.get_lines()
    assert list(np.asarray(solid.get_xdata())) == [10, 100]
    assert list(np.asarray(dashed.get_xdata())) == [100, 200, 400]
    assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    (area,) = ax.collections
    drawn = area.get_paths()[0].vertices
    assert (drawn[:, 1].min(), drawn[:, 1].max()) == pytest.approx((0.55, 0.98))
    assert [t.get_text() for t in ax.get_xticklabels()] == ["10", "100", "400"]
    assert "extrapolated" in texts(figure)


@pytest.mark.parametrize("limits", [None, float("nan")])
def test_a_band_without_limits_is_a_line_alone(limits: float | None) -> None:
    rows = pd.DataFrame({"n": [10, 25, 100, 400], "value": [0.5, 0.7, 0.9, None]})
    band = pd.DataFrame({"n": [10, 100, 400], "value": [0.5, 0.9, 0.95]})
    figure = figures.curve(
        rows, "t", "s", "annotations", "AUC", {}, band=band.assign(low=limits, high=limits)
    )
    (area,) = figure.axes[0].collections
    assert all(len(path.vertices) == 0 for path in area.get_paths())
    # A size at which no run has a value was not measured.
    assert list(np.asarray(figure.axes[0].get_lines()[1].get_xdata())) == [100, 400]


def test_an_empty_band_leaves_the_line_of_means() -> None:
    rows = pd.DataFrame({"n": [10, 10, 100, 100], "value": [0.5, 0.7, 0.9, 0.9]})
    none = pd.DataFrame(columns=["n", "value", "low", "high"], dtype=float)
    figure = figures.curve(rows, "t", "s", "annotations", "AUC", {}, band=none)
    assert list(np.asarray(figure.axes[0].get_lines()[0].get_ydata())) == pytest.approx([0.6, 0.9])


def test_losses_run_to_the_last_step() -> None:
    figure = figures.losses({"cot-1": [3.0, 2.0, 1.0]}, 90)
    (line,) = figure.axes[0].get_lines()
    assert list(np.asarray(line.get_xdata())) == [30, 60, 90]


def test_reliability_has_one_panel_a_judge() -> None:
    bins = [(0.2, 0.1, 10), (0.8, 0.9, 30)]
    one = figures.reliability({"tuned": ("tuned", bins)}, "t", "s")
    two = figures.reliability({"tuned": ("tuned", bins), "base": ("base", bins)}, "t", "s")
    assert (len(one.axes), len(two.axes)) == (1, 2)
    assert {"tuned", "base"} <= set(texts(two))


def test_a_bar_in_a_column_name_does_not_cut_the_table() -> None:
    shown: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "display", lambda made: shown.append(made.data))
        figures.show_table(pd.DataFrame({"H(x|y)": [1.5], "Arm": ["a|b"]}))
    head, rule, row = shown[0].split("\n")
    assert head == "| H(x\\|y) | Arm |"
    assert rule.count("|") == 3
    assert row == "| 1.50 | a\\|b |"
