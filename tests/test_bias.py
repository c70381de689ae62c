from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from cqa_helpers import bias
from cqa_helpers.agreement import Interval
from cqa_helpers.records import Passage
from panel_tables import Cell, frame

NOTHING = Interval(None, None, None)
EXPERTS = ["e1", "e2", "e3"]
QUICK = {"n_boot": 400, "seed": 1}


def passage(name: str, text: str | None, language: str = "en") -> Passage:
    return Passage(
        id=name, work_id=name, language=language, text=text, url=None if text else "http://x",
        origin="simulated", licence="none", source="test",
    )  # fmt: skip


def simulated(
    seed: int,
    n_items: int = 60,
    judge_likes: float = 0.0,
    experts_like: float = 0.0,
    merit: float = 0.25,
    correlation: float = 0.0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return verdicts of three experts and a judge whose P(yes) moves with merit and length."""
    rng = np.random.default_rng(seed)
    length = rng.normal(size=n_items)
    length = (length - length.mean()) / length.std()
    rows: list[Cell] = []
    for i in range(n_items):
        quality = np.sign(correlation * length[i] + rng.normal())
        for d, base in (("d1", 0.4), ("d2", 0.5), ("d3", 0.6)):
            for who in (*EXPERTS, "m"):
                likes = judge_likes if who == "m" else experts_like
                p = np.clip(base + merit * quality + likes * length[i], 0.02, 0.98)
                rows.append((f"i{i:03}", d, who, int(rng.random() < p)))
    known = {"length": length, "other": rng.normal(size=n_items)}
    return frame(rows, "0-1"), pd.DataFrame(known, index=[f"i{i:03}" for i in range(n_items)])


def holds(found: Interval, value: float) -> bool:
    assert found.low is not None
    assert found.high is not None
    return found.low <= value <= found.high


def test_features_of_a_worked_example() -> None:
    # Five words in two sentences, of 24 signs without blanks 13 between quotation marks; and three
    # words in one sentence without speech.
    one = "“Come here, now!” He waited."
    other = "Nobody ever came."
    found = bias.features(
        [passage("a", "“Go on!” He did."), passage("b", other), passage("c", None)]
    )
    assert list(found.index) == ["a", "b"]
    assert found.loc["a"].tolist() == pytest.approx([1, -1, 1])
    assert found.loc["b"].tolist() == pytest.approx([-1, 1, -1])
    three = bias.features([passage("a", one), passage("b", other), passage("c", other + " No.")])
    raw = np.array([[5, 2.5, 13 / 24], [3, 3, 0], [4, 2, 0]])
    raw[:, :2] = np.log(raw[:, :2])
    assert np.allclose(three, (raw - raw.mean(0)) / raw.std(0))


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ('He said "yes" to it.', 3 / 16),
        ("他说：「好。」然后走了。", 2 / 12),
        ("他说：“好。”然后走了。", 2 / 12),
        ("“One goes on.\n“Two ends.” So", 18 / 23),
        ("A board of 6' 2\" by 4.", 0),
        ("It’s ‘quoted’ so", 0),
    ],
)
def test_speech_is_what_stands_in_quotation_marks(text: str, share: float) -> None:
    plain, all_of_it = passage("p", "none."), passage("q", "“All.”")
    found = bias.features([plain, all_of_it, passage("x", text)])["dialogue"]
    measured = (found["x"] - found["p"]) / (found["q"] - found["p"])
    assert measured * 4 / 6 == pytest.approx(share, abs=1e-9)


def test_chinese_is_counted_in_characters_and_stands_beside_chinese() -> None:
    found = bias.features([
        passage("a", "他走了。他来了。 他说了。", "zh"), passage("b", "他走 了他来 了他", "zh"),
        passage("c", "one two three four five six. " * 30), passage("d", "one two."),
    ])  # fmt: skip
    assert found["length"].tolist() == pytest.approx([1, -1, 1, -1])
    assert found["sentence_length"].tolist() == pytest.approx([-1, 1, 1, -1])
    assert bias.features([]).empty


def test_leanings_are_the_slopes_of_an_ordinary_regression() -> None:
    table, known = simulated(3, judge_likes=0.1)
    found = bias.leaning(table, "m", EXPERTS, known, **QUICK)
    wide = table.pivot(index=["item_id", "dimension"], columns="judge_id", values="value")
    wide = wide.astype(float)
    rows = []
    for e in EXPERTS:
        rest = wide[[x for x in EXPERTS if x != e]].mean(axis=1)
        rows.append(wide.assign(one=wide[e], rest=rest).reset_index())
    long = pd.concat(rows).merge(known, left_on="item_id", right_index=True)
    for side, formula in (("judge", "m"), ("expert", "one")):
        fit = smf.ols(f"{formula} ~ rest + C(dimension) + length + other", long).fit()
        for name in ("length", "other"):
            value = getattr(found.by_feature[name], side).value
            assert value == pytest.approx(fit.params[name], abs=1e-9)
    one = found.by_feature["length"]
    assert one.gap.value == pytest.approx(one.judge.value - one.expert.value)  # type: ignore[operator]
    assert (found.n_cells, found.n_clusters, found.n_without) == (180, 60, 0)


def test_a_planted_liking_for_length_is_found_and_none_is_not() -> None:
    table, known = simulated(5, n_items=150, judge_likes=0.15)
    found = bias.leaning(table, "m", EXPERTS, known, **QUICK).by_feature
    assert holds(found["length"].judge, 0.15)
    assert holds(found["length"].expert, 0)
    assert found["length"].gap.low > 0.05  # type: ignore[operator]
    assert holds(found["other"].gap, 0)


def test_a_colleague_who_likes_length_as_experts_do_has_no_gap() -> None:
    table, known = simulated(6, 150, judge_likes=0.12, experts_like=0.12, correlation=0.5)
    found = bias.leaning(table, "m", EXPERTS, known, **QUICK).by_feature["length"]
    assert found.judge.low > 0  # type: ignore[operator]
    assert holds(found.gap, 0)


def test_a_judge_by_length_alone_is_told_from_one_who_never_looks_at_it() -> None:
    table, known = simulated(7)
    by_length = table["judge_id"] == "m"
    longer = table.loc[by_length, "item_id"].map(known["length"]) > 0
    table.loc[by_length, "value"] = longer.astype(int)
    found = bias.leaning(table, "m", EXPERTS, known, **QUICK).by_feature
    # The slope of a half-split on a standard normal is 2 φ(0) / 2 = .40.
    assert found["length"].judge.value == pytest.approx(0.4, abs=0.06)
    assert found["length"].judge.low > 0.25  # type: ignore[operator]


def test_what_does_not_vary_is_null_and_never_zero() -> None:
    table, known = simulated(1)
    table.loc[table["judge_id"] == "m", "value"] = 1
    found = bias.leaning(table, "m", EXPERTS, known.assign(flat=0.0), **QUICK)
    assert found.by_feature["flat"] == bias.Leaning(NOTHING, NOTHING, NOTHING)
    assert found.by_feature["length"].judge == found.by_feature["length"].gap == NOTHING
    assert found.by_feature["length"].expert.value is not None
    same = bias.adjusted_agreement(table, "m", EXPERTS, known, **QUICK)
    assert same[1:4] == (NOTHING, NOTHING, NOTHING)
    # Two features that are one: nobody can say which moves the judge.
    table, known = simulated(1)
    twice = bias.leaning(table, "m", EXPERTS, known.assign(same=known["length"]), **QUICK)
    assert twice.by_feature["length"].judge == NOTHING


def test_with_few_clusters_a_slope_is_null() -> None:
    table, known = simulated(1, n_items=9)
    found = bias.leaning(table, "m", EXPERTS, known, **QUICK)
    assert found.by_feature["length"] == bias.Leaning(NOTHING, NOTHING, NOTHING)
    few = bias.adjusted_agreement(table, "m", EXPERTS, known, **QUICK)
    assert few.raw.value is not None
    assert few.adjusted == few.difference == NOTHING
    one = dict.fromkeys(known.index, "one work")
    alone = bias.adjusted_agreement(table, "m", EXPERTS, known, one, **QUICK).raw
    assert alone.value is not None
    assert alone.low is alone.high is None


def test_a_single_expert_has_no_colleague_to_set_the_judge_beside() -> None:
    table, known = simulated(2, judge_likes=0.15)
    found = bias.leaning(table, "m", ["e1"], known, **QUICK).by_feature["length"]
    assert found.judge.low > 0  # type: ignore[operator]
    assert found.expert == found.gap == NOTHING


def test_passages_without_features_and_repeats_are_accounted_for() -> None:
    table, known = simulated(4)
    found = bias.leaning(table, "m", EXPERTS, known.iloc[:40], **QUICK)
    assert (found.n_cells, found.n_clusters, found.n_without) == (120, 40, 60)
    raw = bias.adjusted_agreement(table, "m", EXPERTS, known.iloc[:40], **QUICK)
    assert (raw.n_pairs, raw.n_clusters, raw.n_without) == (360, 40, 180)
    again = table[table["judge_id"] == "m"].assign(repeat=1)
    twice = bias.leaning(pd.concat([table, again]), "m", EXPERTS, known.iloc[:40], **QUICK)
    assert twice.by_feature == found.by_feature
    nobody = bias.leaning(table, "m", EXPERTS, known.iloc[:0], **QUICK)
    assert (nobody.n_cells, nobody.n_without) == (0, 180)
    assert nobody.by_feature["length"].judge == NOTHING
    with pytest.raises(ValueError, match="no rows of nobody"):
        bias.leaning(table, "nobody", EXPERTS, known)


def test_agreement_raw_and_adjusted_are_slopes_of_ordinary_regressions() -> None:
    table, known = simulated(8, judge_likes=0.1, experts_like=0.1)
    found = bias.adjusted_agreement(table, "m", EXPERTS, known, **QUICK)
    wide = table.pivot(index=["item_id", "dimension"], columns="judge_id", values="value")
    wide = wide.astype(float).reset_index()
    long = wide.melt(["item_id", "dimension", "m"], EXPERTS, value_name="said")
    long = long.merge(known, left_on="item_id", right_index=True)
    raw = smf.ols("said ~ m + C(dimension)", long).fit().params["m"]
    adjusted = smf.ols("said ~ m + C(dimension) + length + other", long).fit().params["m"]
    assert found.raw.value == pytest.approx(raw, abs=1e-9)
    assert found.adjusted.value == pytest.approx(adjusted, abs=1e-9)
    assert found.difference.value == pytest.approx(adjusted - raw, abs=1e-9)


def test_agreement_by_length_alone_is_gone_at_equal_length() -> None:
    table, known = simulated(9, 200, judge_likes=0.3, experts_like=0.3, merit=0.0)
    found = bias.adjusted_agreement(table, "m", EXPERTS, known, **QUICK)
    assert found.raw.low > 0.1  # type: ignore[operator]
    assert found.difference.high < 0  # type: ignore[operator]
    assert abs(found.adjusted.value) < 0.1  # type: ignore[arg-type]
    human = bias.adjusted_agreement(table, "experts", EXPERTS, known, **QUICK)
    assert human.n_pairs == 2 * found.n_pairs


def families(
    judge_yes: dict[str, float], seed: int = 0, n: int = 40
) -> tuple[pd.DataFrame, set[str], set[str]]:
    """Return verdicts on own and other passages; experts say yes to .6 of both."""
    rng = np.random.default_rng(seed)
    sides = {side: {f"{side}{i:02}" for i in range(n)} for side in ("own", "other")}
    rows: list[Cell] = []
    for side, items in sides.items():
        for item in sorted(items):
            for d in ("d1", "d2"):
                rows += [(item, d, e, int(rng.random() < 0.6)) for e in EXPERTS]
                rows.append((item, d, "m", int(rng.random() < judge_yes[side])))
    return frame(rows, "0-1"), sides["own"], sides["other"]


def test_self_preference_of_a_worked_example() -> None:
    # The judge says yes to both own passages and to one of two others; experts to one of each.
    said = [("o1", 1, 1), ("o2", 1, 0), ("x1", 1, 1), ("x2", 0, 0)]
    rows: list[Cell] = []
    for item, judge, expert in said:
        rows += [(item, "d", "m", judge), (item, "d", "e1", expert)]
    found = bias.self_preference(
        frame(rows, "0-1"), "m", ["e1"], {"o1", "o2"}, {"x1", "x2"}, n_boot=50
    )
    assert found.difference.value == pytest.approx((1 - 0.5) - (0.5 - 0.5))
    assert found.difference.low is None
    assert (found.n_own, found.n_other, found.n_clusters) == (2, 2, 4)


def test_both_self_preferences_are_slopes_of_ordinary_regressions() -> None:
    table, own, other = families({"own": 0.8, "other": 0.5}, seed=4)
    rows = table[table["judge_id"].isin(EXPERTS)].astype({"value": float})
    cells = table[table["judge_id"] == "m"].astype({"value": float})
    cells = cells.merge(
        rows.groupby(["item_id", "dimension"])["value"].mean().rename("share").reset_index()
    ).assign(own=lambda c: c["item_id"].isin(own).astype(float))
    found = bias.self_preference(table, "m", EXPERTS, own, other, **QUICK)
    for formula, interval in (
        ("I(value - share) ~ own + C(dimension)", found.difference),
        ("value ~ own + share + C(dimension)", found.at_equal_share),
    ):
        slope = smf.ols(formula, cells).fit().params["own"]
        assert interval.value == pytest.approx(slope, abs=1e-9)


def test_a_planted_self_preference_is_found_and_none_is_not() -> None:
    table, own, other = families({"own": 0.9, "other": 0.6})
    found = bias.self_preference(table, "m", EXPERTS, own, other, **QUICK)
    assert holds(found.difference, 0.3)
    assert found.difference.low > 0  # type: ignore[operator]
    assert holds(found.at_equal_share, 0.3)
    assert found.at_equal_share.low > 0  # type: ignore[operator]
    table, own, other = families({"own": 0.6, "other": 0.6}, seed=1)
    fair = bias.self_preference(table, "m", EXPERTS, own, other, **QUICK)
    assert holds(fair.difference, 0)
    assert holds(fair.at_equal_share, 0)


def test_a_judge_who_hardly_tells_passages_apart_prefers_itself_by_difference_alone() -> None:
    table, own, other = families({"own": 0.8, "other": 0.8}, seed=2, n=60)
    rows = table["item_id"].isin(own) & (table["judge_id"] != "m")
    table.loc[rows, "value"] = (np.random.default_rng(1).random(rows.sum()) < 0.2).astype(int)
    found = bias.self_preference(table, "m", EXPERTS, own, other, **QUICK)
    assert found.difference.low > 0.2  # type: ignore[operator]
    assert holds(found.at_equal_share, 0)


def test_self_preference_without_a_side_or_a_judgment_is_null() -> None:
    table, own, other = families({"own": 0.9, "other": 0.6}, n=6)
    for sides in ((set(), other), (own, set()), (set(), set())):
        empty = bias.self_preference(table, "m", EXPERTS, *sides, **QUICK)
        assert empty.difference == empty.at_equal_share == NOTHING
    table.loc[table["judge_id"] == "m", "value"] = 1
    same = bias.self_preference(table, "m", EXPERTS, own, other, **QUICK)
    assert same.difference == same.at_equal_share == NOTHING
    with pytest.raises(ValueError, match=r"6 item\(s\) are own and other"):
        bias.self_preference(table, "m", EXPERTS, own, own | other)


def test_limits_need_five_clusters_on_each_side() -> None:
    table, own, other = families({"own": 0.7, "other": 0.6})
    few = bias.self_preference(table, "m", EXPERTS, set(sorted(own)[:4]), other, **QUICK)
    assert few.difference.value is not None
    assert few.difference.low is None
