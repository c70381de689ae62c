from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cqa_helpers import declared
from cqa_helpers.blinding import BlindError, Diagnosis
from cqa_helpers.params import Params
from cqa_helpers.records import Verdict, to_table, write_jsonl
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


def ratings(tmp_path: Path, codes: dict[str, int | None]) -> Path:
    path = tmp_path / "ratings.jsonl"
    write_jsonl(
        path,
        [
            Verdict(
                item_id=code, dimension="d", judge_id="r1", value=value, scale="1-5",
                status="ok" if value is not None else "refused",
            )
            for code, value in codes.items()
        ],
    )  # fmt: skip
    return path


KEY = [
    Diagnosis(code=f"{judge}{i}", judge_id=judge, passage_id=f"p{i}", repeat=0, values={})
    for judge in ("tuned", "reference")
    for i in range(3)
]


def test_ratings_are_given_to_the_judges_behind_their_codes(
    small_params: Maker, tmp_path: Path
) -> None:
    given = {d.code: (5 if d.judge_id == "tuned" else 2) for d in KEY}
    table, found = declared.rated(ratings(tmp_path, given), KEY, small_params())
    assert list(found) == ["tuned", "reference"]
    assert (found["tuned"].mean, found["tuned"].n) == (5.0, 3)
    assert found["tuned"].minus_reference is not None
    assert found["tuned"].minus_reference.value == pytest.approx(3)
    assert found["reference"].minus_reference is None
    assert len(table) == 6
    assert list(declared.rated_rows(found)["Ratings"]) == [3, 3]


def test_a_rating_not_given_is_not_counted_and_not_a_zero(
    small_params: Maker, tmp_path: Path
) -> None:
    given: dict[str, int | None] = {d.code: 4 for d in KEY} | {"tuned0": None}
    _, found = declared.rated(ratings(tmp_path, given), KEY, small_params())
    assert (found["tuned"].mean, found["tuned"].n) == (4.0, 2)


def test_a_rating_of_an_unknown_code_is_named(small_params: Maker, tmp_path: Path) -> None:
    with pytest.raises(BlindError, match=r"1 code.s. that no packet has: zzz"):
        declared.rated(ratings(tmp_path, {"zzz": 3}), KEY, small_params())


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
