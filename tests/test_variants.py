from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from blind_table import PLAN, blind, ratings
from cqa_helpers import blindtest, ratingmodels, variants
from cqa_helpers.variants import UNTOUCHED, Effect, Variant

CLEAR = {"tuned": 2.2, "base": -1.5, "gpt4": 0.0}


def primary(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["criterion"] == "sign-it"]


Named = tuple[dict[str, Effect], dict[str, Variant]]
EXCLUDED = {"without two": {"rater-1", "rater-2"}, "without none": set[str]()}


def tried(rows: pd.DataFrame) -> Named:
    effects, others = variants.under_other_choices(rows, EXCLUDED, blind(), PLAN)
    return {e.name: e for e in effects}, {v.name: v for v in others}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return primary(ratings(CLEAR, 5, 14, seed=7, sd=0.2, fatigue=1.5))


@pytest.fixture(scope="module")
def found(rows: pd.DataFrame) -> Named:
    return tried(rows)


def test_planted_fatigue_is_found_and_does_not_move_the_conclusion(found: Named) -> None:
    effects, others = found
    _, low, high = effects["later sheet, by 10"].coefficient
    assert low < -1.5 < high < 0  # type: ignore[operator]
    for label in ("B − A", "C − A"):
        place = effects[f"place on the sheet, {label}"].coefficient
        assert place.low < 0 < place.high  # type: ignore[operator]
    assert not any(v.changes for v in others.values())
    assert all(v.changes is False for v in others.values() if v.why != UNTOUCHED)
    assert {v.kind for v in others.values()} == {"covariate", "rater", "exclusion"}


def test_a_judge_that_wins_by_length_alone_does_not_at_equal_length() -> None:
    made = primary(ratings({"tuned": 0.0, "base": -1.5, "gpt4": 0.0}, 4, 12, seed=3, sd=0.0))
    rng = np.random.default_rng(3)
    length = rng.uniform(0, 200, len(made)) + 120 * made["judge"].eq("tuned")
    # Each hundred words more lift a rating by two points and a little.
    value = np.clip(np.round(1 + length / 70 + rng.normal(0, 0.7, len(made))), 1, 5)
    effects, others = tried(made.assign(words=length, value=value))
    whole = blindtest.concluded(
        ratingmodels.fit(made.assign(value=value), "gpt4"), blind(control=None), PLAN
    )
    assert whole.outcome == "beats"
    assert effects["length, by 100"].coefficient.low > 0  # type: ignore[operator]
    at_equal = others["at equal length"]
    assert at_equal.changes
    assert at_equal.difference.low < 0 < at_equal.difference.high  # type: ignore[operator]


def test_a_single_rater_who_carries_the_result_is_named() -> None:
    made = primary(ratings({"tuned": 0.4, "base": -2.0, "gpt4": 0.4}, 5, 14, seed=5, sd=0.0))
    against = made["rater"].eq("rater-4")
    value = made["value"].mask(against & made["judge"].eq("tuned"), 1.0)
    value = value.mask(against & made["judge"].eq("gpt4"), 5.0)
    section = blind(margin=1.8)
    _, found = variants.under_other_choices(made.assign(value=value), {}, section, PLAN)
    others = {v.name: v for v in found}
    assert others["without rater-4"].outcome == "matches"
    assert [n for n, v in others.items() if v.kind == "rater" and v.changes] == ["without rater-4"]


def test_what_is_left_out_is_counted(found: Named) -> None:
    _, others = found
    assert others["without two"].n_left_out == 2 * 14 * 3
    assert others["without two"].n == 3 * 14 * 3
    assert others["without rater-3"].n_left_out == 14 * 3
    # A tenth of 70 sheets, three diagnoses each.
    assert others["without the fastest tenth of sheets"].n_left_out == 21
    none = others["without none"]
    assert (none.n_left_out, none.changes, none.why) == (0, None, UNTOUCHED)


def test_the_fastest_and_the_most_uneven_sheets_go(rows: pd.DataFrame, found: Named) -> None:
    sheets = rows.groupby("sheet")
    fast = set(sheets["seconds"].first().nsmallest(7).index)
    uneven = set((sheets["words"].max() - sheets["words"].min()).nlargest(7).index)
    _, others = found
    for name, out in (
        ("without the fastest tenth of sheets", fast),
        ("without the tenth of sheets that differ most in length", uneven),
    ):
        left = ratingmodels.fit(rows[~rows["sheet"].isin(out)], "gpt4")
        expected, _ = ratingmodels.between(left, "tuned", "gpt4", PLAN.level)
        assert others[name].difference[0] == pytest.approx(expected[0], abs=1e-6)


def test_unknown_times_and_lengths_leave_nothing_out(rows: pd.DataFrame) -> None:
    half = rows[rows["passage"].str[1:].astype(int) < 7]
    _, others = tried(half.assign(seconds=np.nan, words=50.0))
    assert others["without the fastest tenth of sheets"].why == UNTOUCHED
    assert others["without the tenth of sheets that differ most in length"].why == UNTOUCHED
    # A length that is the same throughout has no coefficient, and that is said.
    equal = others["at equal length"]
    assert (equal.outcome, equal.changes) == (None, None)
    assert "cannot be told apart" in equal.why


def test_with_two_raters_leaving_one_out_says_nothing(rows: pd.DataFrame) -> None:
    _, others = tried(rows[rows["rater"].isin(["rater-1", "rater-2"])])
    found = others["without rater-1"]
    assert found.difference.value is not None
    assert (found.difference.low, found.outcome, found.changes) == (None, None, None)
    assert "no limits" in found.why


@pytest.mark.parametrize("value", [np.nan, 3.0])
def test_without_ratings_that_differ_nothing_is_said_to_hold(
    rows: pd.DataFrame, value: float
) -> None:
    effects, others = tried(rows.assign(value=value))
    assert all(v.changes is None and v.outcome is None for v in others.values())
    assert all(e.coefficient == (None, None, None) for e in effects.values())


def test_a_length_that_stands_for_its_judge_is_not_called_a_cause() -> None:
    """A reference that always says one sentence: its length is its name."""
    table = ratings({"tuned": 1.0, "base": -1.0, "gpt4": 0.0}, seed=3)
    fixed = table["judge"].map({"tuned": 60.0, "base": 58.0, "gpt4": 9.0})
    effects, others = tried(primary(table.assign(words=fixed)))
    length = effects["length, by 100"]
    assert length.coefficient.value is None
    assert "hardly overlap in length" in length.why
    at_equal = others["at equal length"]
    assert (at_equal.changes, at_equal.outcome) == (None, None)
