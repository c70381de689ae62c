from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from blind_table import PLAN, ratings
from cqa_helpers import effects, linear, ordinal, ratingmodels
from cqa_helpers.agreement import Interval

NOTHING = Interval(None, None, None)


def primary(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["criterion"] == "sign-it"]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return primary(ratings({"tuned": 1.0, "base": -0.8, "gpt4": 0.0}, seed=3))


@pytest.mark.parametrize(("points", "model"), [(False, ordinal), (True, linear)])
def test_the_model_is_the_declared_one(rows: pd.DataFrame, points: bool, model) -> None:  # type: ignore[no-untyped-def]
    declared = model.fit(rows, random=ratingmodels.TERMS, reference={"judge": "gpt4"})
    found = ratingmodels.fit(rows, "gpt4", points=points)
    interval, freedom = ratingmodels.between(found, "tuned", "gpt4", 0.95)
    assert interval == effects.contrast(declared, "tuned", "gpt4")
    assert freedom == effects.degrees_of_freedom(declared, "tuned", "gpt4")
    assert (found.n, found.n_missing, found.few) == (len(rows), 0, False)


def test_p_falls_below_five_in_a_hundred_where_the_interval_leaves_out_zero(
    rows: pd.DataFrame,
) -> None:
    models = ratingmodels.fit(rows, "gpt4"), ratingmodels.fit(rows, "gpt4", points=True)
    for level in (0.5, 0.95, 0.999):
        plan = PLAN.model_copy(update={"level": level})
        c = ratingmodels.compared("tuned", "gpt4", "sign-it", rows, models, plan, 0)
        assert c.p is not None
        assert c.log_odds.low is not None
        assert (c.p < 1 - level) == (c.log_odds.low > 0)
    t = c.log_odds.value / ((c.log_odds.high - c.log_odds.low) / 2)  # type: ignore[operator]
    t *= stats.t.ppf(0.9995, c.freedom)
    assert c.p == pytest.approx(2 * stats.t.sf(t, c.freedom))


def test_a_pair_of_judges_is_the_same_seen_from_either_side(rows: pd.DataFrame) -> None:
    models = ratingmodels.fit(rows, "gpt4"), ratingmodels.fit(rows, "gpt4", points=True)
    one, other = (
        ratingmodels.compared(a, b, "sign-it", rows, models, PLAN, 0)
        for a, b in (("tuned", "base"), ("base", "tuned"))
    )
    for kind in ("log_odds", "points", "bootstrap"):
        value, low, high = getattr(one, kind)
        assert getattr(other, kind) == pytest.approx((-value, -high, -low), abs=1e-9)
    assert one.p == pytest.approx(other.p)


def test_one_rater_speaks_for_nobody_else(rows: pd.DataFrame) -> None:
    found = ratingmodels.fit(rows[rows["rater"] == "rater-1"], "gpt4")
    interval, freedom = ratingmodels.between(found, "tuned", "gpt4", 0.95)
    assert interval.value is not None
    assert (interval.low, interval.high, freedom) == (None, None, None)
    assert "one rater or one passage: no limits" in found.said
    assert any(w.startswith("rater:judge cannot be told") for w in found.said)


def test_one_rater_a_passage_leaves_the_passage_by_judge_out(rows: pd.DataFrame) -> None:
    turn = rows["passage"].str[1:].astype(int) % 5 + 1
    alone = rows[rows["rater"] == "rater-" + turn.astype(str)]
    for points in (False, True):
        found = ratingmodels.fit(alone, "gpt4", points=points)
        assert found.fit is not None
        assert "passage:judge" not in found.fit.sds
        assert ratingmodels.between(found, "tuned", "gpt4", 0.95)[0].low is not None


def test_seeds_are_a_random_term_where_a_judge_has_several(rows: pd.DataFrame) -> None:
    dealt = "tuned-" + (rows["passage"].str[1:].astype(int) % 3 + 1).astype(str)
    several = rows.assign(seed=dealt.where(rows["judge"] == "tuned", ""))
    found = ratingmodels.fit(several, "gpt4").fit
    assert found is not None
    assert found.levels["seed"] == 3
    without = ratingmodels.fit(rows, "gpt4").fit
    assert without is not None
    assert "seed" not in without.levels


def test_missing_ratings_are_counted_and_none_is_a_zero(rows: pd.DataFrame) -> None:
    gone = rows["rater"].eq("rater-2") & rows["judge"].eq("tuned")
    found = ratingmodels.fit(rows.assign(value=rows["value"].mask(gone)), "gpt4")
    assert (found.n, found.n_missing) == (len(rows) - gone.sum(), gone.sum())
    same = ratingmodels.fit(rows[~gone], "gpt4")
    assert ratingmodels.between(found, "tuned", "gpt4", 0.95) == ratingmodels.between(
        same, "tuned", "gpt4", 0.95
    )


@pytest.mark.parametrize("points", [False, True])
def test_what_cannot_be_fitted_says_why(rows: pd.DataFrame, points: bool) -> None:
    only = ratingmodels.fit(rows[rows["judge"] == "tuned"], "gpt4", points=points)
    empty = ratingmodels.fit(rows.assign(value=np.nan), "gpt4", points=points)
    assert only.said == ("1 judge(s) with ratings: nothing to compare",)
    assert empty.said == ("0 judge(s) with ratings: nothing to compare",)
    same = ratingmodels.fit(rows.assign(value=3.0), "gpt4", points=points)
    assert "every rating is 3: nothing can be estimated" in same.said
    cell = rows[(rows["rater"] == "rater-1") & (rows["passage"] == "p0")]
    one = ratingmodels.fit(cell, "gpt4", points=points)
    assert one.fit is None
    for found in (only, empty, same, one):
        assert ratingmodels.between(found, "tuned", "gpt4", 0.95) == (NOTHING, None)


def test_judges_without_a_rating_in_common_have_no_contrast(rows: pd.DataFrame) -> None:
    found = ratingmodels.fit(rows, "nobody")
    assert ratingmodels.between(found, "tuned", "nobody", 0.95) == (NOTHING, None)
    assert ratingmodels.between(found, "tuned", "tuned", 0.95) == (NOTHING, None)
    assert ratingmodels.between(found, "tuned", "base", 0.95)[0].low is not None
    assert ratingmodels.bootstrap(rows, "tuned", "nobody", PLAN, 0) == NOTHING


def test_the_bootstrap_has_limits_from_five_raters_on_and_none_without_spread(
    rows: pd.DataFrame,
) -> None:
    assert ratingmodels.bootstrap(rows, "tuned", "gpt4", PLAN, 0).low is not None
    four = ratingmodels.bootstrap(rows[rows["rater"] != "rater-5"], "tuned", "gpt4", PLAN, 0)
    assert four.value is not None
    assert four.low is None
    assert ratingmodels.bootstrap(rows.assign(value=4.0), "tuned", "gpt4", PLAN, 0) == NOTHING
    # Each judge always the same: the difference is 2 in every resample.
    fixed = rows.assign(value=rows["judge"].map({"tuned": 5.0, "gpt4": 3.0, "base": 1.0}))
    found = ratingmodels.bootstrap(fixed, "tuned", "gpt4", PLAN, 0)
    assert found.value == pytest.approx(2.0)
    assert found.low is None
