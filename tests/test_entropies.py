from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cqa_helpers import entropies, gains
from cqa_helpers.agreement import Interval
from cqa_helpers.entropies import Terms

LEVEL = 0.95
# H of the good version before tuning by condition, bits per token.
BASE = {"neutral": 6.0, "joint": 5.0, "irrelevant": 5.8, "shuffled": 5.6, "length-matched": 6.1}


def texts(moved: dict[str, float], pairs: int = 5) -> pd.DataFrame:
    """Base and an arm whose H differs from the base's by ``moved``; seeds vary but in joint."""
    rng = np.random.default_rng(0)
    own = rng.normal(0, 0.05, (pairs, len(BASE)))
    rows = []
    for arm, seeds in (("base", (1, 2, 3)), ("cot", (1, 2, 3))):
        for seed in seeds:
            for k in range(pairs):
                for side, worse in (("good", 0.0), ("degraded", 0.7)):
                    for c, (condition, h) in enumerate(BASE.items()):
                        gone = moved.get(condition, 0.0) + 0.01 * (seed - 2) * (
                            condition != "joint"
                        )
                        gone *= arm == "cot"
                        rows.append({
                            "arm": arm, "seed": seed, "checkpoint": 0 if arm == "base" else 9,
                            "last": True, "pair": f"p{k}", "group": "literary", "language": "en",
                            "dimension": "craft", "side": side, "condition": condition,
                            "bits": 20 * (h + worse + own[k, c] + gone), "n_tokens": 20,
                            "n_chars": 80,
                        })  # fmt: skip
    return pd.DataFrame(rows)


def term(found: list[Terms], side: str = "good") -> Terms:
    (one,) = [t for t in found if t.side == side]
    return one


def test_levels_are_means_by_condition_per_token_and_per_character() -> None:
    table = texts({})
    found = entropies.levels(table).set_index(["unit", "arm", "side", "condition"])["value"]
    mine = table[(table["arm"] == "base") & (table["side"] == "good")]
    for condition in BASE:
        bits = mine.loc[mine["condition"] == condition, "bits"].mean()
        assert found["token", "base", "good", condition] == pytest.approx(bits / 20)
        assert found["char", "base", "good", condition] == pytest.approx(bits / 80)


def test_tables_show_every_term_and_i_under_every_prefix_in_order() -> None:
    levels = entropies.levels(texts({"joint": -1.0}))
    shown = entropies.rows(levels)
    assert list(shown) == ["Arm", "Pairs", "Version", *BASE]
    assert shown["Arm"].tolist() == ["base, not tuned"] * 2 + ["reasons first"] * 2
    assert shown["Version"].tolist() == ["good", "degraded"] * 2
    information = entropies.information_rows(levels)
    assert list(information) == ["Arm", "Pairs", "Version", *list(BASE)[1:]]
    difference = shown["neutral"] - shown["joint"]
    assert information["joint"].to_numpy() == pytest.approx(difference.to_numpy())


def test_a_condition_that_no_pair_has_is_left_out_and_a_missing_text_counted() -> None:
    table = texts({})
    table.loc[(table["pair"] == "p0") & (table["condition"] == "joint"), "bits"] = np.nan
    table = table[table["condition"] != "shuffled"]
    levels = entropies.levels(table)
    assert "shuffled" not in entropies.rows(levels)
    counted = levels.set_index(["unit", "arm", "side", "condition"])["n_missing"]
    assert counted["token", "base", "good", "joint"] == 3
    assert counted["token", "base", "good", "neutral"] == 0
    found = term(entropies.terms(table, LEVEL))
    assert found.information.value is not None


@pytest.mark.parametrize(
    ("neutral", "joint", "words"),
    [
        (0.5, 0.2, "rose by 0.300 bits per token, all of it from H(x), a worse reading"),
        (-0.1, -0.5, "rose by 0.400 bits per token, all of it from H(x|y), a better"),
        (0.1, -0.3, "rose by 0.400 bits per token, 25% of it from H(x) and 75% from H(x|y)"),
        (-0.5, -0.2, "fell by 0.300 bits per token, all of it from H(x), a better reading"),
        (0.1, 0.5, "fell by 0.400 bits per token, all of it from H(x|y), a worse"),
    ],
    ids=["worse without", "better with", "both", "better without", "worse with"],
)
def test_a_rise_of_i_from_a_worse_reading_is_told_from_a_better_fit(
    neutral: float, joint: float, words: str
) -> None:
    table = texts({"neutral": neutral, "joint": joint})
    found = term(entropies.terms(table, LEVEL))
    assert found.neutral.value == pytest.approx(neutral)
    assert found.joint.value == pytest.approx(joint)
    assert found.information.value == pytest.approx(neutral - joint)
    said = entropies.sentence(found)
    assert said.startswith("reasons first, literary pairs, good version: I ")
    assert words in said


def test_a_change_that_may_be_none_is_not_explained() -> None:
    some, none = Interval(0.1, -0.1, 0.3), gains.NONE
    unsure = Terms("cot", "literary", "good", "char", some, some, some)
    assert "did not reliably change (+0.100 bits per character" in entropies.sentence(unsure)
    unknown = Terms("cot", "literary", "good", "token", none, some, none)
    assert entropies.sentence(unknown).endswith("the change of I is not known.")


def test_terms_are_intervals_over_seeds_and_pairs_of_both_versions() -> None:
    found = entropies.terms(texts({"neutral": 0.3}), LEVEL)
    assert [t.side for t in found] == ["good", "degraded"]
    # Each seed moved by about 0.3, in every pair alike.
    seeds = np.array([0.29, 0.30, 0.31])
    assert term(found).neutral == pytest.approx(gains.over(seeds, LEVEL)[0])
    rows = entropies.term_rows(found)
    assert rows["Change of H(x)"].iloc[0] == tuple(term(found).neutral)


def test_i_that_a_control_reaches_is_not_above_the_controls() -> None:
    found = {a.arm: a for a in entropies.above_controls(texts({"shuffled": -0.65}), LEVEL)}
    assert list(found) == ["base", "cot"]
    assert found["base"].above is True
    assert found["base"].information.value == pytest.approx(1, abs=0.1)
    assert found["cot"].above is False
    assert found["cot"].beyond["irrelevant"].low is not None
    assert found["cot"].beyond["irrelevant"].low > 0
    rows = entropies.above_rows(found.values())
    assert rows["Above all"].tolist() == [True, False]
    assert "beyond length-matched" in rows


def test_the_base_is_one_model_however_often_it_is_listed() -> None:
    table = texts({})
    once = table[(table["arm"] != "base") | (table["seed"] == 1)]
    (three, _), (one, _) = (entropies.above_controls(t, LEVEL) for t in (table, once))
    assert three == one
    own = table[(table["arm"] == "base") & (table["seed"] == 1) & (table["side"] == "good")]
    h = own.pivot(index="pair", columns="condition", values="bits") / 20
    test = stats.ttest_1samp(h["shuffled"] - h["joint"], 0)
    assert three.beyond["shuffled"][1:] == pytest.approx(tuple(test.confidence_interval(LEVEL)))


def test_without_controls_or_limits_nothing_is_called_above() -> None:
    table = texts({})
    bare = table[table["condition"].isin(["neutral", "joint"])]
    assert {a.above for a in entropies.above_controls(bare, LEVEL)} == {None}
    one_seed = table[(table["seed"] == 1) & (table["arm"] == "cot")]
    assert [a.above for a in entropies.above_controls(one_seed, LEVEL)] == [None]
    no_joint = table[table["condition"] != "joint"]
    assert entropies.above_controls(no_joint, LEVEL) == []
    assert entropies.terms(no_joint, LEVEL) == []


def test_results_hold_both_terms_before_and_after() -> None:
    table = texts({"neutral": 0.5})
    about = table[table["condition"] == "neutral"].drop(
        columns=["condition", "n_tokens", "n_chars"]
    )
    judged = about.assign(bits=np.where(about["side"] == "good", -1.0, -3.0))
    lost = (judged["arm"] == "cot") & (judged["seed"] == 2) & (judged["pair"] == "p1")
    judged.loc[lost & (judged["side"] == "good"), "bits"] = np.nan
    section = entropies.results(table, judged)["literary"]
    before, after = section["before"], section["after"]["cot"]
    assert after["h_x"] - before["h_x"] == pytest.approx(0.5)
    assert after["h_x_given_y"] - before["h_x_given_y"] == pytest.approx(0)
    assert before["h_x_degraded"] - before["h_x"] == pytest.approx(0.7)
    assert before["delta_i"] == pytest.approx(0)
    assert (before["n_pairs"], before["n_without_judgment"]) == (5, 0)
    assert after["delta_i_judgment"] == pytest.approx(2)
    assert after["n_without_judgment"] == 1
    assert "delta_i_judgment" not in entropies.results(table, judged[:0])["literary"]["before"]
