from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from cqa_helpers import power
from cqa_helpers.power import Spread


@pytest.mark.parametrize("raters", [5, 10])
@pytest.mark.parametrize("sds", [(0.3, 0.5, 0.9), (0.06, 0.43, 0.36), (0.5, 0.2, 0.7)])
def test_the_formula_has_the_power_that_simulation_finds(
    raters: int, sds: tuple[float, float, float]
) -> None:
    found = power.minimum_detectable(raters, 40, *sds)
    share = power.simulated_power(found, raters, 40, Spread(*sds), n_studies=3000)
    # Four standard errors of 3,000 studies, and a test that is a little cautious.
    assert 0.75 < share < 0.83
    assert power.simulated_power(0.0, raters, 40, Spread(*sds), n_studies=3000) < 0.068


def test_one_source_of_variance_is_the_t_test_of_its_means() -> None:
    # A difference of 1.0 with 10 raters, SD 1: statsmodels.stats.power.TTestPower gives it.
    from statsmodels.stats.power import TTestPower

    found = power.minimum_detectable(10, 500, 1.0, 0.0, 0.0)
    known = TTestPower().solve_power(nobs=10, alpha=0.05, power=0.8)
    assert found == pytest.approx(known, rel=1e-3)


def test_more_of_everything_sees_less_and_raters_cannot_replace_passages() -> None:
    of = Spread(0.1, 0.5, 0.5)
    table = power.grid([3, 6, 12], [20, 40, 80], of)
    wide = table.pivot(index="raters", columns="items", values="difference")
    assert (wide.diff().dropna() < 0).all(axis=None)
    assert (wide.T.diff().dropna() < 0).all(axis=None)
    assert power.minimum_detectable(5000, 20, *of) > power.minimum_detectable(6, 80, *of)
    assert power.minimum_detectable(12, 40, *of, raters_a_passage=3) > wide.loc[12, 40]
    assert power.minimum_detectable(1, 40, *of) == math.inf
    with pytest.raises(ValueError, match="raters_a_passage is 4: 1 to 3"):
        power.minimum_detectable(3, 40, *of, raters_a_passage=4)


def test_planted_variances_are_found_where_raters_share_only_some_passages() -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(20):
        r, p = rng.normal(0, 0.4, 12), rng.normal(0, 0.7, 60)
        rows = [
            (i, j, 0.2 + r[j] + p[i] + rng.normal(0, 0.5))
            for i in range(60)
            for j in rng.choice(12, 3, replace=False)
        ]
        found.append(power.spread(pd.DataFrame(rows, columns=["passage_id", "rater_id", "value"])))
    assert np.sqrt(np.square(found).mean(0)) == pytest.approx([0.4, 0.7, 0.5], abs=0.05)


def test_variances_that_cannot_be_told_apart_are_refused() -> None:
    rows = pd.DataFrame({"passage_id": ["a", "b"], "rater_id": ["r", "r"], "value": [0.1, 0.2]})
    with pytest.raises(ValueError, match="not a passage with two raters; nor two passages"):
        power.spread(rows)


def test_an_expert_rates_judges_by_how_often_they_agree() -> None:
    said = {
        ("e1", "p", "x"): 1, ("e1", "p", "y"): 0, ("e2", "p", "x"): 0,
        ("good", "p", "x"): 1, ("good", "p", "y"): 0, ("bad", "p", "x"): 0, ("bad", "p", "y"): 0,
        # Only one of the two judged q: it does not count.
        ("e1", "q", "x"): 1, ("good", "q", "x"): 1,
    }  # fmt: skip
    table = pd.DataFrame(
        [
            {"judge_id": j, "item_id": p, "dimension": d, "value": v, "status": "ok", "repeat": 0}
            for (j, p, d), v in said.items()
        ]
    )
    found = power.agreement_differences(table, "good", "bad", ["e1", "e2"])
    assert {(r, p): v for p, r, v in found.itertuples(index=False)} == {
        ("e1", "p"): 0.5, ("e2", "p"): -1.0,
    }  # fmt: skip
