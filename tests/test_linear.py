from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.weightstats import ttost_paired

from cqa_helpers import effects, linear

R = Path(__file__).parent / "r"
LME4 = json.loads((R / "lme4.json").read_text(encoding="utf-8"))["models"]
ARGUMENTS: dict[str, dict[str, Any]] = {
    "crossed": {},
    "covariates": {
        "fixed": ("judge", "position", "log_length"),
        "random": ("rater", "passage", "passage:judge"),
    },
    "seeds": {"random": ("rater", "passage", "seed")},
}
# Hours of sleep gained by ten patients with each of two drugs (Student 1908).
GAINED = {
    "one": [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    "two": [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
}


def patients() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"drug": drug, "patient": f"p{i}", "value": gain}
            for drug, gains in GAINED.items()
            for i, gain in enumerate(gains)
        ]
    )


@pytest.mark.parametrize("name", sorted(LME4))
def test_the_linear_model_equals_r(name: str) -> None:
    theirs = LME4[name]
    rows = pd.read_csv(R / f"{name}.csv", keep_default_na=False)
    found = linear.fit(rows, **ARGUMENTS[name])

    def in_r(key: str) -> str:
        key = key.replace("[", "").replace("]", "").replace("passage:judge", "diagnosis")
        return "(Intercept)" if key == "intercept" else key

    assert found.converged
    assert found.loglik == pytest.approx(theirs["loglik"], abs=1e-7)
    for key, value in found.coefficients.items():
        assert value == pytest.approx(theirs["coefficients"][in_r(key)], abs=1e-6)
    # So flat is the restricted likelihood that 1e-9 of it are 1e-5 of a standard deviation.
    assert {in_r(k): v for k, v in found.sds.items()} == pytest.approx(theirs["sds"], abs=2e-5)
    assert found.residual_sd == pytest.approx(theirs["residual_sd"], abs=2e-6)
    errors = {in_r(k): v for k, v in found.standard_errors.items()}
    assert errors == pytest.approx(theirs["standard_errors"], rel=1e-5)


def test_two_drugs_on_ten_patients_are_students_paired_test() -> None:
    """The interval and degrees of freedom are those of R's ``t.test`` on its ``sleep`` data."""
    found = linear.fit(patients(), fixed=["drug"], random=["patient"])
    gap = effects.contrast(found, "one", "two", factor="drug")
    assert gap == pytest.approx((-1.58, -2.4598858, -0.7001142), abs=1e-5)
    assert effects.degrees_of_freedom(found, "one", "two", factor="drug") == pytest.approx(
        9, abs=1e-3
    )


def test_an_interval_inside_the_margin_is_what_two_one_sided_tests_show() -> None:
    found = linear.fit(patients(), fixed=["drug"], random=["patient"])
    gap = effects.contrast(found, "one", "two", factor="drug", level=0.90)
    assert gap.low is not None
    for margin in (0.5, -gap.low - 0.001, -gap.low + 0.001, 3.0):
        p, _, _ = ttost_paired(np.array(GAINED["one"]), np.array(GAINED["two"]), -margin, margin)
        assert (p < 0.05) == (gap.low > -margin)


def test_a_variance_of_zero_is_said() -> None:
    rng = np.random.default_rng(3)
    rows = pd.DataFrame({"rater": list("abcde") * 8, "passage": np.repeat(range(8), 5).astype(str)})
    rows["judge"] = rng.choice(["x", "y"], 40)
    noise = rng.normal(size=40)
    rows["value"] = noise - pd.Series(noise).groupby(rows["rater"]).transform("mean")
    found = linear.fit(rows)
    assert found.sds["rater"] == 0
    assert "the variance of rater is estimated as zero" in found.warnings
