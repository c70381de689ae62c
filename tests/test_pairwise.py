from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy import stats

from cqa_helpers import entropies, gains, pairtables, pairwise, results, study
from cqa_helpers.pairwise import Effect, PairwiseError
from cqa_helpers.records import Constraints, Pair

LEVEL = 0.95
SEEDS = (1, 2, 3)
# I under each condition before tuning, bits per token of the good version.
BEFORE = {"joint": 1.0, "intent": 0.4, "irrelevant": 0.3, "shuffled": 0.5, "length-matched": 0.1}


def pair(good: str, degraded: str, name: str = "x") -> Pair:
    return Pair(
        id=name, good=good, degraded=degraded, dimension="craft",
        constraints=Constraints(intent="i"), group="literary", origin="simulated",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("good", "degraded", "first", "second"),
    [
        ("a b c d e F g h i j", "a b c d e X g h i j", "b c d e F g h i j", "b c d e X g h i j"),
        ("one two", "one", "one two", "one"),
        ("start same", "same", "start same", "same"),
        ("甲 乙 丙", "甲 丁 丙", "甲 乙 丙", "甲 丁 丙"),
        ("A m n o p q r s t u v B", "C m n o p q r s t u v D", "A m n o p q r s t u v B",
         "C m n o p q r s t u v D"),
    ],
)  # fmt: skip
def test_the_difference_shows_the_changed_words_with_a_little_around_them(
    good: str, degraded: str, first: str, second: str
) -> None:
    assert pairwise.difference(pair(good, degraded)) == (first, second)


def shift(arm: str, seed: int, group: str, checkpoint: int) -> float:
    """Tuning with reasons moves literary pairs, by the seed's number; half as far halfway."""
    moved = float(seed) if (arm, group) == ("cot", "literary") else 0.1 * seed * (arm != "base")
    return moved * checkpoint / 40


def models() -> list[tuple[str, int, int, bool]]:
    return [
        *(("base", seed, 0, True) for seed in SEEDS),
        *(
            (arm, seed, step, step == 40)
            for arm in ("cot", "style-only")
            for seed in SEEDS
            for step in (20, 40)
        ),
    ]


def readings(groups: tuple[str, ...] = ("literary", "factual")) -> tuple[pd.DataFrame, ...]:
    """Numbers chosen so that every change can be told by head."""
    texts, judgments = [], []
    for arm, seed, step, last in models():
        for group in groups:
            for k in range(4):
                about = {
                    "arm": arm, "n_train": 8, "seed": seed, "checkpoint": step, "last": last,
                    "pair": f"{group}-{k}", "group": group, "language": "en", "dimension": "craft",
                }  # fmt: skip
                moved = shift(arm, seed, group, step) + 0.01 * k * (arm != "base")
                for side, worse in (("good", 0.0), ("degraded", 0.5)):
                    good = side == "good"
                    text = {**about, "side": side, "n_tokens": 10, "n_chars": 50}
                    h = 5.0 + k + worse
                    texts.append({**text, "condition": "neutral", "bits": 10 * h})
                    for condition, known in BEFORE.items():
                        i = known + moved * (1 if good else -0.5) * (condition == "joint")
                        texts.append({**text, "condition": condition, "bits": 10 * (h - i)})
                    bits = -2 + moved if good else -3 - moved
                    judgments.append({**about, "side": side, "bits": bits + 10 * seed})
    return tuple(
        pd.DataFrame(rows).sample(frac=1, random_state=0, ignore_index=True)
        for rows in (texts, judgments)
    )


def where(found: pd.DataFrame, **these: object) -> pd.DataFrame:
    for column, value in these.items():
        found = found[found[column] == value]
    return found


def only(found: list[Effect], **these: object) -> Effect:
    (one,) = [e for e in found if all(getattr(e, k) == v for k, v in these.items())]
    return one


@pytest.fixture(scope="module")
def changes() -> pd.DataFrame:
    return pairwise.declared(pairwise.changes(*readings()))


@pytest.fixture(scope="module")
def effects(changes: pd.DataFrame) -> list[Effect]:
    return pairwise.effects(changes, LEVEL)


JUDGED = {"direction": "judgment", "reading": "B", "last": True}
DRIFT = 0.015  # the mean of 0 to 3 hundredths


def test_changes_are_after_minus_before_of_the_same_seed() -> None:
    found = pairwise.changes(*readings())
    assert list(found) == [
        "arm", "seed", "checkpoint", "last", "pair", "group", "language", "dimension",
        "direction", "reading", "condition", "unit", "value",
    ]  # fmt: skip
    # Models by pairs by readings A and B, of five conditions in two units, and of judgment.
    assert len(found) == 12 * 8 * 2 * (5 * 2 + 1)
    assert set(found["arm"]) == {"cot", "style-only"}
    one = {"arm": "cot", "seed": 2, "last": True, "pair": "literary-3", "condition": "joint"}
    # Text: I(good) rises by the shift and I(degraded) falls by half of it.
    for reading, times in (("A", 1), ("B", 1.5)):
        (by_token,) = where(found, **one, reading=reading, unit="token")["value"]
        (by_char,) = where(found, **one, reading=reading, unit="char")["value"]
        assert by_token == pytest.approx(2.03 * times)
        assert by_char == pytest.approx(2.03 * times / 5)
    assert where(found, condition="shuffled")["value"].to_numpy() == pytest.approx(0)
    # Judgment: good rises and degraded falls; the level of the seed's base cancels.
    judged = {"arm": "cot", "seed": 2, "last": True, "pair": "literary-3", "unit": "passage"}
    assert where(found, **judged, reading="A")["value"].item() == pytest.approx(2.03)
    assert where(found, **judged, reading="B")["value"].item() == pytest.approx(4.06)


def test_what_is_missing_is_nan_whether_a_row_says_so_or_is_not_there() -> None:
    texts, judgments = readings()
    gone = (judgments["arm"] == "cot") & (judgments["pair"] == "literary-3") & judgments["last"]
    judgments.loc[gone & (judgments["seed"] == 1), "bits"] = np.nan
    absent = (judgments["seed"] == 2) | (judgments["seed"] == 3) & (judgments["side"] == "degraded")
    judgments = judgments[~(gone & absent)]
    found = pairwise.changes(texts, judgments)
    mine = where(found, arm="cot", pair="literary-3", last=True, direction="judgment")
    assert where(mine, reading="B")["value"].isna().tolist() == [True] * 3
    assert where(mine, reading="A")["value"].isna().tolist() == [True, True, False]
    assert set(mine["group"]) == {"literary"}
    effects = pairwise.effects(pairwise.declared(found), LEVEL)
    missing = only(effects, arm="cot", against=None, group="literary", **JUDGED).gain
    assert (missing.n_missing, missing.n_pairs) == (3, (3,))
    text = only(effects, arm="cot", against=None, group="literary", direction="text", reading="B",
                last=True).gain  # fmt: skip
    assert (text.n_missing, text.n_pairs) == (0, (4,))


def test_a_condition_that_was_not_read_on_the_way_is_no_missing_value() -> None:
    texts, judgments = readings()
    on_the_way = ~texts["last"] & ~texts["condition"].isin(["neutral", "joint"])
    found = pairwise.changes(texts[~on_the_way], judgments)
    assert found["value"].notna().all()
    assert set(where(found, last=False)["condition"]) == {"joint", ""}
    assert set(where(found, last=True)["condition"]) == {*BEFORE, ""}


def test_a_reading_twice_and_a_seed_without_its_base_are_errors() -> None:
    texts, judgments = readings()
    with pytest.raises(PairwiseError, match=r"1 reading.*stand twice.*'pair'"):
        pairwise.changes(texts, pd.concat([judgments, judgments[:1]]))
    lacking = judgments[~((judgments["arm"] == "base") & (judgments["seed"] == 2))]
    with pytest.raises(PairwiseError, match=r"seed\(s\) \[2\].*no readings of the base"):
        pairwise.changes(texts, lacking)


def test_without_readings_of_one_direction_the_other_stands() -> None:
    texts, judgments = readings()
    assert set(pairwise.changes(texts, judgments[:0])["direction"]) == {"text"}
    assert set(pairwise.changes(texts[:0], judgments)["direction"]) == {"judgment"}
    assert pairwise.changes(texts[:0], judgments[:0]).empty


def test_effects_take_the_seed_as_the_unit(effects: list[Effect]) -> None:
    gain = only(effects, arm="cot", against=None, group="literary", **JUDGED).gain
    seeds = [2 * s + 2 * DRIFT for s in SEEDS]
    assert list(gain.by_seed.values()) == pytest.approx(seeds)
    test = stats.ttest_1samp(seeds, 0)
    assert gain.p_these_pairs == pytest.approx(test.pvalue)
    assert gain.these_pairs[1:] == pytest.approx(tuple(test.confidence_interval(LEVEL)))
    half = only(effects, arm="cot", against=None, group="literary", direction="judgment",
                reading="B", last=False)  # fmt: skip
    assert half.checkpoint == 20
    assert half.gain.mean.value == pytest.approx(2 + 2 * DRIFT)


def test_the_interaction_and_the_style_only_control_are_differences_by_seed(
    effects: list[Effect],
) -> None:
    inter = only(effects, arm="cot", against=None, group=pairwise.INTERACTION, **JUDGED).gain
    assert inter.by_seed == pytest.approx({str(s): 2 * 0.9 * s for s in SEEDS})
    over = only(effects, arm="cot", against="style-only", group="literary", **JUDGED).gain
    assert over.by_seed == pytest.approx({str(s): 2 * 0.9 * s for s in SEEDS})
    # What pairs share with the control is gone.
    assert over.sd_pair == pytest.approx(0)
    assert not [e for e in effects if e.arm == e.against]
    both = only(effects, arm="cot", against="style-only", group=pairwise.INTERACTION, **JUDGED)
    assert both.gain.mean.value == pytest.approx(2 * 0.9 * 2)


def test_last_checkpoints_belong_together_whatever_their_step() -> None:
    texts, judgments = readings()
    for table in (texts, judgments):
        table.loc[table["last"] & (table["seed"] == 3) & (table["arm"] == "cot"), "checkpoint"] = 44
    found = pairwise.effects(pairwise.declared(pairwise.changes(texts, judgments)), LEVEL)
    effect = only(found, arm="cot", against=None, group="literary", **JUDGED)
    assert (effect.checkpoint, len(effect.gain.by_seed)) == (44, 3)
    assert only(found, arm="cot", against="style-only", group="literary", **JUDGED).gain.by_seed


def test_without_factual_pairs_or_the_control_there_is_no_difference_to_either() -> None:
    texts, judgments = (t[t["arm"] != "style-only"] for t in readings(("literary",)))
    found = pairwise.effects(pairwise.declared(pairwise.changes(texts, judgments)), LEVEL)
    assert {(e.group, e.against) for e in found} == {("literary", None)}
    assert pairwise.declared_tests(found, "cot", "judgment") == {}
    said = pairtables.headline(pairwise.last(found, "judgment", "B"))
    assert said == "Tuning with reasons moves literary pairs +4.03 bits"


def test_holm_counts_every_checkpoint_and_reading_and_a_test_without_p(
    effects: list[Effect],
) -> None:
    texts, judgments = readings()
    adjusted = pairwise.corrected(pairwise.declared_tests(effects, "cot", "judgment"))
    assert set(adjusted) == {
        f"step {step}, reading {r}" for step in ("20", "40 (last)") for r in "AB"
    }
    named = {"step 40 (last), reading B": only(
        effects, arm="cot", against=None, group=pairwise.INTERACTION, **JUDGED).gain.p}  # fmt: skip
    smallest = min(p for p in adjusted.values() if p is not None)
    assert smallest == pytest.approx(4 * (named["step 40 (last), reading B"] or 0), rel=0.05)
    # Halfway, every reading is lost: no p there, and the others are corrected for four as before.
    judgments.loc[(judgments["checkpoint"] == 20), "bits"] = np.nan
    lost = pairwise.effects(pairwise.declared(pairwise.changes(texts, judgments)), LEVEL)
    fewer = pairwise.corrected(pairwise.declared_tests(lost, "cot", "judgment"))
    assert [fewer[f"step 20, reading {r}"] for r in "AB"] == [None, None]
    raw = {r: only(lost, arm="cot", against=None, group=pairwise.INTERACTION, last=True,
                   direction="judgment", reading=r).gain.p for r in "AB"}  # fmt: skip
    expected = study.holm({"a": raw["A"], "b": raw["B"], "c": None, "d": None})
    assert fewer["step 40 (last), reading A"] == pytest.approx(expected["a"])
    rows = pairtables.tested_rows(pairwise.declared_tests(lost, "cot", "judgment")).set_index(
        "Test"
    )
    assert rows["p, Holm"].isna().to_dict() == {name: p is None for name, p in fewer.items()}


def test_one_seed_gives_means_and_no_interval_anywhere() -> None:
    texts, judgments = (t[t["seed"] == 2] for t in readings())
    changes = pairwise.changes(texts, judgments)
    found = pairwise.effects(pairwise.declared(changes), LEVEL)
    assert {(e.gain.mean.low, e.gain.p, e.gain.these_pairs.low) for e in found} == {(None,) * 3}
    said = pairtables.headline(pairwise.last(found, "judgment", "B"))
    assert said.endswith("+3.60 bits beyond factual ones, no interval")
    drifts = pairwise.checkpoints(pairwise.declared(changes), LEVEL)
    assert {d.seed for d in drifts} == {2}


def test_drift_of_each_checkpoint_is_tested_over_its_own_pairs(changes: pd.DataFrame) -> None:
    found = pairwise.checkpoints(changes, LEVEL)
    assert len(found) == 2 * 3 * 2 * 4
    assert [d.arm for d in found] == sorted(d.arm for d in found)
    one = next(d for d in found if (d.arm, d.seed, d.group, d.direction, d.reading)
               == ("cot", 3, "literary", "judgment", "B"))  # fmt: skip
    values = where(changes, arm="cot", seed=3, group="literary", last=True, direction="judgment",
                   reading="B")["value"]  # fmt: skip
    assert one.drift.p_greater == stats.wilcoxon(values.round(9), alternative="greater").pvalue
    assert one.drift.n_up == 4
    rows = pairtables.checkpoint_rows(found)
    assert len(rows) == len(found)
    assert "style alone (control)" in set(rows["Arm"])


def test_the_trajectory_is_the_mean_of_seeds_with_their_range_and_marks_the_last(
    changes: pd.DataFrame,
) -> None:
    changes = where(
        pairwise.declared(pairwise.changes(*readings())), direction="judgment", reading="B"
    )
    rows = pairtables.trajectory(changes)
    assert list(rows["arm"]) == ["cot", "cot", "style-only", "style-only"] * 2
    mine = where(rows, arm="cot", group="literary").set_index("checkpoint")
    assert mine.loc[20, ["low", "value", "high"]].tolist() == pytest.approx(
        [1 + 2 * DRIFT, 2 + 2 * DRIFT, 3 + 2 * DRIFT]
    )
    assert mine["last"].tolist() == [False, True]
    figure = pairtables.trajectory_figure(rows, "Title", "what", "bits")
    panels = [ax for ax in figure.axes if ax.get_xlabel()]
    assert [ax.get_xlabel() for ax in panels] == [
        "training step, literary pairs", "training step, factual pairs"
    ]  # fmt: skip
    for ax in panels:
        assert [t.get_text() for t in ax.texts] == ["primary"]
        assert [line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1] == [40]
    legend = panels[-1].get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["reasons first", "style alone (control)"]
    plt.close(figure)


def test_a_trajectory_of_several_measures_is_refused(changes: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="changes of 4 measures"):
        pairtables.trajectory(changes)


def test_other_conditions_and_units_stand_beside_and_are_not_tested_as_declared() -> None:
    everything = pairwise.changes(*readings())
    everything = everything[
        everything["last"] & everything["condition"].isin(["joint", "intent", ""])
    ]
    effects = pairwise.effects(everything, LEVEL)
    assert {(e.condition, e.unit) for e in effects} == {
        ("joint", "token"), ("joint", "char"), ("intent", "token"), ("intent", "char"),
        ("", "passage"),
    }  # fmt: skip
    declared = pairwise.effects(pairwise.declared(everything), LEVEL)
    assert pairwise.last(effects, "text", "B") == pairwise.last(declared, "text", "B")
    tests = pairwise.declared_tests(effects, "cot", "text")
    assert {(e.condition, e.unit) for e in tests.values()} == {("joint", "token")}
    assert len(pairwise.checkpoints(everything, LEVEL)) == 2 * 3 * 2 * 4


def test_a_model_that_calls_all_texts_good_rises_in_a_alone() -> None:
    texts, judgments = readings()
    judgments["bits"] += 5.0 * (judgments["arm"] == "style-only")
    found = pairwise.effects(pairwise.changes(texts[:0], judgments), LEVEL)
    mine = {(e.reading, e.group): e.gain.mean.value for e in found
            if e.arm == "style-only" and e.last}  # fmt: skip
    assert mine["A", "literary"] == pytest.approx(5 + 0.2 + DRIFT)
    assert mine["B", "literary"] == pytest.approx(2 * (0.2 + DRIFT))
    assert mine["A", pairwise.INTERACTION] == pytest.approx(0)


def test_one_group_and_one_checkpoint_can_be_drawn() -> None:
    changes = pairwise.changes(*readings(("literary",)))
    mine = where(changes, direction="judgment", reading="A", last=True)
    figure = pairtables.trajectory_figure(pairtables.trajectory(mine), "Title", "what", "bits")
    assert len(figure.axes) == 1
    plt.close(figure)


def test_the_figure_shows_intervals_seeds_and_the_control(effects: list[Effect]) -> None:
    primary = pairwise.last(effects, "judgment", "B")
    rows = pairtables.forest_rows(primary).set_index("label")
    assert list(rows.index) == [
        "reasons first, literary", "reasons first, factual", "style alone (control), literary",
        "style alone (control), factual",
    ]  # fmt: skip
    assert list(rows["role"]) == ["tuned", "tuned", "control", "control"]
    first = only(primary, arm="cot", against=None, group="literary").gain.mean
    assert tuple(rows.loc["reasons first, literary", ["value", "low", "high"]]) == tuple(first)
    dots = pairtables.seed_dots(primary)
    assert dots["reasons first, literary"] == pytest.approx([2.03, 4.03, 6.03])


def effect(
    group: str, low: float | None, high: float | None, arm: str = "cot", unit: str = "passage"
) -> Effect:
    gain = gains.gain([pd.DataFrame([[1.0, 2.0], [2.0, 4.0]])], [1], LEVEL)
    mean = gain.mean._replace(value=1.0, low=low, high=high)
    return Effect(arm, None, 40, True, group, "judgment", "B", "", unit, gain._replace(mean=mean))


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.5, 1.5, "Tuning with reasons moves literary pairs more than factual ones: +1.00 bits"),
        (-0.5, 2.5, "Tuning with reasons is not shown to move literary pairs beyond factual ones"),
        (-2.5, -0.5, "Tuning with reasons moves literary pairs less than factual ones"),
    ],
)
def test_the_headline_claims_what_the_interval_of_the_interaction_allows(
    low: float, high: float, said: str
) -> None:
    found = [effect("literary", 0.5, 1.5), effect(pairwise.INTERACTION, low, high)]
    assert pairtables.headline(found).startswith(said)


def test_the_headline_says_where_style_alone_does_the_same_and_small_bits_are_shown() -> None:
    found = [effect(pairwise.INTERACTION, 0.5, 1.5)]
    for low, same in ((0.1, True), (-0.1, False)):
        control = effect(pairwise.INTERACTION, low, 2.0, arm="style-only")
        assert pairtables.headline([*found, control]).endswith("so does style alone") == same
    small = effect(pairwise.INTERACTION, -0.0004, 1.5, unit="token")
    assert pairtables.headline([small]).endswith("+1.0000 bits (−0.0004 to +1.5000)")


def test_tables_hold_every_arm_group_and_difference(effects: list[Effect]) -> None:
    rows = pairtables.as_rows(effects)
    # Three rows an arm, and three for reasons beyond style.
    assert len(rows) == 9
    assert list(rows)[2:] == ["Text, A", "Text, B", "Judgment, A", "Judgment, B"]
    assert set(rows["Arm"]) == {
        "reasons first", "reasons first − style alone", "style alone (control)"
    }  # fmt: skip
    detail = pairtables.effect_rows(pairwise.last(effects, "judgment", "B"))
    assert len(detail) == 9
    assert detail["Seeds"].eq(3).all()
    power = gains.detectable(effects[0].gain, LEVEL, seeds=(3, 5), pairs=(4, 10))
    shown = pairtables.power_rows(power)
    assert list(shown) == ["Seeds", "4 pairs a group", "10 pairs a group"]
    assert shown["Seeds"].tolist() == [3, 5]
    sizes = pd.Series({"literary": 4, "factual": 4})
    assert "good minus degraded" in pairtables.subtitle("judgment", "B", sizes)
    assert "4 literary, 4 factual pairs" in pairtables.subtitle("text", "A", sizes)


def test_results_are_json_with_differences_and_single_checkpoints_apart(
    changes: pd.DataFrame, effects: list[Effect]
) -> None:
    section = pairwise.results(effects, pairwise.checkpoints(changes, LEVEL))
    section["groups"] = entropies.results(*readings())
    plain = json.loads(json.dumps(results.plain(section), allow_nan=False))
    judged = plain["changes"]["judgment"]["B"]["cot"]
    assert set(judged) == {"literary", "factual", pairwise.INTERACTION}
    assert judged["literary"]["mean"]["value"] == pytest.approx(4.03)
    assert judged["literary"]["by_seed"] == pytest.approx({"1": 2.03, "2": 4.03, "3": 6.03})
    assert set(plain["over_style_only"]["judgment"]["B"]) == {"cot"}
    assert set(plain["one_checkpoint"]["text"]["A"]["style-only"]["factual"]) == {"1", "2", "3"}
