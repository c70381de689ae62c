"""What simulated blind tests plant: levels of judges, a dealing, and ratings.

Ratings of 1 to 5 follow a cumulative logit with the deviations of ``blind.simulation``; effects
are in log-odds of a higher rating. One scenario has ratings made otherwise, for raters need not
follow the analysis' model.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from cqa_helpers import design, power
from cqa_helpers.crossed import Codes
from cqa_helpers.params import Params
from cqa_helpers.sections import Blind, Study

FLOOR = float(power.CUTS[0])
"""The level of the control and of a judge that says the same of every passage, the reference
being at 0: half of their ratings are then the lowest (our choice)."""
MOST = 3.0
"""No larger effect is planted: beyond, nearly every rating is the highest."""
POINTS = 1.4
"""Log-odds to a point of the scale where ratings are rounded, close to ``power.CUTS``."""


class Scenario(NamedTuple):
    """Levels of the two judges; the control and all others are at ``FLOOR``.

    ``others`` says that ratings are not made as the analysis takes them to be: normal noise,
    rounded to points, and the first rater gives everything 3.
    """

    name: str
    candidate: float
    reference: float = 0.0
    others: bool = False

    @property
    def effect(self) -> float:
        """Candidate minus reference."""
        return self.candidate - self.reference


class Setting(NamedTuple):
    """What all studies of a run share."""

    blind: Blind
    plan: Study
    seeds: int
    seed: int


class Dealt(NamedTuple):
    """The ratings that are asked for, without values, and the levels of each by number.

    ``groups`` are rater, passage, passage and judge, rater and judge; ``training`` is −1 where a
    judge has one training seed.
    """

    table: pd.DataFrame
    groups: tuple[Codes, Codes, Codes, Codes]
    training: Codes


def setting_of(given: Params) -> Setting:
    """Return what the studies of a profile share.

    Raises
    ------
    ValueError
        The profile declares no blind test or no simulation of it, or a judge that is not in it.
    """
    blind, plan = given.blind, given.study
    if blind is None or blind.simulation is None:
        raise ValueError(f"{given.profile} declares no blind.simulation: there is nothing to plant")
    if missing := {plan.candidate, plan.reference} - set(blind.judges):
        raise ValueError(f"blind.judges lacks {', '.join(sorted(missing))}, whom study compares")
    several = blind.seeds == "spread" and given.tuning is not None
    return Setting(
        blind, plan, len(given.tuning.seeds) if several and given.tuning else 1, given.seed
    )


def scenarios(setting: Setting) -> list[Scenario]:
    """Return what is planted.

    *superior* is by what the declared design should find in four of five studies
    (:func:`cqa_helpers.power.of_design`), *inferior* by as much below the margin. *never reads*
    is a candidate that says the same of every passage; where *nobody reads*, reference and
    control do so too, and equal ratings mean nothing.
    """
    blind, plan = setting.blind, setting.plan
    clear = min(power.of_design(blind, plan.level, setting.seeds), MOST)
    return [
        Scenario("superior", clear),
        Scenario("equal", 0.0),
        Scenario("at the margin", -blind.margin),
        Scenario("inferior", -blind.margin - clear),
        Scenario("never reads", FLOOR),
        Scenario("nobody reads", FLOOR, FLOOR),
        Scenario("equal, other raters", 0.0, others=True),
    ]


def deal(setting: Setting, rng: np.random.Generator) -> Dealt:
    """Return the ratings that count, dealt as declared.

    Hidden repeats and attention sheets do not count and are left out. Judges whose name begins
    with ``tuned`` have training seeds, dealt evenly over passages.
    """
    blind = setting.blind
    barred = dict.fromkeys(p for named in blind.excluded.values() for p in named)
    names = [*barred, *(f"passage-{i}" for i in range(1, blind.n_items + 1))][: blind.n_items]
    made = design.design(
        names,
        blind.judges,
        blind.raters,
        blind.per_sheet,
        sheets_a_rater=blind.sheets_a_rater,
        raters_a_passage=blind.raters_a_passage,
        excluded={(rater, p) for rater, named in blind.excluded.items() for p in named},
        seed=rng,
    )
    turns = {
        j: dict(zip(names, rng.permutation(len(names)) % setting.seeds, strict=True))
        for j in blind.judges
        if j.startswith("tuned") and setting.seeds > 1
    }
    rows = [
        (s.rater, s.passage, judge, f"{judge}-{turns[judge][s.passage]}" if judge in turns else "")
        for s in made.sheets
        for judge in s.judges
    ]
    table = pd.DataFrame(rows, columns=["rater", "passage", "judge", "seed"])
    table = table.assign(criterion=blind.criterion, kind="item")
    r, p, j = (pd.factorize(table[c])[0] for c in ("rater", "passage", "judge"))
    n = len(blind.judges)
    training = pd.factorize(table["seed"].where(table["seed"] != ""))[0]
    return Dealt(table, (r, p, p * n + j, r * n + j), training)


def rate(
    scenario: Scenario, setting: Setting, dealt: Dealt, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the dealt table with simulated values: columns of the table of scores."""
    by = setting.blind.simulation
    assert by is not None
    levels = dict.fromkeys(setting.blind.judges, FLOOR)
    levels[setting.plan.candidate] = scenario.candidate
    levels[setting.plan.reference] = scenario.reference
    latent = np.array([levels[judge] for judge in dealt.table["judge"]])
    sds = by.sd_rater, by.sd_passage, by.sd_passage_judge, by.sd_rater_judge
    for codes, sd in zip(dealt.groups, sds, strict=True):
        latent += sd * rng.standard_normal(codes.max() + 1)[codes]
    seeds = by.sd_seed * rng.standard_normal(dealt.training.max() + 1)
    # The last stands where a judge has no seeds.
    latent += np.append(seeds, 0.0)[dealt.training]
    if scenario.others:
        felt = latent + math.pi / math.sqrt(3) * rng.standard_normal(len(latent))
        values = np.rint(3 + felt / POINTS).clip(1, 5)
        values[dealt.groups[0] == 0] = 3
    else:
        values = 1.0 + np.digitize(latent + rng.logistic(size=len(latent)), power.CUTS)
    return dealt.table.assign(value=values)
