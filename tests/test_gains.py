from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from cqa_helpers import gains, power
from cqa_helpers.agreement import Interval

LEVEL = 0.95


def table(values: object) -> pd.DataFrame:
    made = pd.DataFrame(np.asarray(values, dtype=float))
    return made.set_axis([f"seed {k}" for k in range(len(made))], axis=0)


def drawn(seeds: int, pairs: int, rng: int = 0, missing: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(rng)
    values = (
        1
        + generator.standard_normal((seeds, 1))
        + generator.standard_normal(pairs)
        + generator.standard_normal((seeds, pairs))
    )
    values.flat[generator.choice(values.size, missing, replace=False)] = np.nan
    return table(values)


def test_two_seeds_and_two_pairs_by_hand() -> None:
    found = gains.gain([table([[1, 2], [3, 6]])], [1], LEVEL)
    # Seeds' means 1.5 and 4.5: variance 4.5, over two 2.25. Pairs' means 2 and 4: 2, over two 1.
    # What is left is ±.5 four times, mean square 1, over four .25.
    variance, df = 2.25 + 1 - 0.25, 3**2 / (2.25**2 + 1 + 0.25**2)
    half = stats.t.ppf(0.975, df) * math.sqrt(variance)
    assert found.mean == pytest.approx((3, 3 - half, 3 + half))
    assert found.p == pytest.approx(2 * stats.t.sf(3 / math.sqrt(variance), df))
    assert found.by_seed == {"seed 0": 1.5, "seed 1": 4.5}
    assert found.sd_seed == pytest.approx(math.sqrt(4.5 - 1 / 2))
    assert found.sd_pair == pytest.approx(math.sqrt(2 - 1 / 2))
    assert found.sd_rest == pytest.approx(1)
    assert (found.n_pairs, found.n_missing) == ((2,), 0)


def test_the_interval_on_these_pairs_is_students_over_seeds() -> None:
    given_ = drawn(5, 12)
    found = gains.gain([given_], [1], LEVEL)
    test = stats.ttest_1samp(given_.mean(axis=1), 0)
    assert found.p_these_pairs == pytest.approx(test.pvalue)
    assert found.these_pairs[1:] == pytest.approx(tuple(test.confidence_interval(LEVEL)))


def test_seeds_that_are_all_alike_leave_a_t_test_over_pairs() -> None:
    values = np.random.default_rng(1).standard_normal(15)
    found = gains.gain([table([values] * 4)], [1], LEVEL)
    test = stats.ttest_1samp(values, 0)
    assert found.p == pytest.approx(test.pvalue)
    assert found.mean[1:] == pytest.approx(tuple(test.confidence_interval(LEVEL)))
    assert found.these_pairs == Interval(pytest.approx(values.mean()), None, None)
    assert (found.sd_seed, found.sd_rest) == pytest.approx((0, 0), abs=1e-7)


def test_deviations_are_those_of_an_analysis_of_variance() -> None:
    given_ = drawn(4, 9)
    long = given_.reset_index(names="seed").melt("seed", var_name="pair")
    squares = anova_lm(ols("value ~ C(seed) + C(pair)", long).fit())["mean_sq"]
    found = gains.gain([given_], [1], LEVEL)
    rest = squares["Residual"]
    assert found.sd_rest == pytest.approx(math.sqrt(rest))
    assert found.sd_seed == pytest.approx(math.sqrt(max(squares["C(seed)"] - rest, 0) / 9))
    assert found.sd_pair == pytest.approx(math.sqrt(max(squares["C(pair)"] - rest, 0) / 4))


def test_missing_cells_are_filled_as_least_squares_has_them_and_counted() -> None:
    given_ = drawn(4, 8, missing=6)
    long = given_.reset_index(names="seed").melt("seed", var_name="pair")
    fit = ols("value ~ C(seed) + C(pair)", long.dropna()).fit()
    expected = long["value"].fillna(fit.predict(long)).to_numpy().reshape(8, 4).T
    assert gains.completed(given_.to_numpy()) == pytest.approx(expected)
    found = gains.gain([given_], [1], LEVEL)
    assert found.n_missing == 6
    assert found.sd_rest == pytest.approx(math.sqrt(fit.mse_resid))


def test_a_seed_that_lacks_the_hard_pairs_does_not_seem_better() -> None:
    whole = np.add.outer([0.0, 0.0, 0.0], [5.0, 5.0, -5.0, -5.0])
    whole[0, 3] = np.nan
    found = gains.gain([table(whole)], [1], LEVEL)
    assert list(found.by_seed.values()) == pytest.approx([0, 0, 0])


def test_the_interaction_is_taken_seed_by_seed_so_that_shared_drift_is_gone() -> None:
    shared = np.array([[-30.0], [0.0], [40.0]])
    literary, factual = drawn(3, 10, 1), drawn(3, 14, 2)
    alone = gains.gain([literary, factual], [1, -1], LEVEL)
    drifted = gains.gain([literary + shared, factual + shared], [1, -1], LEVEL)
    assert drifted.mean == pytest.approx(alone.mean)
    assert drifted.p == pytest.approx(alone.p)
    gaps = literary.mean(axis=1) - factual.mean(axis=1)
    assert list(drifted.by_seed.values()) == pytest.approx(list(gaps))
    assert drifted.these_pairs == pytest.approx(gains.over(gaps.to_numpy(), LEVEL)[0])
    assert drifted.n_pairs == (10, 14)
    parts = [gains.gain([t], [1], LEVEL) for t in (literary, factual)]
    rests = [p.sd_rest for p in parts if p.sd_rest is not None]
    assert drifted.sd_rest == pytest.approx(math.hypot(*rests))


def test_a_seed_that_one_group_lacks_counts_in_neither() -> None:
    literary, factual = drawn(4, 6, 1), drawn(4, 6, 2)
    factual.loc["seed 2"] = np.nan
    found = gains.gain([literary, factual], [1, -1], LEVEL)
    three = gains.gain([literary.drop("seed 2"), factual.drop("seed 2")], [1, -1], LEVEL)
    assert found.mean == pytest.approx(three.mean)
    assert set(found.by_seed) == {"seed 0", "seed 1", "seed 3"}
    assert found.n_missing == 6
    assert gains.gain([literary, factual.drop("seed 2")], [1, -1], LEVEL) == found


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.floats(-50, 50), st.floats(0.1, 20))
def test_a_shift_moves_the_interval_and_a_unit_stretches_it(
    rng: int, shift: float, unit: float
) -> None:
    given_ = drawn(3, 6, rng, missing=2)
    plain = np.array(gains.gain([given_], [1], LEVEL).mean, dtype=float)
    moved = gains.gain([given_ * unit + shift], [1], LEVEL).mean
    assert moved == pytest.approx(tuple(plain * unit + shift), rel=1e-6, abs=1e-6)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.randoms())
def test_the_order_of_seeds_and_pairs_changes_nothing(rng: int, order: object) -> None:
    given_ = drawn(4, 6, rng, missing=3)
    mixed = given_.sample(frac=1, random_state=rng).sample(frac=1, axis=1, random_state=rng)
    assert gains.gain([mixed], [1], LEVEL).mean == pytest.approx(
        gains.gain([given_], [1], LEVEL).mean
    )


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([[1.0, 2.0, 6.0]], 3.0),
        ([[0.3] * 4] * 3, 0.3),
        ([[1e-12, 0.0], [0.0, -1e-12]], 0.0),
    ],
    ids=["one seed", "equal differences", "rounding"],
)
def test_without_spread_between_seeds_and_pairs_there_is_no_interval(
    values: list[list[float]], mean: float
) -> None:
    found = gains.gain([table(values)], [1], LEVEL)
    assert found.mean == found.these_pairs == Interval(pytest.approx(mean), None, None)
    assert found.p is found.p_these_pairs is None


def test_nothing_known_gives_nothing_and_counts_it() -> None:
    found = gains.gain([table(np.full((3, 4), np.nan))], [1], LEVEL)
    assert found.mean == gains.NONE
    assert (found.p, found.by_seed, found.n_pairs, found.n_missing) == (None, {}, (0,), 12)
    assert gains.gain([drawn(3, 4), table(np.full((3, 2), np.nan))], [1, -1], LEVEL).p is None
    assert gains.over(np.full(3, np.nan), LEVEL) == (gains.NONE, None)
    assert gains.over(np.array([2.0, np.nan]), LEVEL) == (Interval(2, None, None), None)


def test_seeds_that_share_no_pair_cannot_be_compared() -> None:
    apart = table([[1, 2, np.nan, np.nan], [np.nan, np.nan, 5, 7]])
    assert gains.gain([apart], [1], LEVEL).mean.low is None


def test_one_pair_leaves_the_interval_over_seeds_alone() -> None:
    found = gains.gain([table([[1], [2], [4]])], [1], LEVEL)
    assert found.mean.low is None
    assert found.these_pairs.low is not None


def test_many_studies_at_once_are_each_as_one_alone() -> None:
    studies = [(drawn(3, 7, k, missing=k), drawn(3, 5, k + 9)) for k in range(4)]
    stacked = [np.stack([s[g].to_numpy() for s in studies]) for g in (0, 1)]
    many = gains.crossed(stacked, [1, -1])
    for k, pair in enumerate(studies):
        one = gains.crossed([t.to_numpy() for t in pair], [1, -1])
        for name in ("mean", "se", "df", "se_seed", "by_seed"):
            assert getattr(many, name)[k] == pytest.approx(getattr(one, name)), name


def test_drift_is_wilcoxons_the_sign_test_and_cohens_d() -> None:
    values = np.array([1.0, 2.0, 3.0, -1.5, 4.0, 5.0, 0.0, np.nan])
    found = gains.drift(values, LEVEL)
    known = values[:-1]
    assert found.p_two_sided == pytest.approx(stats.wilcoxon(known).pvalue)
    assert found.p_greater == pytest.approx(stats.wilcoxon(known, alternative="greater").pvalue)
    # Five up and one down: 2 · (1 + 6) of 64.
    assert found.p_sign == pytest.approx(14 / 64)
    assert (found.n_up, found.n_down, found.n, found.n_missing) == (5, 1, 7, 1)
    assert found.d.value == pytest.approx(known.mean() / known.std(ddof=1))
    assert found.d.low is not None
    assert found.d.high is not None
    assert found.d.low < found.d.value < found.d.high


def test_the_interval_of_d_is_about_as_wide_as_its_standard_error_says() -> None:
    values = np.random.default_rng(3).normal(0.5, 1, 200)
    found = gains.drift(values, LEVEL).d
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    # Hedges and Olkin (1985): variance of a one-sample d is about 1/n + d²/2n.
    expected = 2 * 1.96 * math.sqrt(1 / 200 + found.value**2 / 400)
    assert found.high - found.low == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("constant", [0.1, -4.2479275134])
def test_equal_differences_have_tests_and_no_d(constant: float) -> None:
    found = gains.drift(constant + np.array([0, 1, -1, 2, 0, 1]) * 1e-13, LEVEL)
    assert found.d == gains.NONE
    assert found.p_sign == pytest.approx(2 / 64)
    assert found.p_two_sided is not None


def test_no_change_at_all_has_no_test() -> None:
    for values in (np.zeros(5), np.full(5, 1e-13)):
        found = gains.drift(values, LEVEL)
        assert (found.mean, found.p_two_sided, found.p_greater, found.p_sign) == (0, *[None] * 3)
    nothing = gains.drift(np.full(4, np.nan), LEVEL)
    assert (nothing.mean, nothing.p_sign, nothing.n, nothing.n_missing) == (None, None, 0, 4)


def test_what_can_be_detected_falls_with_seeds_and_pairs_and_marks_the_study_itself() -> None:
    found = gains.gain([drawn(4, 15)], [1], LEVEL)
    made = gains.detectable(found, LEVEL, seeds=(3, 10), pairs=(10, 100))
    wide = made.pivot(index="seeds", columns="pairs", values="difference")
    assert (wide.diff().iloc[1:] < 0).to_numpy().all()
    assert (wide.T.diff().iloc[1:] < 0).to_numpy().all()
    own = made[made["declared"]]
    assert own[["seeds", "pairs"]].to_numpy().tolist() == [[4, 15]]
    assert found.sd_seed is not None
    assert found.sd_pair is not None
    assert found.sd_rest is not None
    assert own["difference"].item() == pytest.approx(
        power.minimum_detectable(4, 15, found.sd_seed, found.sd_pair, found.sd_rest)
    )


def test_one_seed_gives_no_table_of_power() -> None:
    assert gains.detectable(gains.gain([drawn(1, 9)], [1], LEVEL), LEVEL).empty
