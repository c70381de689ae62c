from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from blind_table import CRITERIA, PLAN, blind, ratings
from cqa_helpers import blindtest, ratingmodels, results, study
from cqa_helpers.agreement import Interval

NOTHING = Interval(None, None, None)
CLEAR = {"tuned": 2.2, "base": -1.5, "gpt4": 0.0}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return ratings(CLEAR, n_raters=6, n_passages=12, seed=1, criteria=CRITERIA, sd=0.3)


@pytest.fixture(scope="module")
def few(table: pd.DataFrame) -> pd.DataFrame:
    """Return the primary criterion and the ranking alone."""
    return table[table["criterion"].isin(["sign-it", "rank"])]


@pytest.fixture(scope="module")
def found(table: pd.DataFrame) -> blindtest.Blindtest:
    return blindtest.analyse(table, blind(), PLAN, 1)


def analysed(table: pd.DataFrame, **changes: object) -> blindtest.Blindtest:
    made = blindtest.analyse(table, blind(**changes), PLAN, 1)
    json.dumps(results.plain(made), allow_nan=False)
    return made


def test_planted_superiority_is_found_by_all_means(found: blindtest.Blindtest) -> None:
    assert found.conclusion.outcome == "beats"
    assert found.checks == {"linear": "beats", "bootstrap": "beats"}
    assert found.agree
    assert found.agreement == ("The linear mixed model and the bootstrap reach the same outcome.")
    _, low, high = found.conclusion.difference
    assert low < CLEAR["tuned"] < high  # type: ignore[operator]
    assert found.ranking.difference.low > 0  # type: ignore[operator]
    assert found.sensitivity.shown
    assert (found.n_raters, found.n_passages) == (6, 12)
    assert found.n_ratings == {"tuned": 72, "gpt4": 72, "base": 72}
    assert found.outcomes == {"tuned": "beats", "base": "falls-short"}


def test_planted_inferiority_falls_short(few: pd.DataFrame) -> None:
    names = {"tuned": "gpt4", "base": "base", "gpt4": "tuned"}
    worse = analysed(few.assign(judge=few["judge"].map(names)))
    assert worse.conclusion.outcome == "falls-short"
    assert worse.equivalence.noninferior is False


def test_every_judge_is_compared_with_reference_and_control_on_each_criterion(
    found: blindtest.Blindtest,
) -> None:
    pairs = [("tuned", "gpt4"), ("base", "gpt4"), ("tuned", "base"), ("gpt4", "base")]
    assert [(c.a, c.b, c.criterion) for c in found.contrasts] == [
        (a, b, criterion)
        for criterion in ("sign-it", "accuracy", "insight", "usefulness")
        for a, b in pairs
    ]
    assert all(c.log_odds.low is not None and c.p is not None for c in found.contrasts)


def test_equivalence_is_that_of_the_primary_contrast(found: blindtest.Blindtest) -> None:
    primary = found.contrast("tuned", "gpt4")
    assert primary is not None
    assert primary.log_odds == found.conclusion.difference
    assert found.equivalence.p == primary.p
    assert found.equivalence.noninferior
    assert not found.equivalence.equivalent


def test_means_and_ties_by_hand(table: pd.DataFrame, found: blindtest.Blindtest) -> None:
    rated = table[(table["judge"] == "tuned") & (table["criterion"] == "insight")]
    assert found.means["tuned"]["insight"] == pytest.approx(rated["value"].mean())
    ties = 0
    for _, rows in table[table["criterion"] == "rank"].groupby("sheet"):
        a, b, c = rows["value"]
        ties += (a == b) + (b == c) + (a == c)
    assert found.ranking.ties == pytest.approx(ties / (3 * 72))
    assert found.ranking.n_pairs == 216


def test_holm_is_over_every_declared_secondary(found: blindtest.Blindtest) -> None:
    declared = [(s.a, s.b, s.criterion) for s in found.secondary]
    assert declared == [
        ("tuned", "gpt4", "accuracy"), ("tuned", "gpt4", "insight"),
        ("tuned", "gpt4", "usefulness"), ("tuned", "gpt4", "rank"), ("tuned", "base", "sign-it"),
    ]  # fmt: skip
    p = [s.p for s in found.secondary]
    assert [s.p_holm for s in found.secondary] == list(
        study.holm({str(i): v for i, v in enumerate(p)}).values()
    )
    least = min(range(5), key=lambda i: p[i])  # type: ignore[arg-type, return-value]
    assert found.secondary[least].p_holm == pytest.approx(min(1, 5 * p[least]))  # type: ignore[operator]


def test_a_criterion_that_nobody_answered_still_counts_as_a_test(few: pd.DataFrame) -> None:
    made = analysed(few.assign(value=few["value"].mask(few["criterion"] == "rank")))
    by_name = {s.criterion: s for s in made.secondary}
    assert (by_name["insight"].p, by_name["insight"].p_holm) == (None, None)
    assert by_name["rank"].difference == NOTHING
    assert (made.ranking.ties, made.ranking.n_missing) == (None, 216)
    assert made.models["insight"].n == 0
    (known,) = [s for s in made.secondary if s.p is not None]
    assert known.p_holm == pytest.approx(min(1, 5 * known.p))  # type: ignore[operator]
    assert made.conclusion.outcome == "beats"


@pytest.mark.parametrize(
    ("over", "outcome"),
    [
        (Interval(0.5, 0.1, 0.9), "matches"),
        (Interval(0.5, -0.1, 1.1), "inconclusive"),
        (Interval(0.5, None, None), "inconclusive"),
        (NOTHING, "inconclusive"),
        (None, "matches"),
    ],
)
def test_a_match_counts_only_if_raters_tell_the_candidate_from_the_control(
    over: Interval | None, outcome: str
) -> None:
    made = blindtest.guarded(study.decide(Interval(0.0, -0.2, 0.2), 0.5), over)
    assert made.outcome == outcome
    beats = study.decide(Interval(0.5, 0.2, 0.8), 0.5)
    assert blindtest.guarded(beats, over) == beats


def test_raters_at_random_make_equal_judges_match_no_more_often_than_the_level_allows() -> None:
    rows = ratings(dict.fromkeys(CLEAR, 0.0), 5, 14)
    rows = rows[rows["criterion"] == "sign-it"]
    section, n = blind(margin=1.4), 12
    by_margin, matches = 0, 0
    for seed in range(n):
        value = np.random.default_rng(seed).integers(1, 6, len(rows)).astype(float)
        fitted = ratingmodels.fit(rows.assign(value=value), "gpt4")
        difference, _ = ratingmodels.between(fitted, "tuned", "gpt4", PLAN.level)
        by_margin += study.decide(difference, section.margin).outcome == "matches"
        matches += blindtest.concluded(fitted, section, PLAN).outcome == "matches"
    # The margin alone calls nearly all of them a match. The control lets one in forty pass.
    assert by_margin >= 0.8 * n
    assert matches <= stats.binom.ppf(0.999, n, (1 - PLAN.level) / 2)


def test_raters_who_answer_at_random_are_named_as_the_reason(few: pd.DataFrame) -> None:
    value = np.random.default_rng(2).integers(1, 4, len(few)).astype(float)
    made = analysed(few.assign(value=value), margin=1.5)
    assert made.by_margin == "matches"
    assert made.conclusion.outcome == "inconclusive"
    assert "matches" not in made.outcomes.values()
    assert made.sensitivity.why == blindtest.UNTOLD


def test_judges_that_raters_can_tell_do_match_where_they_are_equal() -> None:
    rows = ratings({"tuned": 1.5, "base": -1.5, "gpt4": 1.5}, 5, 16, 4, sd=0.0)
    made = analysed(rows, margin=1.2)
    assert made.conclusion.outcome == "matches"
    assert made.sensitivity.why == "raters told the candidate from the control"


@pytest.mark.parametrize("control", [None, "gpt4"])
def test_without_a_control_it_is_said_what_sensitivity_rests_on(
    found: blindtest.Blindtest, few: pd.DataFrame, control: str | None
) -> None:
    made = analysed(few, control=control)
    assert made.sensitivity == blindtest.Sensitivity(None, NOTHING, None, blindtest.ALONE)
    assert made.conclusion == found.conclusion
    assert [s.criterion for s in made.secondary][-1] == "rank"


def test_it_runs_on_shuffled_labels_and_finds_nothing_there(few: pd.DataFrame) -> None:
    rng = np.random.default_rng(5)
    wide = few[["sheet", "code", "judge"]].drop_duplicates()
    mixed = wide.groupby("sheet")["judge"].transform(lambda j: rng.permutation(j.to_numpy()))
    of_code = dict(zip(wide["code"], mixed, strict=True))
    made = analysed(few.assign(judge=few["code"].map(of_code)))
    assert made.conclusion.outcome == "inconclusive"
    assert made.conclusion.difference.low is not None


@pytest.mark.parametrize("judge", ["tuned", "gpt4", "base"])
def test_a_judge_without_ratings_leaves_nulls_and_the_rest_stands(
    few: pd.DataFrame, judge: str
) -> None:
    made = analysed(few.assign(value=few["value"].mask(few["judge"] == judge)))
    assert made.means[judge]["sign-it"] is None
    assert made.n_ratings[judge] == 0
    for c in made.contrasts:
        if c.criterion == "sign-it":
            assert (c.log_odds == NOTHING) == (judge in (c.a, c.b))
    if judge == "base":
        assert made.conclusion.outcome == "beats"
        assert made.sensitivity.shown is False
    else:
        assert made.conclusion.difference == NOTHING
        assert made.conclusion.outcome == "inconclusive"
        assert made.agree is None
        assert made.equivalence.p is None


@pytest.mark.parametrize("whole", [True, False])
def test_ratings_that_are_all_equal_show_nothing(few: pd.DataFrame, whole: bool) -> None:
    made = analysed(few.assign(value=1.0) if whole else few.iloc[:0])
    assert made.conclusion.outcome == "inconclusive"
    assert made.checks == {"linear": None, "bootstrap": None}
    assert made.agree is None
    assert made.agreement.startswith("There is nothing to check the primary outcome by.")
    assert all(s.p is None for s in made.secondary)
    assert made.models["sign-it"].converged is False
    assert made.models["sign-it"].warnings


def test_a_judge_that_is_always_best_has_an_infinite_coefficient_and_no_number(
    few: pd.DataFrame,
) -> None:
    top = few["judge"].eq("tuned") & few["criterion"].eq("sign-it")
    made = analysed(few.assign(value=few["value"].mask(top, 5.0)))
    assert made.conclusion.difference == NOTHING
    assert made.checks["linear"] == "beats"
    assert made.agreement.startswith(
        "The ordinal model gave no interval. Other means say: the linear"
    )
    assert any("infinite" in w for w in made.models["sign-it"].warnings)


def test_with_four_raters_the_bootstrap_is_missing_and_that_is_said(few: pd.DataFrame) -> None:
    made = analysed(few[~few["rater"].isin(["rater-5", "rater-6"])])
    assert made.checks == {"linear": "beats", "bootstrap": None}
    assert made.agree
    assert made.agreement == (
        "The linear mixed model reaches the same outcome. Of the bootstrap there is no interval."
    )
    assert made.ranking.p is None


def test_outcomes_that_differ_by_model_are_named(few: pd.DataFrame) -> None:
    equal = few.assign(judge=few["judge"].replace({"tuned": "base", "base": "tuned"}))
    # One margin is wide enough for a match and the other is not.
    made = analysed(equal, margin=4.9, margin_points=0.01, control=None)
    assert made.conclusion.outcome == "matches"
    assert made.checks["linear"] == "falls-short"
    assert made.agree is False
    assert made.agreement.startswith("The outcome hangs on the model. Ordinal model: matches; ")
    assert "the linear mixed model: falls short" in made.agreement


def test_repeats_and_attention_sheets_do_not_count(
    table: pd.DataFrame, found: blindtest.Blindtest
) -> None:
    rows = table[table["criterion"] == "sign-it"]
    more = rows.head(60).assign(kind="repeat", value=1.0, sheet="again")
    odd = rows.head(60).assign(kind="attention", value=1.0, sheet="odd")
    made = analysed(pd.concat([rows, more, odd]))
    assert made.conclusion == found.conclusion


def test_a_table_without_a_column_is_refused(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="no column seed"):
        blindtest.analyse(table.drop(columns="seed"), blind(), PLAN, 1)
