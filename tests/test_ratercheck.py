from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from blind_table import CRITERIA, PLAN, blind, ratings
from cqa_helpers import ratercheck, results

OPTIONS = (200, 0, 0.95)


def sheet(
    rater: str, name: str, ranks: list[float], accuracy: list[float], kind: str = "attention"
) -> pd.DataFrame:
    """Return a sheet whose first diagnosis is of another passage."""
    rows = []
    for k, (rank, true) in enumerate(zip(ranks, accuracy, strict=True)):
        for criterion, value in (("rank", rank), ("accuracy", true)):
            rows.append(
                {
                    "rater": rater, "passage": name, "judge": "abc"[k], "seed": "",
                    "criterion": criterion, "value": value, "kind": kind,
                    "code": f"{rater}{name}{k}", "of": "", "swapped": k == 0, "sheet": name,
                    "label": "ABC"[k], "position": 1, "words": 50.0, "seconds": 60.0,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("ranks", "accuracy", "passed"),
    [
        ([3, 1, 2], [1, 4, 5], 1.0),
        ([2, 1, 2], [1, 4, 1], 1.0),  # last and lowest are shared
        ([3, 1, 2], [2, 4, 1], 0.0),  # something else is held for less true
        ([2, 1, 3], [1, 4, 5], 0.0),  # something else is ranked below it
        ([1, 1, 1], [1, 1, 1], 0.0),  # nothing is told apart
    ],
)
def test_an_attention_sheet_is_passed_where_nothing_stands_below_the_swapped_diagnosis(
    ranks: list[float], accuracy: list[float], passed: float
) -> None:
    made = ratercheck.attended(sheet("r", "s", ranks, accuracy))
    assert made["passed"].tolist() == [passed]


def test_an_attention_sheet_without_an_answer_is_neither_passed_nor_failed() -> None:
    gap = float("nan")
    table = pd.concat(
        [
            sheet("r", "no-rank", [gap, 1, 2], [1, 4, 5]),
            sheet("r", "no-truth", [3, 1, 2], [gap, 4, 5]),
            sheet("r", "alone", [3, gap, gap], [1, 4, 5]),
            sheet("r", "there", [2, 1, gap], [1, 4, gap]),
        ]
    )
    assert ratercheck.attended(table)[["sheet", "passed"]].to_numpy().tolist() == [["there", 1.0]]


def test_where_truth_is_not_asked_the_ranking_decides() -> None:
    table = sheet("r", "s", [3, 1, 2], [5, 1, 1])
    assert ratercheck.attended(table[table["criterion"] == "rank"])["passed"].tolist() == [1.0]


def test_repeats_are_compared_with_their_first_showing_and_ranks_are_not() -> None:
    first = sheet("r", "s", [1, 2, 3], [5, 3, 1], "item")
    again = sheet("r", "t", [3, 2, 1], [5, 4, np.nan], "repeat")
    again = again.assign(of=first["code"].to_numpy())
    # Another rater's ratings of the same codes are no repeat of these.
    other = first.assign(rater="q", value=1.0)
    made = ratercheck.repeats(pd.concat([first, again, other]))
    assert made["rater"].tolist() == ["r", "r"]
    assert made["same"].tolist() == [1.0, 0.0]
    assert made["apart"].tolist() == [0.0, 1.0]


def test_severity_is_how_much_higher_others_rate_the_same_diagnoses() -> None:
    table = pd.concat(
        [
            sheet("mild", "s", [1, 2, 3], [5, 4, 3], "item"),
            sheet("harsh", "s", [1, 2, 3], [3, 2, 1], "item"),
            # Only one saw this one: it says nothing about how harsh anyone is.
            sheet("mild", "t", [1, 2, 3], [1, 1, 1], "item"),
        ]
    )
    found = {r.rater: r for r in raters(table)}
    assert found["harsh"].severity == pytest.approx(2.0)
    assert found["mild"].severity == pytest.approx(-2.0)
    assert found["mild"].mean == pytest.approx(15 / 6)


def raters(table: pd.DataFrame) -> tuple[ratercheck.Rater, ...]:
    return ratercheck.each(table, ratercheck.repeats(table), ratercheck.attended(table))


def test_what_is_missing_is_counted_and_null_where_nothing_is_there() -> None:
    table = sheet("r", "s", [1, 2, 3], [5, np.nan, np.nan], "item").assign(seconds=np.nan)
    (found,) = raters(table)
    assert (found.n, found.n_missing) == (4, 2)
    assert found.share_missing == pytest.approx(1 / 3)
    assert (found.seconds, found.same, found.apart, found.passed) == (None,) * 4
    assert (found.n_repeats, found.n_attention, found.severity) == (0, 0, None)
    assert not found.failed_attention
    assert not found.inconsistent


def test_seconds_are_the_median_over_sheets_and_not_over_ratings() -> None:
    sheets = [sheet("r", n, [1, 2, 3], [1, 2, 3], "item") for n in "abc"]
    table = pd.concat([s.assign(seconds=t) for s, t in zip(sheets, (10, 20, 90), strict=True)])
    assert raters(table)[0].seconds == 20.0


@pytest.mark.parametrize(("good", "failed"), [(2, False), (1, True), (0, True)])
def test_a_rater_who_passes_half_or_fewer_has_failed(good: int, failed: bool) -> None:
    table = pd.concat(
        [sheet("r", f"s{k}", [3, 1, 2] if k < good else [1, 2, 3], [1, 4, 5]) for k in range(2)]
    )
    (found,) = raters(table)
    assert (found.passed, found.failed_attention) == (good / 2, failed)


@pytest.mark.parametrize(("apart", "inconsistent"), [(1.0, False), (4 / 3, True)])
def test_a_rater_is_inconsistent_beyond_one_point_on_average(
    apart: float, inconsistent: bool
) -> None:
    first = sheet("r", "s", [1, 2, 3], [1, 2, 3], "item")
    second = [2.0, 3.0, 4.0] if apart == 1.0 else [2.0, 3.0, 5.0]
    again = sheet("r", "t", [1, 2, 3], second, "repeat").assign(of=first["code"].to_numpy())
    (found,) = raters(pd.concat([first, again]))
    assert found.apart == pytest.approx(apart)
    assert found.inconsistent is inconsistent


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    judges = {"tuned": 2.5, "base": -1.5, "gpt4": 0.0}
    made = ratings(judges, 5, 10, seed=2, criteria=CRITERIA, sd=0.2, severity={"rater-2": 2.0})
    first = made[(made["passage"] == "p0")]
    again = first.assign(
        kind="repeat", of=first["code"], code=first["code"] + "x", sheet=first["sheet"] + "x"
    )
    return pd.concat([made, again], ignore_index=True)


def test_a_planted_severe_rater_is_the_most_severe(table: pd.DataFrame) -> None:
    found = ratercheck.check(table, blind(), PLAN, 0)
    json.dumps(results.plain(found), allow_nan=False)
    assert max(found.raters, key=lambda r: r.severity or 0).rater == "rater-2"
    assert found.same.value == (1.0, 1.0, 1.0)
    assert found.apart.value == (0.0, 0.0, 0.0)
    assert found.same.n == 5 * 3 * 4
    assert found.passed == ratercheck.Pooled(ratercheck.Interval(None, None, None), 0)
    assert set(found.alpha) == {*CRITERIA, "rank"}
    assert all(a is not None and a.alpha.value > 0 for a in found.alpha.values())  # type: ignore[operator]


def test_alpha_is_one_where_raters_agree_and_null_without_ratings(table: pd.DataFrame) -> None:
    rows = table[(table["kind"] == "item") & (table["criterion"] == "insight")]
    same = rows.assign(value=rows["judge"].map({"tuned": 5.0, "gpt4": 3.0, "base": 1.0}))
    found = ratercheck.alpha(same, OPTIONS)
    assert found is not None
    assert found.alpha.value == pytest.approx(1.0)
    assert (found.n_items, found.n_judges, found.n_clusters) == (30, 5, 10)
    assert ratercheck.alpha(rows.assign(value=np.nan), OPTIONS) is None
    alone = ratercheck.alpha(rows[rows["rater"] == "rater-1"], OPTIONS)
    assert alone is not None
    assert alone.alpha.value is None


def test_pooled_limits_resample_raters_and_need_five(table: pd.DataFrame) -> None:
    moved = table["kind"].eq("repeat") & table["rater"].isin(["rater-1", "rater-2"])
    again = ratercheck.repeats(table.assign(value=table["value"].where(~moved, 6 - table["value"])))
    found = ratercheck.pooled(again, "same", OPTIONS).value
    assert found.value == pytest.approx(again["same"].mean())
    assert found.low < found.value < 1  # type: ignore[operator]
    fewer = again[again["rater"] != "rater-5"]
    assert ratercheck.pooled(fewer, "apart", OPTIONS).value.low is None
    assert ratercheck.pooled(again.iloc[:0], "same", OPTIONS).value == (None, None, None)


def test_raters_who_failed_are_those_left_out(table: pd.DataFrame) -> None:
    odd = sheet("rater-3", "odd", [1, 2, 3], [5, 4, 1])
    rows = table[table["criterion"].isin(["sign-it"])]
    found = ratercheck.check(pd.concat([rows, odd], ignore_index=True), blind(), PLAN, 0)
    variant = {v.name: v for v in found.variants}["without raters who failed attention"]
    assert variant.n_left_out == 30
    assert variant.changes is False
