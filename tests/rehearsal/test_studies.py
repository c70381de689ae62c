from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cqa_helpers import blindtest, params, ratingmodels
from cqa_helpers.params import Params
from cqa_helpers.rehearsal import scenarios, studies
from cqa_helpers.rehearsal.scenarios import Scenario, Setting
from cqa_helpers.rehearsal.studies import Found

PLANTED = [Scenario("equal", 0.0), Scenario("at the margin", -0.5), Scenario("superior", 2.0)]


def changed(**blind: Any) -> Params:
    """Return the smoke run with changes to its blind test."""
    given = params.load(Path("params/smoke.yaml"))
    assert given.blind is not None
    return given.model_copy(update={"blind": given.blind.model_copy(update=blind)})


def strong(**blind: Any) -> Setting:
    """Return a setting in which raters agree and see much."""
    given = scenarios.setting_of(params.load(Path("params/rehearsal.yaml")))
    assert given.blind.simulation is not None
    by = given.blind.simulation.model_copy(
        update={"sd_passage_judge": 0.1, "sd_rater_judge": 0.1, "sd_seed": 0.0}
    )
    changes = {"simulation": by, "n_items": 40, "raters_a_passage": 4, "seeds": "first", **blind}
    return given._replace(blind=given.blind.model_copy(update=changes), seeds=1)


def test_rates_count_what_was_concluded_and_what_intervals_held() -> None:
    found = [
        Found("equal", "beats", 0.1, 0.9, True),
        *[Found("equal", "matches", -0.4, 0.4, True)] * 6,
        *[Found("equal", "inconclusive", -0.8, 0.4, True)] * 2,
        Found("equal", "inconclusive", None, None, False),
        Found("at the margin", "matches", -0.4, 0.1, True),
        *[Found("at the margin", "falls-short", -0.9, -0.1, True)] * 3,
        *[Found("superior", "beats", 1.0, 3.0, True)] * 2,
    ]
    rates = studies.summary(PLANTED, found, "of")
    assert rates.n_studies == 16
    assert rates.type_i_beats == 0.1
    # One of ten and one of four, from tables of Clopper and Pearson's limits.
    assert rates.type_i_beats_limits == pytest.approx((0.0025, 0.4450), abs=5e-5)
    assert rates.type_i_matches == 0.25
    assert rates.type_i_matches_limits == pytest.approx((0.0063, 0.8059), abs=5e-5)
    assert rates.coverage == pytest.approx(13 / 15)
    equal = rates.by_scenario["equal"]
    assert equal.shares == {
        "not-above-chance": 0.0, "falls-short": 0.0, "inconclusive": 0.3, "matches": 0.6,
        "beats": 0.1,
    }  # fmt: skip
    assert (equal.n, equal.without, equal.not_converged) == (10, 0.1, 0.1)
    assert equal.coverage == pytest.approx(8 / 9)
    assert equal.width == pytest.approx((0.8 + 6 * 0.8 + 2 * 1.2) / 9)


def test_a_candidate_at_the_margin_that_beats_is_an_error_of_matching_too() -> None:
    found = [Found("equal", "matches", -0.1, 0.1, True)]
    found += [Found("at the margin", "beats", 0.1, 0.2, True)]
    assert studies.summary(PLANTED[:2], found, "of").type_i_matches == 1.0


def test_studies_without_an_interval_give_no_coverage() -> None:
    found = [Found(s.name, "inconclusive", None, None, False) for s in PLANTED]
    rates = studies.summary(PLANTED, found, "of")
    assert rates.coverage is None
    assert rates.coverage_limits is None
    assert rates.by_scenario["equal"].coverage is None
    assert rates.by_scenario["equal"].width is None
    assert "no interval could be computed" in studies.headline(rates)
    assert studies.as_rows(rates)["Interval holds it, %"].isna().all()


def test_the_table_and_the_sentence_say_the_rates() -> None:
    found = [Found("equal", "beats", 0.1, 0.9, True)]
    found += [Found("equal", "inconclusive", -1.0, 1.0, True)] * 19
    found += [Found("at the margin", "inconclusive", -1.0, 1.0, True)] * 20
    rates = studies.summary(PLANTED[:2], found, "of")
    said = studies.headline(rates)
    assert "40 simulated studies" in said
    assert "5.0% (95 % limits 0.1% to 24.9%)" in said
    assert "97.5%" in said
    rows = studies.as_rows(rates).set_index("Planted")
    assert rows.loc["equal", "Beats, %"] == 5
    assert rows.loc["equal", "Inconclusive, %"] == 95
    assert rows.loc["at the margin", "Log-odds"] == -0.5


def test_a_study_is_concluded_as_the_real_one_is() -> None:
    setting = strong(n_items=8)
    plan = setting.plan.model_copy(update={"n_boot": 100})
    outcomes = set()
    for k, scenario in enumerate((Scenario("", 3.0), Scenario("", -3.0))):
        rng = np.random.default_rng(k)
        table = scenarios.rate(scenario, setting, scenarios.deal(setting, rng), rng)
        found = studies.conclude(scenario, setting, table)
        sheets = table["rater"] + table["passage"]
        real = blindtest.analyse(
            table.assign(sheet=sheets, code=table["judge"] + sheets, of=""),
            setting.blind, plan, seed=0,
        )  # fmt: skip
        assert found.outcome == real.conclusion.outcome
        assert (found.low, found.high) == pytest.approx(real.conclusion.difference[1:])
        outcomes.add(found.outcome)
    assert len(outcomes) > 1


def test_repeats_attention_sheets_and_other_criteria_do_not_count() -> None:
    setting = strong(n_items=8)
    rng = np.random.default_rng(0)
    table = scenarios.rate(Scenario("", 0.5), setting, scenarios.deal(setting, rng), rng)
    found = studies.conclude(Scenario("", 0.5), setting, table)
    for change in ({"kind": "repeat"}, {"kind": "attention"}, {"criterion": "insight"}):
        more = type(table)(
            {c: [*table[c], *table.assign(**change, value=1.0)[c]] for c in table.columns}
        )
        assert studies.conclude(Scenario("", 0.5), setting, more) == found


def test_planted_differences_are_found_and_what_never_reads_does_not_match() -> None:
    setting = strong(n_items=16)
    planted = {s.name: s for s in scenarios.scenarios(setting)}
    for name, wanted in (("superior", "beats"), ("never reads", "falls-short")):
        found = studies.block(setting, planted[name], range(6))
        assert len({f.low for f in found}) == 6
        assert name == "superior" or not any(f.outcome in ("matches", "beats") for f in found)
        # What four of five studies should find is in fewer than three of six by p = .02.
        assert sum(f.outcome == wanted for f in found) >= 3


def few(n: int) -> Params:
    """Return the smoke run with ``n`` studies of each scenario, fewer than a file may declare."""
    given = changed()
    assert given.blind is not None
    assert given.blind.simulation is not None
    return changed(simulation=given.blind.simulation.model_copy(update={"studies": n}))


def test_the_number_of_processes_changes_nothing() -> None:
    there = studies.simulate(few(1), processes=2)
    assert there == studies.simulate(few(1), processes=1)
    assert there.n_studies == 7


def test_the_file_holds_what_was_found_for_the_params_that_were_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = changed(margin=0.7)
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(given.model_dump(mode="json")), encoding="utf-8")
    found = [Found(s.name, "inconclusive", -1.0, 1.0, True) for s in PLANTED]
    asked: list[int] = []

    def simulated(of: Params, processes: int) -> studies.Simulated:
        asked.append(processes)
        return studies.summary(PLANTED, found, studies.fingerprint(of))

    monkeypatch.setattr(studies, "simulate", simulated)
    out = tmp_path / "made" / "found.json"
    studies.main(["--params", str(file), "--out", str(out), "--processes", "3"])
    there = studies.read(out)
    assert there == studies.summary(PLANTED, found, studies.fingerprint(given))
    assert there.fingerprint != studies.fingerprint(changed())
    assert asked == [3]
    assert studies.headline(there) in capsys.readouterr().out
    studies.main(["--params", str(file), "--out", str(out)])
    assert 1 <= asked[1] <= 8


def test_a_study_is_the_same_however_many_there_are() -> None:
    setting = scenarios.setting_of(changed())
    scenario = scenarios.scenarios(setting)[1]
    assert (
        studies.block(setting, scenario, range(10, 11))
        == studies.block(setting, scenario, range(10, 12))[:1]
    )


def test_the_fingerprint_changes_with_what_studies_depend_on_and_with_nothing_else() -> None:
    given = changed()
    same = studies.fingerprint(given)
    assert studies.fingerprint(given.model_copy(update={"title": "Another"})) == same
    assert studies.fingerprint(given.model_copy(update={"seed": 1})) != same
    assert studies.fingerprint(changed(margin=0.6)) != same
    plan = given.study.model_copy(update={"level": 0.9})
    assert studies.fingerprint(given.model_copy(update={"study": plan})) != same


def test_a_fit_that_fails_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(rows: Any, *_: Any, **__: Any) -> ratingmodels.Fitted:
        return ratingmodels.Fitted(None, frozenset(), False, len(rows), 0, ("no fit",))

    monkeypatch.setattr(ratingmodels, "fit", none)
    rates = studies.simulate(few(2))
    assert rates.type_i_beats == 0
    assert rates.coverage is None
    assert all(r.without == r.not_converged == 1 for r in rates.by_scenario.values())
    assert all(r.shares["inconclusive"] == 1 for r in rates.by_scenario.values())
