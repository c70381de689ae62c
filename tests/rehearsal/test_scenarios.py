from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special

from cqa_helpers import params, power
from cqa_helpers.rehearsal import scenarios
from cqa_helpers.rehearsal.scenarios import Dealt, Scenario, Setting

NONE = {
    "sd_rater": 0.0, "sd_passage": 0.0, "sd_passage_judge": 0.0, "sd_rater_judge": 0.0,
    "sd_seed": 0.0,
}  # fmt: skip


def setting(sds: dict[str, float] | None = None, **changes: object) -> Setting:
    """Return the funded study's setting, with changes."""
    found = scenarios.setting_of(params.load(Path("params/phase1.yaml")))
    assert found.blind.simulation is not None
    by = found.blind.simulation.model_copy(update=sds or {})
    return found._replace(blind=found.blind.model_copy(update={"simulation": by, **changes}))


def rated(scenario: Scenario, given: Setting, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return scenarios.rate(scenario, given, scenarios.deal(given, rng), rng)


def test_sheets_are_dealt_as_declared_and_all_of_a_passages_ratings_are_of_one_seed() -> None:
    six = [f"rater-{k}" for k in range(1, 7)]
    given = setting(n_items=40, raters=six, raters_a_passage=3)
    table = scenarios.deal(given, np.random.default_rng(1)).table
    assert len(table) == 40 * 3 * 3
    assert (table.groupby("passage")["rater"].nunique() == 3).all()
    assert (table.groupby("rater")["passage"].nunique() == 20).all()
    tuned = table[table["judge"] == "tuned"]
    assert (tuned.groupby("passage")["seed"].nunique() == 1).all()
    assert tuned.groupby("seed")["passage"].nunique().tolist() == [8] * 5
    assert set(table.loc[table["judge"] != "tuned", "seed"]) == {""}


def test_a_judge_that_shows_its_first_seed_alone_has_no_seeds() -> None:
    given = params.load(Path("params/phase1.yaml"))
    assert given.blind is not None
    blind = given.blind.model_copy(update={"seeds": "first"})
    first = scenarios.setting_of(given.model_copy(update={"blind": blind}))
    dealt = scenarios.deal(first, np.random.default_rng(0))
    assert set(dealt.table["seed"]) == {""}
    assert set(dealt.training) == {-1}


def test_a_rater_is_not_sent_what_is_excluded() -> None:
    excluded = {"rater-1": ["own-1", "own-2"], "rater-2": ["own-2"]}
    table = scenarios.deal(setting(excluded=excluded), np.random.default_rng(0)).table
    sent = set(zip(table["rater"], table["passage"], strict=True))
    assert {p for _, p in sent} >= {"own-1", "own-2"}
    assert not sent & {(r, p) for r, named in excluded.items() for p in named}


def test_ratings_follow_the_planted_log_odds_and_nothing_else() -> None:
    given = setting(NONE, n_items=200)
    table = rated(Scenario("", candidate=0.9, reference=-0.3), given)
    for judge, level in (("tuned", 0.9), ("gpt4", -0.3), ("base", scenarios.FLOOR)):
        mine = table.loc[table["judge"] == judge, "value"]
        shares = [(mine <= k).mean() for k in (1, 2, 3, 4)]
        # Four standard errors of 600 ratings.
        assert shares == pytest.approx(special.expit(power.CUTS - level), abs=0.082)


SHARED = {
    "sd_rater": ["rater"],
    "sd_passage": ["passage"],
    "sd_passage_judge": ["passage", "judge"],
    "sd_rater_judge": ["rater", "judge"],
    "sd_seed": ["seed"],
}


@pytest.fixture(scope="module")
def many() -> tuple[Setting, Dealt]:
    """Return twelve raters, six a passage, and their sheets."""
    given = setting(raters=[f"r{i}" for i in range(12)], raters_a_passage=6, n_items=40)
    return given, scenarios.deal(given, np.random.default_rng(0))


@pytest.mark.parametrize("name", SHARED)
def test_each_deviation_makes_those_ratings_alike_that_share_its_level(
    name: str, many: tuple[Setting, Dealt]
) -> None:
    given, dealt = many
    assert given.blind.simulation is not None

    def alike(deviations: dict[str, float], columns: list[str]) -> float:
        """Return the share of the ratings' variance that lies between levels, over ten tables."""
        by = given.blind.simulation.model_copy(update=deviations)  # type: ignore[union-attr]
        made = given._replace(blind=given.blind.model_copy(update={"simulation": by}))
        shares = []
        for seed in range(10):
            rng = np.random.default_rng(seed)
            table = scenarios.rate(Scenario("", 0.0), made, dealt, rng)
            table = table[table["seed"] != ""] if name == "sd_seed" else table
            own = table["value"] - table.groupby("judge")["value"].transform("mean")
            between = own.groupby([table[c] for c in columns]).transform("mean")
            shares.append(between.var() / own.var())
        return float(np.mean(shares))

    def gain(columns: list[str]) -> float:
        return alike({**NONE, name: 2.0}, columns) - alike(NONE, columns)

    own = gain(SHARED[name])
    assert own > 0.1
    # An effect by rater and judge makes a rater's ratings alike too, but less so.
    assert all(gain(c) < own for c in SHARED.values() if set(c) < set(SHARED[name]))


def test_other_raters_round_to_points_and_one_gives_everything_three() -> None:
    given = setting(NONE, n_items=200)
    table = rated(Scenario("", 0.0, others=True), given)
    idle = table["rater"] == table["rater"].iloc[0]
    assert set(table.loc[idle, "value"]) == {3}
    assert set(table.loc[~idle, "value"]) == {1, 2, 3, 4, 5}
    means = table[~idle].groupby("judge")["value"].mean()
    assert means["tuned"] == pytest.approx(means["gpt4"], abs=0.15)
    assert means["base"] < 2.2


def test_what_is_planted_follows_from_the_plan() -> None:
    given = setting()
    planted = {s.name: s for s in scenarios.scenarios(given)}
    clear = power.of_design(given.blind, given.plan.level, 5)
    assert planted["superior"].effect == pytest.approx(clear)
    assert planted["equal"].effect == planted["equal, other raters"].effect == 0
    assert planted["at the margin"].effect == -given.blind.margin
    assert planted["inferior"].effect == pytest.approx(-given.blind.margin - clear)
    assert planted["never reads"].candidate == scenarios.FLOOR
    assert planted["nobody reads"].effect == 0
    assert len(planted) == 7
    few = {s.name: s for s in scenarios.scenarios(setting(n_items=2, raters_a_passage=1))}
    assert few["superior"].effect == scenarios.MOST


def test_a_plan_without_simulation_or_without_its_judges_is_refused() -> None:
    given = params.load(Path("params/phase1.yaml"))
    assert given.blind is not None
    for changes, said in (
        ({"simulation": None}, r"phase1 declares no blind\.simulation"),
        ({"judges": ["tuned", "base"]}, r"blind\.judges lacks gpt4"),
    ):
        changed = given.model_copy(update={"blind": given.blind.model_copy(update=changes)})
        with pytest.raises(ValueError, match=said):
            scenarios.setting_of(changed)


def test_dealings_differ_and_the_same_seed_gives_the_same() -> None:
    tables = [rated(Scenario("", 0.0), setting(), seed) for seed in (0, 0, 1)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    for a, b in itertools.combinations((tables[0], tables[2]), 2):
        assert not a[["rater", "passage"]].equals(b[["rater", "passage"]])
        assert not np.array_equal(a["value"], b["value"])
