from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from cqa_helpers.agreement import kappa_against_experts
from cqa_helpers.raters import harshness, leave_one_out, pairwise_kappa
from cqa_helpers.reliability import krippendorff_alpha
from panel_tables import Cell, copied, frame, simulated, works

NEAR = 1e-9
J = ["j0", "j1", "j2", "j3"]


def shared(table: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    rows = table[table["status"] == "ok"]
    wide = rows.pivot(index=["item_id", "dimension"], columns="judge_id", values="value")
    return wide[[a, b]].dropna().astype(int)


def spread(row: pd.Series, name: str) -> list[float]:
    return [row[name], row[f"{name}_low"], row[f"{name}_high"]]


def test_each_two_judges_kappa_equals_sklearn_on_the_cells_both_judged() -> None:
    table = simulated(1, n_items=40)
    found = pairwise_kappa(table, n_boot=50)
    assert [(a, b) for a, b in zip(found["judge_a"], found["judge_b"], strict=True)] == [
        (a, b) for i, a in enumerate(J) for b in J[i + 1 :]
    ]
    weighted = pairwise_kappa(table, n_boot=0, weights="quadratic")
    for (_, row), (_, other) in zip(found.iterrows(), weighted.iterrows(), strict=True):
        both = shared(table, row["judge_a"], row["judge_b"])
        a, b = both.iloc[:, 0], both.iloc[:, 1]
        assert row["kappa"] == pytest.approx(cohen_kappa_score(a, b), abs=NEAR)
        expected = cohen_kappa_score(a, b, weights="quadratic")
        assert other["kappa"] == pytest.approx(expected, abs=NEAR)
        assert row["raw"] == pytest.approx((a == b).mean())
        assert (row["n_cells"], row["n_clusters"]) == (len(both), len(both))
        assert row["low"] <= row["kappa"] <= row["high"]


def test_pairs_have_the_interval_that_a_judge_has_against_one_expert() -> None:
    table = simulated(2, n_items=30, dimensions=("a", "b"))
    of_item = works(table, 9)
    for chance in ("within-dimension", "pooled"):
        found = pairwise_kappa(table, clusters=of_item, n_boot=80, seed=4, chance=chance)
        for _, row in found.iterrows():
            other = kappa_against_experts(
                table, row["judge_a"], [row["judge_b"]], of_item, 80, 4, chance=chance
            )
            got = [row["kappa"], row["low"], row["high"]]
            assert got == pytest.approx(list(other.kappa), abs=1e-12)
            assert row["n_cells"] == other.n_pairs


def test_the_bootstrap_of_a_pair_equals_one_that_copies_rows() -> None:
    table = simulated(3, n_items=24, n_judges=2, top=3)
    of_item = works(table, 6)
    row = pairwise_kappa(table, clusters=of_item, n_boot=60, seed=5).iloc[0]
    by_hand = []
    for times in np.random.default_rng(5).multinomial(6, [1 / 6] * 6, size=60):
        both = shared(copied(table, of_item, times), "j0", "j1")
        by_hand.append(cohen_kappa_score(both["j0"], both["j1"]))
    assert (row["low"], row["high"]) == pytest.approx(
        tuple(np.quantile(by_hand, [0.025, 0.975])), abs=NEAR
    )


def test_pairs_with_few_shared_cells_or_no_variation_are_null_and_still_counted() -> None:
    rows: list[Cell] = [(f"i{i}", "d", j, 1 + i % 2) for i in range(9) for j in ("a", "b")]
    rows += [(f"i{i}", "d", "alone", None) for i in range(9)]
    rows += [(f"k{i}", "d", j, 3) for i in range(12) for j in ("c", "d")]
    found = pairwise_kappa(frame(rows), n_boot=50).set_index(["judge_a", "judge_b"])
    assert len(found) == 10
    few = found.loc[("a", "b")]
    assert few[["kappa", "low", "high"]].isna().all()
    assert (few["n_cells"], few["raw"]) == (9, 1.0)
    same = found.loc[("c", "d")]
    assert same[["kappa", "low", "high"]].isna().all()
    assert same["n_cells"] == 12
    never = found.loc[("a", "c")]
    assert never[["kappa", "raw"]].isna().all()
    assert (never["n_cells"], never["n_clusters"]) == (0, 0)
    assert found.loc[("a", "alone"), "n_cells"] == 0
    enough = pairwise_kappa(frame(rows), n_boot=50, least=9).set_index(["judge_a", "judge_b"])
    assert enough.loc[("a", "b"), "kappa"] == 1
    assert pairwise_kappa(frame(rows), ["a"]).empty


def test_leave_one_out_is_the_judge_against_the_others_and_the_others_alone() -> None:
    table = simulated(5, n_items=30, dimensions=("a", "b"), missing=0.1)
    of_item = works(table, 10)
    for level in ("nominal", "ordinal"):
        found = leave_one_out(table, clusters=of_item, n_boot=80, seed=6, level=level)
        whole = krippendorff_alpha(table, level, clusters=of_item, n_boot=80, seed=6).alpha
        assert list(found["judge_id"]) == J
        for _, row in found.iterrows():
            others = [j for j in J if j != row["judge_id"]]
            kappa = kappa_against_experts(table, row["judge_id"], others, of_item, 80, 6)
            assert spread(row, "kappa") == pytest.approx(list(kappa.kappa), abs=1e-12)
            assert row["n_pairs"] == kappa.n_pairs
            rest = krippendorff_alpha(
                table, level, clusters=of_item, n_boot=80, seed=6, judges=others
            )
            assert rest.n_clusters == 10
            assert spread(row, "alpha_without") == pytest.approx(list(rest.alpha), abs=1e-12)
            assert row["change"] == pytest.approx(rest.alpha.value - whole.value, abs=1e-12)


def test_the_change_without_a_judge_is_drawn_on_the_same_works_as_the_whole() -> None:
    # In the first work only j0 and j1 sat: without j1 it is drawn all the same, and is empty.
    table = simulated(6, n_items=21, missing=0.3)
    of_item = works(table, 7)
    first = table["item_id"].map(of_item) == "w000"
    table = table[~first | table["judge_id"].isin(["j0", "j1"])]
    row = leave_one_out(table, clusters=of_item, n_boot=40, seed=7).iloc[1]
    by_hand = []
    for times in np.random.default_rng(7).multinomial(7, [1 / 7] * 7, size=40):
        rows = copied(table, of_item, times)
        rest = krippendorff_alpha(rows, n_boot=0, judges=["j0", "j2", "j3"]).alpha.value
        by_hand.append(rest - krippendorff_alpha(rows, n_boot=0).alpha.value)
    assert spread(row, "change")[1:] == pytest.approx(
        list(np.quantile(by_hand, [0.025, 0.975])), abs=NEAR
    )


def test_a_judge_who_guesses_is_the_one_without_whom_the_panel_agrees_better() -> None:
    rng = np.random.default_rng(8)
    rows: list[Cell] = []
    for i in range(200):
        truth = int(rng.integers(1, 4))
        for judge, skill in (("a", 0.9), ("b", 0.9), ("c", 0.9), ("guesses", 0.0)):
            said = truth if rng.random() < skill else int(rng.integers(1, 4))
            rows.append((f"i{i:03}", "d", judge, said))
    seen: list[tuple[int, int]] = []
    found = leave_one_out(frame(rows), progress=lambda *at: seen.append(at)).set_index("judge_id")
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    guesser = found.loc["guesses"]
    assert guesser["kappa_low"] < 0.1
    assert guesser["change_low"] > 0.2
    assert (found.drop("guesses")["change_high"] < 0).all()


def test_leave_one_out_is_null_where_no_panel_is_left() -> None:
    table = simulated(9, n_judges=2, missing=0)
    table = pd.concat([table, frame([("elsewhere", "d", "alone", 1)])])
    two = leave_one_out(table, ["j0", "j1"], n_boot=50)
    assert two["kappa"].notna().all()
    assert two[["alpha_without", "change"]].isna().all(axis=None)
    three = leave_one_out(table, n_boot=50).set_index("judge_id")
    assert three.loc["alone", ["n_pairs", "n_cells", "n_clusters"]].tolist() == [0, 0, 0]
    assert pd.isna(three.loc["alone", "kappa"])
    assert spread(three.loc["alone"], "change") == [0, 0, 0]
    assert pd.isna(three.loc["j0", "alpha_without"])


def effects_by_definition(table: pd.DataFrame) -> dict[str, float]:
    """Judges' effects by least squares on a column for each cell and each judge."""
    rows = table[table["status"] == "ok"]
    design = pd.get_dummies(rows["judge_id"] + "", dtype=float)
    cells = pd.get_dummies(rows["item_id"] + "|" + rows["dimension"], dtype=float)
    both = np.hstack([design.to_numpy(), cells.to_numpy()])
    solved = np.linalg.lstsq(both, rows["value"].to_numpy(dtype=float), rcond=None)[0]
    own = solved[: design.shape[1]]
    return dict(zip(design.columns, own - own.mean(), strict=True))


def test_harshness_is_the_distance_to_the_others_on_the_same_cells() -> None:
    table = simulated(10, n_items=25, dimensions=("a", "b"), missing=0.3)
    of_item = works(table, 8)
    found = harshness(table, clusters=of_item, n_boot=50, seed=3).set_index("judge_id")
    rows = table[table["status"] == "ok"]
    wide = rows.pivot(index=["item_id", "dimension"], columns="judge_id", values="value")
    wide = wide.astype(float)
    effects = effects_by_definition(table)
    times = np.random.default_rng(3).multinomial(8, [1 / 8] * 8, size=50)
    for j in J:
        gap = (wide[j] - wide.drop(columns=j).mean(axis=1)).dropna()
        row = found.loc[j]
        assert row["difference"] == pytest.approx(gap.mean(), abs=NEAR)
        assert row["n_cells"] == len(gap)
        assert row["adjusted"] == pytest.approx(effects[j], abs=NEAR)
        by_work = gap.groupby(gap.index.get_level_values("item_id").map(of_item))
        assert row["n_clusters"] == by_work.ngroups == 8
        drawn = (times @ by_work.sum().to_numpy()) / (times @ by_work.size().to_numpy())
        assert spread(row, "difference")[1:] == pytest.approx(
            list(np.quantile(drawn, [0.025, 0.975])), abs=NEAR
        )
    drawn = [effects_by_definition(copied(table, of_item, t))["j2"] for t in times]
    assert spread(found.loc["j2"], "adjusted")[1:] == pytest.approx(
        list(np.quantile(drawn, [0.025, 0.975])), abs=1e-7
    )


def test_easy_cells_judged_alone_or_with_equals_make_nobody_mild() -> None:
    # Judge "easy" sits only on passages that all find good; raw means would call them mild.
    rng = np.random.default_rng(11)
    rows: list[Cell] = []
    for i in range(300):
        good = i < 150
        for judge in ("a", "b", "easy" if good else "hard"):
            said = int(rng.integers(-1, 2)) + (4 if good else 2)
            rows.append((f"i{i:03}", "d", judge, said))
    rows += [(f"alone{i}", "d", "easy", 5) for i in range(100)]
    table = frame(rows)
    means = table.groupby("judge_id")["value"].mean()
    assert means["easy"] - means["hard"] > 1.5
    found = harshness(table).set_index("judge_id")
    for name in ("difference", "adjusted"):
        assert found[name].abs().max() < 0.25
        assert (found[f"{name}_low"] < 0.05).all()
        assert (found[f"{name}_high"] > -0.05).all()
    assert found.loc["easy", "n_cells"] == 150


def test_a_fair_judge_beside_a_harsh_one_is_mild_only_before_adjustment() -> None:
    # Of three fair judges one always sits with the harsh one, who says one value less.
    rng = np.random.default_rng(12)
    rows: list[Cell] = []
    for i in range(900):
        truth = 3 + int(rng.integers(0, 2))
        for judge in ("fair", "harsh") if i % 3 else ("fair", "b", "c"):
            rows.append((f"i{i:03}", "d", judge, truth - (judge == "harsh")))
        if i % 4 == 0:
            rows.append((f"i{i:03}", "d", "d", truth))
    found = harshness(frame(rows)).set_index("judge_id")
    assert found.loc["fair", "difference_low"] > 0.4
    fair = found.loc[["fair", "b", "c", "d"], "adjusted"]
    assert fair.max() - fair.min() < 1e-9
    assert fair.iloc[0] - found.loc["harsh", "adjusted"] == pytest.approx(1, abs=1e-9)


def test_judges_who_never_meet_have_no_common_zero_and_those_alone_no_harshness() -> None:
    rows: list[Cell] = [
        (f"{pair}{i}", "d", judge, 1 + (i + (judge in "ac")) % 3)
        for pair in ("ab", "cd") for i in range(30) for judge in pair
    ]  # fmt: skip
    rows += [("x", "d", "alone", 2)]
    found = harshness(frame(rows)).set_index("judge_id")
    assert found["adjusted"].isna().all()
    assert found.loc[["a", "b", "c", "d"], "difference"].notna().all()
    assert pd.isna(found.loc["alone", "difference"])
    assert found.loc["alone", ["n_cells", "n_clusters"]].tolist() == [0, 0]
    # One cell that b and c share joins them.
    joined = harshness(frame([*rows, ("y", "d", "b", 2), ("y", "d", "c", 2)]))
    assert joined.set_index("judge_id").loc[["a", "b", "c", "d"], "adjusted"].notna().all()


def test_a_judge_missing_from_a_resample_does_not_cost_the_others_their_interval() -> None:
    # The rare judge stands in one work of forty: absent from over a third of the resamples.
    table = simulated(13, n_items=40, n_judges=3, missing=0)
    table = pd.concat([table, frame([("i000", "d", "rare", 4)])])
    found = harshness(table).set_index("judge_id")
    assert found.loc[["j0", "j1", "j2"]].notna().all(axis=None)
    assert pd.notna(found.loc["rare", "adjusted"])
    assert found.loc["rare", ["adjusted_low", "difference_high"]].isna().all()


@pytest.mark.parametrize("n_works", [1, 4, 5])
def test_few_works_give_an_estimate_without_limits_however_many_cells_they_hold(
    n_works: int,
) -> None:
    # The fourth judge sat in as many works as the parameter says, all others in thirty.
    table = simulated(14, n_items=60, missing=0)
    of_item = works(table, 30)
    few = {item for item, work in of_item.items() if work < f"w{n_works:03}"}
    table = table[table["item_id"].isin(few) | (table["judge_id"] != "j3")]
    one = leave_one_out(table, clusters=of_item, n_boot=300).set_index("judge_id").loc["j3"]
    own = harshness(table, clusters=of_item, n_boot=300).set_index("judge_id").loc["j3"]
    both = pairwise_kappa(table, clusters=of_item, n_boot=300, least=1)
    pair = both[both["judge_b"] == "j3"].iloc[0]
    assert one["n_clusters"] == own["n_clusters"] == pair["n_clusters"] == n_works
    found = [one["kappa_low"], own["difference_low"], own["adjusted_high"], pair["low"]]
    assert [pd.notna(limit) for limit in found] == [n_works >= 5] * 4
    assert pd.notna([one["kappa"], own["difference"], own["adjusted"], pair["kappa"]]).all()
    alone = table[table["item_id"].isin(few)]
    alone = leave_one_out(alone, clusters=of_item, n_boot=300).iloc[0]
    assert pd.notna(alone["change_low"]) == (n_works >= 5)
    assert pd.notna(alone["alpha_without_high"]) == (n_works >= 5)
    assert pd.notna(alone["change"])


def test_a_resample_without_a_judge_says_nothing_of_them_and_not_zero() -> None:
    # In five works of forty the late judge says two more than all others; one resample in two
    # hundred lacks them all, and would pull so wide an interval down to zero.
    rows: list[Cell] = [
        (f"i{i:02}", "d", j, 1 + i % 3) for i in range(40) for j in ("a", "b", "c")
    ]  # fmt: skip
    rows += [(f"i{i:02}", "d", "late", 3 + i % 3) for i in range(5)]
    late = harshness(frame(rows), level_ci=0.999, n_boot=4000).set_index("judge_id").loc["late"]
    assert spread(late, "difference") == pytest.approx([2, 2, 2], abs=NEAR)
    assert spread(late, "adjusted") == pytest.approx([1.5, 1.5, 1.5], abs=NEAR)


def test_scales_that_differ_are_refused_where_distances_count() -> None:
    table = pd.concat([
        simulated(0, n_items=20), simulated(1, n_items=20, dimensions=("e",)).assign(scale="1-7")
    ])  # fmt: skip
    with pytest.raises(ValueError, match="harshness needs one scale, not 1-5, 1-7"):
        harshness(table)
    with pytest.raises(ValueError, match="weighted kappa needs one scale"):
        pairwise_kappa(table, weights="linear")
    with pytest.raises(ValueError, match="interval alpha or weighted kappa needs one scale"):
        leave_one_out(table, level="interval")
    assert harshness(table, dimension="e", n_boot=50)["difference"].notna().all()
    assert pairwise_kappa(table, n_boot=50)["kappa"].notna().all()
