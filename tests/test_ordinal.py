from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cqa_helpers import effects, laplace, linear, ordinal
from cqa_helpers.agreement import Interval
from r import simulate

R = Path(__file__).parent / "r"
CLMM = json.loads((R / "clmm.json").read_text(encoding="utf-8"))["models"]
COVARIATES = {
    "fixed": ("judge", "position", "log_length"),
    "random": ("rater", "passage", "passage:judge"),
}


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(R / f"{name}.csv", keep_default_na=False)


def as_named_in_r(values: dict[str, Any]) -> dict[str, Any]:
    return {k.replace("[", "").replace("]", ""): v for k, v in values.items()}


def sds_in_r(found: effects.Fit) -> dict[str, float]:
    return {k.replace("passage:judge", "diagnosis"): v for k, v in found.sds.items()}


@pytest.mark.parametrize("name", sorted(simulate.TABLES))
def test_the_stored_tables_are_those_that_the_script_simulates(name: str) -> None:
    pd.testing.assert_frame_equal(table(name), simulate.TABLES[name](), check_dtype=False)


@pytest.mark.parametrize("name", sorted(CLMM))
def test_the_ordinal_model_equals_r(name: str) -> None:
    theirs = CLMM[name]
    found = ordinal.fit(table(name), **(COVARIATES if name == "covariates" else {}))
    # Both stand at a maximum whose slope is below 1e-5, and whose curvature is above 10.
    assert theirs["gradient"] < 1e-5
    assert found.converged
    assert found.loglik == pytest.approx(theirs["loglik"], abs=1e-8)
    assert found.thresholds == pytest.approx(theirs["thresholds"], abs=2e-6)
    assert as_named_in_r(found.coefficients) == pytest.approx(theirs["coefficients"], abs=2e-6)
    assert sds_in_r(found) == pytest.approx(theirs["sds"], abs=2e-6)
    # Second derivatives are differences, R's of the function and ours of its gradient.
    assert as_named_in_r(found.standard_errors) == pytest.approx(
        theirs["standard_errors"], rel=5e-5
    )


@pytest.mark.parametrize("name", sorted(CLMM))
def test_clmm_stops_no_higher(name: str) -> None:
    found = ordinal.fit(table(name), **(COVARIATES if name == "covariates" else {}))
    stopped = CLMM[name]["as_clmm_stopped"]
    assert found.loglik is not None
    assert found.loglik >= stopped["loglik"] - 1e-8
    assert as_named_in_r(found.coefficients) == pytest.approx(stopped["coefficients"], abs=5e-4)


def test_a_variance_of_zero_is_said_and_changes_nothing_else() -> None:
    found = ordinal.fit(table("zero-variance"))
    without = ordinal.fit(table("zero-variance"), random=["passage"])
    assert found.sds["rater"] == 0.0
    assert "the variance of rater is estimated as zero" in found.warnings
    assert without.warnings == ()
    assert found.loglik == pytest.approx(without.loglik, abs=1e-8)
    assert found.standard_errors == pytest.approx(without.standard_errors, rel=1e-5)


def test_the_gradient_is_that_of_the_likelihood() -> None:
    rows = table("crossed")
    groups = [pd.factorize(rows[c])[0].astype(np.int64) for c in ("rater", "passage")]
    groups.append(pd.factorize(rows["passage"] + rows["judge"])[0].astype(np.int64))
    X = np.column_stack([rows["judge"] == "tuned", rows["log_length"] - 4.5]).astype(float)
    surface = laplace.Laplace(rows["value"].to_numpy(np.int64) - 1, X, groups)
    x = np.array([-1.5, 0.1, 1.4, 3.0, 0.6, 0.3, 0.7, 0.4, 0.9])

    def at(x: np.ndarray) -> tuple[float, np.ndarray]:
        return surface(x[:4], x[4:6], x[6:])

    steps = 1e-5 * np.eye(len(x))
    slopes = [(at(x + h)[0] - at(x - h)[0]) / 2e-5 for h in steps]
    assert at(x)[1] == pytest.approx(slopes, abs=1e-6)


def test_the_integral_is_close_to_exact_quadrature() -> None:
    """One group and two categories: the integral over its effect has one dimension."""
    y = np.array([0, 1, 1, 1, 0, 1, 1, 1, 1, 0], dtype=np.int64)
    surface = laplace.Laplace(y, np.empty((10, 0)), [np.zeros(10, dtype=np.int64)])
    approximate, _ = surface(np.array([-0.5]), np.empty(0), np.array([0.6]))
    u = np.linspace(-8, 8, 20_001)
    low = 1 / (1 + np.exp(0.5 + 0.6 * u))
    density = np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
    exact = np.log(np.sum(low**3 * (1 - low) ** 7 * density) * (u[1] - u[0]))
    assert approximate == pytest.approx(exact, abs=0.01)


def test_a_term_that_bears_on_some_ratings_has_the_gradient_of_its_likelihood() -> None:
    rows = table("seeds")
    codes = [pd.factorize(rows[c])[0].astype(np.int64) for c in ("rater", "passage")]
    seeds = rows["seed"].map({"": -1, "s0": 0, "s1": 1, "s2": 2, "s3": 3}).to_numpy(np.int64)
    X = (rows["judge"] == "tuned").to_numpy(dtype=float)[:, None]
    surface = laplace.Laplace(rows["value"].to_numpy(np.int64) - 1, X, [*codes, seeds])
    x = np.array([-1.5, 0.1, 1.4, 3.0, 0.6, 0.7, 0.4, 0.9])

    def at(x: np.ndarray) -> tuple[float, np.ndarray]:
        return surface(x[:4], x[4:5], x[5:])

    slopes = [(at(x + h)[0] - at(x - h)[0]) / 2e-5 for h in 1e-5 * np.eye(len(x))]
    assert at(x)[1] == pytest.approx(slopes, abs=1e-6)


def test_seeds_of_the_tuned_judge_widen_its_contrasts_and_no_others() -> None:
    rows = table("seeds")
    without = ordinal.fit(rows)
    found = ordinal.fit(rows, random=("rater", "passage", "seed"))
    assert found.levels["seed"] == 4

    def variance(fit: effects.Fit, a: str, b: str) -> float:
        _, low, high = effects.contrast(fit, a, b, small_sample=False)
        assert low is not None
        assert high is not None
        return ((high - low) / 2 / 1.959964) ** 2

    # The mean of four seeds has a quarter of a seed's variance.
    added = variance(found, "tuned", "base") - variance(without, "tuned", "base")
    assert added == pytest.approx(found.sds["seed"] ** 2 / 4, rel=0.15)
    assert variance(found, "reference", "base") == pytest.approx(
        variance(without, "reference", "base"), rel=0.05
    )


def test_a_contrast_does_not_depend_on_the_reference() -> None:
    rows = table("crossed")
    found = [
        effects.contrast(ordinal.fit(rows, reference={"judge": j}), "tuned", "reference")
        for j in ("base", "tuned", "reference")
    ]
    assert found[1] == pytest.approx(found[0], abs=1e-5)
    assert found[2] == pytest.approx(found[0], abs=1e-5)
    back = effects.contrast(ordinal.fit(rows), "reference", "tuned")
    assert (back.low, back.high) == pytest.approx((-found[0].high, -found[0].low), abs=1e-5)


def test_covariates_far_from_zero_give_the_same_model() -> None:
    rows = table("covariates")
    far = rows.assign(log_length=1000 + 50 * rows["log_length"])
    near_fit, far_fit = (ordinal.fit(r, **COVARIATES) for r in (rows, far))
    assert far_fit.loglik == pytest.approx(near_fit.loglik, abs=1e-7)
    near, there = (f.coefficients["log_length"] for f in (near_fit, far_fit))
    assert near is not None
    assert there == pytest.approx(near / 50, abs=1e-6)


def test_a_judge_always_at_the_top_has_no_number_and_leaves_the_others_theirs() -> None:
    rows = table("crossed")
    rows.loc[rows["judge"] == "reference", "value"] = 5
    found = ordinal.fit(rows, reference={"judge": "reference"})
    assert found.coefficients["judge[reference]"] is None
    assert not found.converged
    assert any("every rating of reference is the highest" in w for w in found.warnings)
    assert any("base takes the place of reference" in w for w in found.warnings)
    assert effects.contrast(found, "tuned", "reference") == Interval(None, None, None)
    alone = ordinal.fit(rows[rows["judge"] != "reference"])
    assert effects.contrast(found, "tuned", "base") == pytest.approx(
        effects.contrast(alone, "tuned", "base")
    )


def test_ratings_that_a_covariate_separates_have_no_errors() -> None:
    rows = table("crossed")
    rows["length"] = rows["value"] + np.linspace(0, 0.5, len(rows))
    found = ordinal.fit(rows, fixed=["length"])
    assert not found.converged
    assert any("separate" in w for w in found.warnings)
    assert found.standard_errors["length"] is None


def test_an_unused_category_is_said_and_one_alone_gives_nothing() -> None:
    rows = table("crossed")
    found = ordinal.fit(rows.assign(value=rows["value"].replace({3: 4})))
    assert list(found.thresholds) == ["1|2", "2|4", "4|5"]
    assert any("nobody rated 3" in w for w in found.warnings)
    for model in (ordinal, linear):
        none = model.fit(rows.assign(value=4))
        assert not none.converged
        assert none.loglik is None
        assert "every rating is 4" in none.warnings[-1]
        assert effects.contrast(none, "tuned", "base") == Interval(None, None, None)


def test_missing_ratings_are_counted_and_left_out() -> None:
    rows = table("crossed").astype({"value": "Int64"})
    rows.loc[::10, "value"] = pd.NA
    found = ordinal.fit(rows)
    assert (found.n, found.n_missing) == (270, 30)
    assert found.loglik == pytest.approx(ordinal.fit(rows.dropna()).loglik)


def test_a_single_rater_is_left_out_as_a_random_term() -> None:
    rows = table("crossed").query("rater == 'r0'")
    found = ordinal.fit(rows)
    assert list(found.sds) == ["passage"]
    assert any("rater has one level" in w for w in found.warnings)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"value": "score"}, "no column score"),
        ({}, {"random": ["rater", "team"]}, "no column team"),
        ({}, {"reference": {"judge": "gpt"}}, "reference 'gpt' has no rating"),
        ({"rater": None}, {}, "rater has gaps"),
        ({"value": np.nan}, {}, "no rating at all"),
        ({"value": 2.5}, {}, "not whole numbers"),
        ({"rater": "a", "passage": "b"}, {}, "no random term is left"),
        ({"same": 1.0}, {"fixed": ["judge", "same"]}, "cannot be told apart"),
    ],
)
def test_what_cannot_be_fitted_is_refused_by_name(
    change: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ordinal.fit(table("crossed").assign(**change), **arguments)


def test_an_unknown_judge_is_refused() -> None:
    with pytest.raises(ValueError, match="no level 'gpt'"):
        effects.contrast(ordinal.fit(table("crossed")), "gpt", "base")


def test_few_raters_who_differ_widen_the_interval_about_as_in_the_linear_model() -> None:
    random = ("rater", "passage", "passage:judge", "rater:judge")
    rows = table("crossed")
    liked = rows["rater"].isin(["r0", "r3"]) & (rows["judge"] == "tuned")
    rows["value"] = (rows["value"] + liked).clip(upper=5)
    found, check = (model.fit(rows, random=random) for model in (ordinal, linear))
    assert found.sds["rater:judge"] > 0.1
    plain = effects.contrast(found, "tuned", "base", small_sample=False)
    honest = effects.contrast(found, "tuned", "base")
    alone = effects.contrast(ordinal.fit(rows), "tuned", "base")
    assert honest.low < plain.low < alone.low
    assert honest.value == plain.value
    df, df_check = (effects.degrees_of_freedom(f, "tuned", "base") for f in (found, check))
    assert 4 < df < 60
    assert df == pytest.approx(df_check, rel=0.4)
    straight = effects.contrast(check, "tuned", "base")
    assert (honest.high - honest.low) / honest.value == pytest.approx(
        (straight.high - straight.low) / straight.value, rel=0.25
    )


def test_degrees_of_freedom_never_fall_below_the_fewest_levels_less_one() -> None:
    found = ordinal.fit(table("crossed"))
    assert found.spread is not None
    unknown = found._replace(spread=found.spread._replace(noise=1e9 * found.spread.noise))
    assert effects.degrees_of_freedom(unknown, "tuned", "base") == 4
