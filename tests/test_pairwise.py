from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cqa_helpers import cohort, corpus, pairwise, reading
from cqa_helpers.calls import CallRecord
from cqa_helpers.cohort import Member
from cqa_helpers.params import Params
from cqa_helpers.records import Constraints, Pair, Verdict
from cqa_helpers.surprise import log_odds_all_good

Maker = Callable[..., Params]


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


def readings() -> pd.DataFrame:
    """Numbers chosen so that every change can be told by head."""
    rows = []
    for arm, shift in (("base", 0.0), ("cot", 1.0), ("style-only", 0.0)):
        for seed in (1, 2):
            for group in ("literary", "factual"):
                for k in range(6):
                    moved = shift * seed if group == "literary" else 0.0
                    own = 0.01 * k * (arm != "base")
                    rows.append({
                        "arm": arm, "n_train": 8, "seed": seed, "pair": f"{group}-{k}",
                        "group": group, "dimension": "craft",
                        "h_x_good": 5.0 + k, "h_x_given_y_good": 4.0 + k - moved - own,
                        "h_x_degraded": 5.5 + k, "h_x_given_y_degraded": 5.0 + k,
                        "judgment_good": -2.0 + moved + own + 10 * seed,
                        "judgment_degraded": -3.0 - moved + 10 * seed,
                    })  # fmt: skip
    return pd.DataFrame(rows).sample(frac=1, random_state=0, ignore_index=True)


def mean_of(found: pd.DataFrame, **where: object) -> float:
    rows = found
    for column, value in where.items():
        rows = rows[rows[column] == value]
    (only,) = rows["mean"]
    return float(only)


def test_changes_are_after_minus_before_seed_by_seed() -> None:
    found = pairwise.changes(readings())
    assert len(found) == 2 * 2 * 2 * 4
    drift = 0.025  # the mean of 0 to 5 hundredths
    for seed in (1, 2):
        where = {"arm": "cot", "seed": seed, "group": "literary"}
        # Text: I(good) rises by the shift; the degraded version does not move.
        assert mean_of(found, direction="text", reading="A", **where) == pytest.approx(seed + drift)
        assert mean_of(found, direction="text", reading="B", **where) == pytest.approx(seed + drift)
        # Judgment: good rises and degraded falls; the level of the seed's base cancels.
        made = mean_of(found, direction="judgment", reading="A", **where)
        assert made == pytest.approx(seed + drift)
        made = mean_of(found, direction="judgment", reading="B", **where)
        assert made == pytest.approx(2 * seed + drift)
    assert mean_of(
        found, arm="cot", seed=2, group="factual", direction="text", reading="B"
    ) == pytest.approx(drift)


def test_a_pair_that_one_side_could_not_judge_is_left_out_and_counted() -> None:
    table = readings()
    lost = (table["arm"] == "cot") & (table["seed"] == 1) & (table["pair"] == "literary-3")
    table.loc[lost, "judgment_good"] = np.nan
    found = pairwise.changes(table).set_index(["arm", "seed", "group", "direction", "reading"])
    assert found.loc[("cot", 1, "literary", "judgment", "B"), "n"] == 5
    assert found.loc[("cot", 1, "literary", "text", "B"), "n"] == 6
    assert found.loc[("cot", 2, "literary", "judgment", "B"), "n"] == 6


def test_the_figure_shows_the_mean_of_seeds_and_their_range() -> None:
    found = pairwise.changes(readings())
    rows = pairwise.forest_rows(found, "judgment").set_index("label")
    assert list(rows.index) == [
        "reasons first, literary", "reasons first, factual", "style alone (control), literary",
        "style alone (control), factual",
    ]  # fmt: skip
    first = rows.loc["reasons first, literary"]
    assert (first["low"], first["value"], first["high"]) == pytest.approx((2.025, 3.025, 4.025))
    dots = pairwise.seed_dots(found, "judgment")
    assert dots["reasons first, literary"] == pytest.approx([2.025, 4.025])
    said = pairwise.headline(found, "judgment")
    pattern = r"Tuning with reasons moves factual pairs \+0\.0[23], literary pairs \+3\.0[23] bits"
    assert re.fullmatch(pattern, said)


def test_results_and_tables_hold_both_directions_readings_and_the_entropies_apart(
    small_params: Maker,
) -> None:
    table, params = readings(), small_params()
    found = pairwise.changes(table)
    section = pairwise.results(table, found, params)
    literary = section["groups"]["literary"]
    assert literary["before"]["h_x"] == pytest.approx(7.5)
    assert literary["before"]["delta_i"] == pytest.approx(1.0 - 0.5)
    assert literary["after"]["cot"]["delta_i"] == pytest.approx(1.0 + 1.5 + 0.025 - 0.5)
    assert literary["before"]["n_pairs"] == 6
    changes = section["changes"]["judgment"]["B"]["cot"]["literary"]
    assert changes["mean"] == pytest.approx(3.025)
    assert changes["by_seed"] == pytest.approx({"1": 2.025, "2": 4.025})
    assert set(changes["p_by_seed"]) == {"1", "2"}
    assert len(pairwise.as_rows(found, "judgment")) == 2 * 2
    assert list(pairwise.entropies(table)["Arm"].unique()).count("base, not tuned") == 1


def test_judgment_bits_follow_the_side_and_are_missing_where_a_verdict_is(
    small_params: Maker,
) -> None:
    pairs = [pair("a b", "a c", "x"), pair("a b", "a d", "y")]
    said = {("x#good", 0.9), ("x#degraded", 0.2), ("y#good", 0.8)}
    rows = [
        Verdict(item_id=i, dimension=d, judge_id="tuned", value=1, probability=p)
        for i, p in sorted(said) for d in ("craft", "audience")
    ]  # fmt: skip
    rows.append(
        Verdict(
            item_id="y#degraded", dimension="craft", judge_id="tuned", value=None,
            status="unparsed",
        )
    )  # fmt: skip
    bits = reading._judgment_bits(rows, pairs, small_params())
    clip = small_params().surprise
    assert clip is not None
    expected = log_odds_all_good(np.array([[0.9, 0.9], [0.8, 0.8]]), clip.clip)
    assert bits["good"] == pytest.approx(expected)
    assert bits["degraded"][0] == pytest.approx(2 * np.log2(0.2))
    assert np.isnan(bits["degraded"][1])


def test_reading_a_tuned_model_leaves_the_base_as_it_was(
    tiny_params: Params, tmp_path: Path
) -> None:
    material = corpus.prepare(tiny_params, tmp_path)
    member = Member("cot", 4, 1)
    assert tiny_params.models is not None
    cohort.train(member, cohort.Base(tiny_params.models), tiny_params, material, tmp_path)
    with CallRecord(tmp_path / "calls.sqlite") as record:
        table = reading.read_all([member], tiny_params, material, tmp_path, record)
        again = reading.read_all([member], tiny_params, material, tmp_path, record)
    pd.testing.assert_frame_equal(table, again)
    assert len(table) == (2 + 1) * 6
    assert set(table["arm"]) == {"base", "cot"}
    text = [c for c in table if c.startswith("h_x")]
    assert np.isfinite(table[text].to_numpy()).all()
    seeds = [rows[text].to_numpy() for _, rows in table[table["arm"] == "base"].groupby("seed")]
    assert np.array_equal(seeds[0], seeds[1])
