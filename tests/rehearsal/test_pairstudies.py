from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cqa_helpers import gains
from cqa_helpers.rehearsal import pairstudies
from cqa_helpers.rehearsal.pairstudies import LEAST_COVERAGE, MOST_REJECTED, Rates, Setting

SKEWED = "few pairs gain much, 5 seeds"


@pytest.fixture(scope="module")
def simulated() -> pairstudies.Simulated:
    return pairstudies.simulate()


def test_intervals_hold_what_is_planted_and_reject_little_where_nothing_is(
    simulated: pairstudies.Simulated,
) -> None:
    for setting, found in zip(simulated.settings, simulated.rates, strict=True):
        assert found.coverage_interaction >= LEAST_COVERAGE, setting
        assert found.rejected_interaction <= MOST_REJECTED, setting
        if setting.name != SKEWED:
            assert found.coverage_mean >= LEAST_COVERAGE, setting
            assert found.rejected_mean <= MOST_REJECTED, setting
        assert found.without == 0


def test_the_closed_form_of_power_is_about_right(simulated: pairstudies.Simulated) -> None:
    for setting, found in zip(simulated.settings, simulated.rates, strict=True):
        assert found.found_interaction == pytest.approx(0.8, abs=0.08), setting


def test_a_test_over_the_pairs_of_one_checkpoint_takes_drift_for_an_effect(
    simulated: pairstudies.Simulated,
) -> None:
    by = dict(zip((s.name for s in simulated.settings), simulated.rates, strict=True))
    assert by["seeds differ, 5 seeds"].rejected_one_checkpoint > 0.25
    assert by["seeds differ, 5 seeds"].rejected_any_checkpoint > 0.75
    # It is the drift that does it: where seeds hardly drift the test is what it says.
    still = Setting("no drift", 3, 20, 0.0, 0.0, 0.0, 1.0, missing=0.0)
    assert pairstudies.rates(still, 2000, 0.95).rejected_one_checkpoint == pytest.approx(
        0.05, abs=0.02
    )


def test_students_interval_over_seeds_does_not_speak_of_other_pairs(
    simulated: pairstudies.Simulated,
) -> None:
    by = dict(zip((s.name for s in simulated.settings), simulated.rates, strict=True))
    assert by["pairs differ, 5 seeds"].rejected_these_pairs > 0.3
    assert by["seeds differ, 5 seeds"].rejected_these_pairs == pytest.approx(0.05, abs=0.02)


def test_a_study_is_analysed_as_the_real_one() -> None:
    setting = pairstudies.SETTINGS[4]
    tables = pairstudies.draw(setting, 0.7, 5, np.random.default_rng(0))
    many = gains.crossed(tables, [1, -1])
    for k in range(5):
        one = gains.gain([pd.DataFrame(t[k]) for t in tables], [1, -1], 0.95)
        assert one.mean.value == pytest.approx(many.mean[k])
        assert one.sd_pair == pytest.approx(np.sqrt(many.variances[1][k]))


def test_what_is_drawn_is_what_was_planted() -> None:
    setting = Setting("x", 40, 50, 0.5, 0.3, 0.6, 0.8, missing=0.1)
    literary, factual = pairstudies.draw(setting, 2.0, 40, np.random.default_rng(1))
    assert np.isnan(literary).mean() == pytest.approx(0.1, abs=0.01)
    assert np.nanmean(literary) - np.nanmean(factual) == pytest.approx(2, abs=0.1)
    seed, pair, rest = (np.sqrt(v.mean()) for v in gains.crossed([literary], [1]).variances)
    assert seed == pytest.approx(np.hypot(0.5, 0.3), rel=0.05)
    assert pair == pytest.approx(0.6, rel=0.05)
    assert rest == pytest.approx(0.8, rel=0.05)
    # Drift that both groups share is no part of their difference.
    difference = gains.crossed([literary, factual], [1, -1])
    assert np.sqrt(difference.variances[0].mean()) == pytest.approx(0.3 * np.sqrt(2), rel=0.05)


def test_studies_without_an_interval_hold_and_find_nothing() -> None:
    found = pairstudies.rates(Setting("sparse", 2, 2, 0.1, 0.1, 0.1, 0.1, missing=0.6), 500, 0.95)
    assert 0.3 < found.without < 1
    for share in (found.coverage_interaction, found.found_interaction, found.rejected_interaction):
        assert share <= 1 - found.without + 1e-9


def test_a_study_of_one_seed_cannot_be_planned() -> None:
    with pytest.raises(ValueError, match="two seeds and two pairs"):
        pairstudies.rates(Setting("one seed", 1, 5, 0.1, 0.1, 0.1, 0.1), 20, 0.95)


def made(**changes: float) -> Rates:
    good = dict.fromkeys(Rates._fields, 0.05) | {
        "coverage_mean": 0.95,
        "coverage_interaction": 0.96,
    }
    return Rates(**(good | changes))


def test_what_was_missed_is_said_first() -> None:
    two = (pairstudies.SETTINGS[0], pairstudies.SETTINGS[1])
    well = pairstudies.Simulated(100, 0.95, two, (made(), made()))
    assert pairstudies.missed(well) == {}
    assert pairstudies.headline(well).startswith("In 100 simulated studies of each of 2 settings")
    ill = pairstudies.Simulated(100, 0.95, two, (made(), made(rejected_interaction=0.061)))
    assert list(pairstudies.missed(ill)) == [two[1].name]
    said = pairstudies.headline(ill)
    assert said.startswith("Missed what was asked for")
    assert "rejected in 6.1%" in said
    assert "of each of 1 settings" in said


def test_the_table_has_a_row_a_setting_in_per_cent(simulated: pairstudies.Simulated) -> None:
    rows = pairstudies.as_rows(simulated).set_index("Setting")
    assert list(rows.index) == [s.name for s in pairstudies.SETTINGS]
    assert rows["Mean held, %"].between(90, 100).all()
    assert len(rows.columns) == 9


def test_rates_depend_on_the_seed_and_the_setting_alone() -> None:
    first, second = pairstudies.SETTINGS[:2]
    alone = pairstudies.simulate([second], 50)
    assert pairstudies.simulate([first, second], 50).rates[1] == alone.rates[0]
    assert pairstudies.simulate([second], 50, seed=1).rates != alone.rates
