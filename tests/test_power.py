from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from cqa_helpers import params, paths, power
from cqa_helpers.agreement import Floats
from cqa_helpers.sections import Blind


def declared(**changes: object) -> Blind:
    blind = params.load(Path("params/phase1.yaml")).blind
    assert blind is not None
    return blind.model_copy(update=changes)


def share_found(difference: float, raters: int, sds: tuple[float, float, float]) -> float:
    """Return the share of simulated studies, 40 passages each, whose test by mean squares finds
    the difference; every rater sees every passage."""
    rng = np.random.default_rng(0)
    seen: Floats = (
        difference
        + sds[0] * rng.standard_normal((3000, raters, 1))
        + sds[1] * rng.standard_normal((3000, 1, 40))
        + sds[2] * rng.standard_normal((3000, raters, 40))
    )
    mean, by_rater, by_passage = seen.mean((1, 2)), seen.mean(2), seen.mean(1)
    left = seen - by_rater[:, :, None] - by_passage[:, None, :] + mean[:, None, None]
    df = (raters - 1) * 39
    a, b = by_rater.var(1, ddof=1) / raters, by_passage.var(1, ddof=1) / 40
    e = (left**2).sum((1, 2)) / df / (raters * 40)
    # Where means vary less than the residual alone would have them, the larger error stands.
    squared = np.maximum(a + b - e, np.maximum(a, b))
    freedom = squared**2 / (a**2 / (raters - 1) + b**2 / 39 + e**2 / df)
    return float(np.mean(np.abs(mean) > stats.t.ppf(0.975, freedom) * np.sqrt(squared)))


@pytest.mark.parametrize("raters", [5, 10])
@pytest.mark.parametrize("sds", [(0.3, 0.5, 0.9), (0.06, 0.43, 0.36), (0.5, 0.2, 0.7)])
def test_the_formula_has_the_power_that_simulation_finds(
    raters: int, sds: tuple[float, float, float]
) -> None:
    found = power.minimum_detectable(raters, 40, *sds)
    # Four standard errors of 3,000 studies, and a test that is a little cautious.
    assert 0.75 < share_found(found, raters, sds) < 0.83
    assert share_found(0.0, raters, sds) < 0.068


def test_one_source_of_variance_is_the_t_test_of_its_means() -> None:
    # A difference of 1.0 with 10 raters, SD 1: statsmodels.stats.power.TTestPower gives it.
    from statsmodels.stats.power import TTestPower

    known = TTestPower().solve_power(nobs=10, alpha=0.05, power=0.8)
    assert power.minimum_detectable(10, 500, 1.0, 0.0, 0.0) == pytest.approx(known, rel=1e-3)
    of_seeds = power.minimum_detectable(500, 500, 0.0, 0.0, 0.0, sd_seed=1.0, seeds=10)
    assert of_seeds == pytest.approx(known, rel=1e-3)


def test_raters_cannot_replace_passages_and_two_of_each_are_needed() -> None:
    of = (0.1, 0.5, 0.5)
    whole = power.minimum_detectable(12, 40, *of)
    assert power.minimum_detectable(5000, 20, *of) > power.minimum_detectable(6, 80, *of)
    assert power.minimum_detectable(12, 40, *of, raters_a_passage=3) > whole
    assert power.minimum_detectable(12, 40, *of, sd_seed=0.3, seeds=5) > whole
    assert power.minimum_detectable(1, 40, *of) == math.inf
    assert power.minimum_detectable(12, 1, *of) == math.inf
    with pytest.raises(ValueError, match="raters_a_passage is 4: up to 3"):
        power.minimum_detectable(3, 40, *of, raters_a_passage=4)


@given(st.floats(0, 3), st.floats(-2, 2), st.floats(0.2, 3))
@settings(max_examples=30, deadline=None)
def test_a_category_more_tells_more_and_none_tells_more_than_the_log_odds_themselves(
    sd: float, middle: float, step: float
) -> None:
    found = [
        power.information(sd, middle + step * (np.arange(k) - (k - 1) / 2)) for k in (1, 3, 41)
    ]
    assert 0 < found[0] < found[1] < found[2] < 1 / 3


def test_the_information_of_a_yes_is_that_of_a_coin_and_of_a_fine_scale_a_third() -> None:
    assert power.information(0.0, np.array([0.7])) == pytest.approx(
        special.expit(0.7) * special.expit(-0.7)
    )
    assert power.information(0.0, np.linspace(-20, 20, 4001)) == pytest.approx(1 / 3, abs=1e-5)


def test_what_a_rating_tells_is_the_precision_of_an_estimate_from_many() -> None:
    """The likelihood of a shift, thresholds known, curves as the information says."""
    rng = np.random.default_rng(5)
    y = np.digitize(rng.logistic(size=200_000), power.CUTS)
    shares = np.bincount(y) / len(y)

    def log_likelihood(shift: float) -> float:
        up = special.expit(np.append(power.CUTS, np.inf) - shift)
        return float(shares @ np.log(np.diff(up, prepend=0.0)))

    h = 1e-3
    curve = (log_likelihood(h) - 2 * log_likelihood(0.0) + log_likelihood(-h)) / h**2
    assert -curve == pytest.approx(power.information(0.0), rel=0.01)


def test_the_table_holds_the_declared_design_once_and_more_of_everything_sees_less() -> None:
    blind = declared(raters=[f"r{i}" for i in range(7)], n_items=33, raters_a_passage=None)
    table = power.detectable(blind, 0.95, 5)
    assert list(table.columns) == ["raters", "items", "difference", "declared"]
    assert [(r.raters, r.items) for r in table[table["declared"]].itertuples()] == [(7, 33)]
    wide = table.pivot(index="raters", columns="items", values="difference")
    assert (wide.diff().dropna() < 0).all(axis=None)
    assert (wide.T.diff().dropna() < 0).all(axis=None)


def test_each_part_of_the_declared_design_counts() -> None:
    whole = power.of_design(declared(), 0.95, 5)
    assert power.of_design(declared(per_sheet=2), 0.95, 5) > whole
    assert power.of_design(declared(raters_a_passage=None), 0.95, 5) < whole
    # Twenty sheets of each of six raters are three raters of each of forty passages.
    assert power.of_design(
        declared(raters_a_passage=None, sheets_a_rater=20), 0.95, 5
    ) == pytest.approx(whole)
    assert power.of_design(declared(), 0.99, 5) > whole
    assert power.of_design(declared(seeds="first"), 0.95, 5) < whole
    assert power.of_design(declared(seeds="first"), 0.95, 5) == power.of_design(declared(), 0.95, 1)


def test_variances_that_nobody_declared_are_asked_for() -> None:
    with pytest.raises(ValueError, match=r"blind\.simulation is null"):
        power.detectable(declared(simulation=None), 0.95)


def test_every_profile_with_a_blind_test_has_a_smallest_difference() -> None:
    for profile in sorted((paths.root() / "params").glob("*.yaml")):
        blind = params.load(profile).blind
        if blind is not None and blind.simulation is not None:
            assert 0 < power.of_design(blind, 0.95, 3) < math.inf
