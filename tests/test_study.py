from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqa_helpers import agreement, study
from cqa_helpers.agreement import Interval
from cqa_helpers.study import OUTCOMES

number = st.floats(-2, 2, allow_nan=False)
margins = st.floats(0.001, 0.5)
intervals = st.tuples(number, number, number).map(lambda t: Interval(sorted(t)[1], min(t), max(t)))
NONE = Interval(None, None, None)
FLAT = Interval(0.0, -0.03, 0.03)
UP = Interval(0.3, 0.2, 0.4)
BEATS = study.decide(Interval(0.2, 0.1, 0.3), 0.05)
MATCHES = study.decide(Interval(0.0, -0.04, 0.04), 0.05)
OPEN = study.decide(Interval(0.0, -0.2, 0.2), 0.05)
SHORT = study.decide(Interval(-0.2, -0.3, -0.1), 0.05)


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.01, 0.2, "beats"),
        (0.0, 0.2, "matches"),
        (-0.04, 0.2, "matches"),
        (-0.04, -0.01, "matches"),
        (-0.05, 0.2, "inconclusive"),
        (-0.2, 0.2, "inconclusive"),
        (-0.2, 0.0, "inconclusive"),
        (-0.2, -0.01, "falls-short"),
        (-0.2, -0.1, "falls-short"),
    ],
)
def test_the_outcome_at_each_place_of_the_interval(low: float, high: float, outcome: str) -> None:
    assert study.decide(Interval((low + high) / 2, low, high), 0.05).outcome == outcome


@given(intervals, margins)
def test_exactly_one_outcome_holds(difference: Interval, margin: float) -> None:
    _, low, high = difference
    assert low is not None
    assert high is not None
    holds = {
        "beats": low > 0,
        "matches": -margin < low <= 0,
        "falls-short": low <= -margin and high < 0,
        "inconclusive": low <= -margin and high >= 0,
    }
    assert [name for name, true in holds.items() if true] == [
        study.decide(difference, margin).outcome
    ]


@given(intervals, margins, st.floats(0, 2))
def test_a_better_result_never_gets_a_worse_outcome(
    difference: Interval, margin: float, more: float
) -> None:
    moved = Interval(*(x + more for x in difference if x is not None))
    before, after = (OUTCOMES.index(study.decide(d, margin).outcome) for d in (difference, moved))
    assert after >= before


@given(intervals, margins, st.floats(0, 0.5))
def test_a_wider_margin_never_gives_a_worse_outcome(
    difference: Interval, margin: float, more: float
) -> None:
    before, after = (
        OUTCOMES.index(study.decide(difference, m).outcome) for m in (margin, margin + more)
    )
    assert after >= before


def test_an_undefined_difference_is_inconclusive_and_bad_input_an_error() -> None:
    assert study.decide(NONE, 0.05).outcome == "inconclusive"
    assert study.decide(Interval(0.1, None, None), 0.05).outcome == "inconclusive"
    with pytest.raises(ValueError, match="margin 0 must be above 0"):
        study.decide(UP, 0)
    with pytest.raises(ValueError, match=r"runs from 0.3 to 0.1"):
        study.decide(Interval(0.2, 0.3, 0.1), 0.05)
    with pytest.raises(ValueError, match="runs from"):
        study.decide(Interval(0.2, float("nan"), 0.1), 0.05)


@pytest.mark.parametrize(
    ("conclusion", "expected"),
    [
        (
            BEATS,
            (
                "The tuned model beats GPT-4: its agreement with experts (κ) is higher by 0.20 "
                "(95% interval 0.10 to 0.30)."
            ),
        ),
        (
            MATCHES,
            (
                "The tuned model matches GPT-4: the difference in agreement with experts (κ) is "
                "0.00 (95% interval −0.04 to 0.04), within the margin of 0.05 set beforehand."
            ),
        ),
        (
            study.decide(Interval(-0.02, -0.04, -0.01), 0.05),
            (
                "The tuned model matches GPT-4: the difference in agreement with experts (κ) is "
                "−0.02 (95% interval −0.04 to −0.01), reliably lower yet within the margin of "
                "0.05 set beforehand."
            ),
        ),
        (
            SHORT,
            (
                "The tuned model falls short of GPT-4: the difference in agreement with experts "
                "(κ) is −0.20 (95% interval −0.30 to −0.10), below zero and not within the margin "
                "of 0.05 set beforehand."
            ),
        ),
        (
            OPEN,
            (
                "The data do not tell whether the tuned model matches GPT-4: the difference in "
                "agreement with experts (κ) is 0.00 (95% interval −0.20 to 0.20), which holds both "
                "zero and a shortfall of 0.05 or more."
            ),
        ),
        (
            study.decide(NONE, 0.05),
            (
                "The tuned model and GPT-4 cannot be compared: the difference in agreement with "
                "experts (κ) is not defined on these data."
            ),
        ),
    ],
)
def test_each_outcome_is_one_plain_sentence(conclusion: study.Conclusion, expected: str) -> None:
    assert study.sentence(conclusion) == expected


@given(intervals, margins)
def test_a_sentence_always_shows_the_interval_and_never_a_minus_zero(
    difference: Interval, margin: float
) -> None:
    text = study.sentence(study.decide(difference, margin))
    assert "interval" in text
    assert not re.search(r"−0\.0+\b", text)


def test_a_limit_just_above_zero_is_not_shown_as_zero() -> None:
    text = study.sentence(study.decide(Interval(0.1, 0.002, 0.2), 0.05), level=0.9)
    assert "(90% interval 0.002 to 0.200)" in text


def test_holm_equals_the_step_down_by_hand() -> None:
    # Sorted .005, .01, .03, .04 times 4, 3, 2, 1, never falling.
    found = study.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})


def test_a_missing_test_stays_null_and_still_counts_as_declared() -> None:
    found = study.holm({"a": 0.01, "b": None})
    assert found["b"] is None
    assert found["a"] == pytest.approx(0.02)
    assert study.holm({}) == {}


# Few examples: statsmodels collects garbage at each call, which takes long beside torch.
@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_a_p_nor_changes_their_order(values: list[float]) -> None:
    p = {f"test {k}": value for k, value in enumerate(values)}
    found = study.holm(p)
    assert list(found) == list(p)
    order = sorted(p, key=lambda k: p[k])
    adjusted = [found[k] for k in order]
    assert all(q is not None and q >= p[k] - 1e-12 for k, q in found.items())
    assert adjusted == sorted(adjusted)  # type: ignore[type-var]


def test_bootstrap_p_by_hand() -> None:
    assert study.bootstrap_p(np.r_[[-1.0] * 4, [1.0] * 95]) == pytest.approx(2 * 5 / 100)
    assert study.bootstrap_p([1.0] * 99) == pytest.approx(2 / 100)
    assert study.bootstrap_p([0.0] * 9) == 1.0
    assert study.bootstrap_p([]) is None
    assert study.bootstrap_p([np.nan]) is None


def test_bootstrap_p_agrees_with_the_interval_about_zero() -> None:
    for shift in (0.0, 1.0, 1.9, 2.1, 3.0):
        draws = np.random.default_rng(0).normal(shift, 1, 4000)
        low = np.quantile(draws, 0.025)
        p = study.bootstrap_p(draws)
        assert p is not None
        assert (p < 0.05) == (low > 0)


@pytest.mark.parametrize(
    ("primary", "seeds", "style", "shuffled", "row", "by"),
    [
        (BEATS, [0.2, 0.1, 0.3, 0.2, -0.1], FLAT, FLAT, "success", "seeds: 80% of 5"),
        (MATCHES, [0.0, -0.01, 0.1], FLAT, FLAT, "success", "primary: matches"),
        (BEATS, [0.2, -0.1, 0.3], FLAT, FLAT, "failure-1", "seeds: 67% of 3"),
        (MATCHES, [0.1, -0.2], FLAT, FLAT, "failure-1", "seeds: 50% of 2"),
        (SHORT, [-0.2, -0.1], FLAT, FLAT, "failure-1", "primary: falls-short"),
        (SHORT, [0.2, 0.1], FLAT, FLAT, "failure-1", "primary: falls-short"),
        (OPEN, [0.2, -0.1], FLAT, FLAT, "failure-1", "primary: inconclusive"),
        (OPEN, [0.2, 0.1], FLAT, FLAT, "undecided", "more test items are needed"),
        (BEATS, [0.2, 0.1], UP, FLAT, "failure-2", "the style-only control rises"),
        (SHORT, [-0.2], UP, FLAT, "failure-2", "the style-only control rises"),
        (BEATS, [0.2], FLAT, UP, "undecided", "the shuffled control rises: find the leak"),
        (BEATS, [0.2], UP, UP, "undecided", "the shuffled control rises: find the leak"),
        (BEATS, [], FLAT, FLAT, "undecided", "no result for the seeds"),
        (BEATS, [0.2], None, FLAT, "undecided", "no result for the style-only control"),
        (BEATS, [0.2], FLAT, NONE, "undecided", "no result for the shuffled control"),
        (
            study.decide(NONE, 0.05),
            [0.2],
            FLAT,
            FLAT,
            "undecided",
            "no result for the primary difference",
        ),
        (BEATS, [0.2, None], FLAT, FLAT, "failure-1", "seeds: 50% of 2"),
    ],
)
def test_the_decision_table_by_row(
    primary: study.Conclusion,
    seeds: list[float | None],
    style: Interval | None,
    shuffled: Interval | None,
    row: study.Row,
    by: str,
) -> None:
    found = study.decision_table(primary, seeds, style, shuffled)
    assert found.row == row
    assert by in found.decided_by
    assert found.text == study.TEXTS[row]


def test_a_tuned_model_well_above_a_style_control_that_rises_a_little_may_succeed() -> None:
    found = study.decision_table(BEATS, [0.2], UP, FLAT, tuned_over_style=UP)
    assert found.row == "success"
    assert study.decision_table(BEATS, [0.2], UP, FLAT, tuned_over_style=FLAT).row == "failure-2"


def test_beating_a_reference_below_chance_shows_nothing() -> None:
    found = study.decision_table(BEATS, [0.2], FLAT, FLAT, tuned=Interval(0.0, 0.0, 0.0))
    assert found.row == "failure-1"
    assert found.decided_by == ("the tuned model is not above chance",)
    assert study.decision_table(BEATS, [0.2], FLAT, FLAT, tuned=UP).row == "success"


@pytest.mark.parametrize("raters", OUTCOMES)
def test_blind_raters_can_stop_a_success_and_never_make_one(raters: study.Outcome) -> None:
    good = study.decision_table(BEATS, [0.2], FLAT, FLAT, raters=raters)
    assert good.row == ("undecided" if raters == "falls-short" else "success")
    assert f"blind raters: {raters}" in good.decided_by
    bad = study.decision_table(BEATS, [-0.2], FLAT, FLAT, raters=raters)
    assert bad.row == "failure-1"


def test_the_needed_share_is_a_parameter() -> None:
    seeds = [0.2, -0.1, 0.3]
    assert study.decision_table(BEATS, seeds, FLAT, FLAT, needed_share=0.6).row == "success"


def pilot(seed: int, skill: float, n: int = 30) -> np.ndarray:
    """Simulated tables of a judge that is right with this probability on two dimensions."""
    truth = np.random.default_rng(99).integers(0, 2, (n, 2))
    right = np.random.default_rng(seed).random((n, 2)) < skill
    said = np.where(right, truth, 1 - truth)
    counts = np.zeros((n, 2, 2, 2), dtype=np.int64)
    for d in range(2):
        counts[np.arange(n), d, said[:, d], truth[:, d]] += 1
    return counts


def test_power_grows_with_clusters_and_is_seeded() -> None:
    good, poor = pilot(1, 0.85), pilot(2, 0.6)
    few, many, again = (
        study.simulate_power(good, poor, n, 0.05, n_sim=60, n_boot=200) for n in (12, 120, 120)
    )
    assert many == again
    assert sum(few.shares.values()) == pytest.approx(1)
    assert few.shares["beats"] < many.shares["beats"]
    assert many.shares["beats"] > 0.9


def test_a_judge_against_its_twin_rarely_beats_and_never_by_chance_more_than_its_level() -> None:
    same = study.simulate_power(pilot(1, 0.7), pilot(1, 0.7), 40, 0.05, n_sim=40, n_boot=100)
    assert {name: share for name, share in same.shares.items() if share} == {"matches": 1}


def test_power_equals_a_simulation_that_copies_clusters() -> None:
    a, b = pilot(1, 0.8, n=10), pilot(2, 0.7, n=10)
    fast = study.simulate_power(a, b, 10, 0.1, n_sim=150, n_boot=150, seed=4)
    rng = np.random.default_rng(11)
    tally = dict.fromkeys(OUTCOMES, 0)
    for _ in range(150):
        drawn = rng.integers(0, 10, 10)
        inner = drawn[rng.integers(0, 10, (150, 10))]
        ka, kb = (
            agreement.stratified_kappa(np.stack([t[i].sum(0) for i in (drawn, *inner)]))
            for t in (a, b)
        )
        d = ka - kb
        found = study.decide(agreement.interval(float(d[0]), d[1:]), 0.1)
        tally[found.outcome] += 1
    for name in OUTCOMES:
        # Two independent simulations of 150: four standard errors of their difference.
        assert fast.shares[name] == pytest.approx(
            tally[name] / 150, abs=4 * np.sqrt(2 * 0.25 / 150)
        )


def test_pilots_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        study.simulate_power(pilot(1, 0.7), pilot(1, 0.7, n=5), 10, 0.05)
    with pytest.raises(ValueError, match="0 clusters"):
        study.simulate_power(pilot(1, 0.7), pilot(1, 0.7), 0, 0.05)


@given(intervals, margins, intervals)
def test_no_difference_counts_for_a_judge_that_is_not_above_chance(
    difference: Interval, margin: float, own: Interval
) -> None:
    assert own.low is not None
    found = study.decide(difference, margin, own).outcome
    plain = study.decide(difference, margin).outcome
    assert found == (plain if own.low > 0 else "not-above-chance")


def test_an_own_kappa_without_limits_is_not_above_chance() -> None:
    assert study.decide(UP, 0.05, NONE).outcome == "not-above-chance"
    assert study.decide(UP, 0.05, Interval(0.3, None, None)).outcome == "not-above-chance"


def test_an_undefined_difference_stays_inconclusive_whatever_the_own_kappa() -> None:
    assert study.decide(NONE, 0.05, FLAT).outcome == "inconclusive"


def test_a_judge_not_above_chance_is_said_so_and_cannot_succeed() -> None:
    found = study.decide(UP, 0.05, FLAT)
    text = study.sentence(found)
    assert text.startswith("The tuned model does not agree with experts beyond chance")
    assert "0.30 (95% interval 0.20 to 0.40)" in text
    assert study.decision_table(found, [0.2], FLAT, FLAT).row == "failure-1"


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome_has_a_headline_without_numbers(outcome: study.Outcome) -> None:
    text = study.headline(study.Conclusion(outcome, UP, 0.05), "The tuned model", "GPT-4")
    assert text.startswith("The tuned model ")
    assert not re.search(r"\d", text.replace("GPT-4", ""))
    assert ("GPT-4" in text) == (outcome != "not-above-chance")


def test_where_nothing_was_tuned_no_row_of_the_table_holds() -> None:
    found = study.no_tuning()
    assert found.row == "not-applicable"
    assert found.row not in study.TEXTS
    assert (found.share_of_seeds, found.decided_by) == (None, ())
