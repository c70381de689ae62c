from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from cqa_helpers import declared
from cqa_helpers.params import Params
from cqa_helpers.records import to_table
from simulated_table import said, table_of, truth_of

Maker = Callable[..., Params]
UNREADING = ("always-no", "always-yes", "majority", "shuffled")


def with_controls(tuned: float, style: float, shuffled: float, n: int = 40) -> pd.DataFrame:
    truth = truth_of(n)
    rows = []
    for judge, skill, seed in (
        ("tuned-style-only", style, 500), ("tuned-shuffled", shuffled, 600), ("base", 0.5, 700),
    ):  # fmt: skip
        for r in range(3):
            rows += said(judge, truth, skill, seed + r, repeat=r)
    return pd.concat([table_of(n, tuned=tuned, reference=0.65), to_table(rows)])


def test_the_candidate_stands_first_and_alone_is_not_corrected(small_params: Maker) -> None:
    compared = declared.compare(table_of(tuned=0.9, reference=0.6), small_params())
    first, *others = compared
    assert first == "tuned"
    assert (compared["tuned"].p, compared["tuned"].p_holm) == (None, None)
    assert all(compared[j].p_holm >= compared[j].p for j in others)  # type: ignore[operator]
    assert "reference" not in compared
    assert set(others[-5:]) == {"always-no", "always-yes", "majority", "longest", "shuffled"}


def test_judges_that_never_read_must_not_pass_and_do_not(small_params: Maker) -> None:
    compared = declared.compare(table_of(tuned=0.9, reference=0.52), small_params())
    assert compared["tuned"].conclusion.outcome == "beats"
    for name in UNREADING:
        assert compared[name].conclusion.outcome == "not-above-chance"
    rows = declared.as_rows(compared, small_params()).set_index("Judge")
    assert rows.loc["always no", "Role"] == "must not pass"


@pytest.mark.parametrize(
    ("skills", "row"),
    [
        ((0.9, 0.5, 0.5), "success"),
        ((0.9, 0.9, 0.5), "failure-2"),
        ((0.9, 0.5, 0.9), "undecided"),
        ((0.5, 0.5, 0.5), "failure-1"),
    ],
)
def test_planted_outcomes_reach_their_row_of_the_decision_table(
    small_params: Maker, skills: tuple[float, float, float], row: str
) -> None:
    table, params = with_controls(*skills), small_params()
    compared = declared.compare(table, params)
    made = declared.decision(table, compared, params)
    assert made.row == row
    shown = declared.decision_rows(made)
    assert list(shown.loc[shown["Holds"] == "→", "Row"]) == [row.replace("-", " ")]
    section = declared.results(compared, made, params)
    assert section["decision"]["row"] == row
    assert section["primary"]["sentence"] == declared.sentence(compared, params)
    assert set(section["secondary"]) == set(compared) - {"tuned"}


def test_a_control_that_was_not_run_leaves_the_study_undecided(small_params: Maker) -> None:
    table = with_controls(0.9, 0.5, 0.5)
    table = table[table["judge_id"] != "tuned-shuffled"]
    made = declared.decision(table, declared.compare(table, small_params()), small_params())
    assert made.row == "undecided"
    assert made.decided_by == ("no result for the shuffled control",)


def test_without_tuning_no_row_holds(small_params: Maker) -> None:
    params = small_params(models=None, tuning=None, surprise=None)
    table = table_of()
    assert declared.decision(table, declared.compare(table, params), params).row == "not-applicable"


def test_the_figure_has_a_row_a_judge_and_the_seeds_of_those_that_have_several(
    small_params: Maker,
) -> None:
    compared = declared.compare(table_of(), small_params())
    assert declared.forest_rows(compared, small_params())["label"].iloc[0] == "tuned"
    assert {k: len(v) for k, v in declared.seed_dots(compared).items()} == {"tuned": 3}
    assert declared.headline(compared, small_params()).startswith("The tuned model ")


def test_what_was_planted_is_found_beside_what_was_declared(small_params: Maker) -> None:
    truth = truth_of(60)
    dimensions = ("craft", "audience", "reality_logic")
    known = {
        f"p{i:03}": dict(zip(dimensions, map(int, row), strict=True)) for i, row in enumerate(truth)
    }
    found = declared.recovery(table_of(tuned=0.9), known, {"experts": 0.9, "reference": 0.7})
    assert found["experts"]["found"] == pytest.approx(0.9, abs=0.04)
    assert found["reference"] == {"planted": 0.7, "found": pytest.approx(0.7, abs=0.1)}
    assert found["tuned"]["planted"] is None
    assert "base" not in found
