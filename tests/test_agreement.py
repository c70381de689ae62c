from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from cqa_helpers import agreement
from cqa_helpers.agreement import Interval
from cqa_helpers.pairing import EXPERTS, cells, pair_tables, pairs
from cqa_helpers.records import Verdict, to_table

EXACT = 1e-12
Cell = tuple[str, str, str, int | None]  # item, dimension, judge, value


def table_of(rows: Iterable[Cell], scale: str = "0-1") -> pd.DataFrame:
    return to_table(
        [
            Verdict(
                item_id=item,
                dimension=dimension,
                judge_id=judge,
                value=value,
                scale=scale,
                status="unparsed" if value is None else "ok",
            )
            for item, dimension, judge, value in rows
        ]
    )


def from_crosstab(counts: list[list[int]]) -> pd.DataFrame:
    rows: list[Cell] = []
    number = itertools.count()
    for i, row in enumerate(counts, start=1):
        for j, n in enumerate(row, start=1):
            for _ in range(n):
                item = f"i{next(number)}"
                rows += [(item, "d", "a", i), (item, "d", "b", j)]
    return table_of(rows, scale=f"1-{len(counts)}")


def random_table(
    seed: int, n_items: int = 8, n_dimensions: int = 3, missing: float = 0.0
) -> pd.DataFrame:
    """A judge ``m`` and three experts, loosely agreeing, on a 0-1 scale."""
    rng = np.random.default_rng(seed)
    rows: list[Cell] = []
    for i, d in itertools.product(range(n_items), range(n_dimensions)):
        truth = rng.random() < 0.3 + 0.2 * d
        for judge, skill in (("e0", 0.8), ("e1", 0.7), ("e2", 0.75), ("m", 0.65)):
            value: int | None = int(truth if rng.random() < skill else not truth)
            if judge == "m" and rng.random() < missing:
                value = None
            rows.append((f"i{i}", f"d{d}", judge, value))
    return table_of(rows)


E = ["e0", "e1", "e2"]


def test_kappa_equals_the_worked_example_of_fleiss_levin_and_paik() -> None:
    # Statistical Methods for Rates and Proportions, 3rd ed., table 18.1: two diagnoses of 100
    # patients as psychotic, neurotic or organic; printed kappa 0.68.
    counts = [[75, 1, 4], [5, 4, 1], [0, 0, 10]]
    assert float(agreement.kappa(counts)) == pytest.approx(0.6765, abs=5e-5)
    found = agreement.kappa_against_experts(from_crosstab(counts), "a", ["b"])
    assert found.kappa.value == pytest.approx(0.6765, abs=5e-5)
    assert found.raw == pytest.approx(0.89)
    assert found.n_pairs == 100


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=2, max_size=40),
    st.sampled_from(["unweighted", "linear", "quadratic"]),
)
def test_kappa_equals_sklearn_on_any_pairs(
    given_pairs: list[tuple[int, int]], weights: agreement.Weights
) -> None:
    counts = np.zeros((5, 5))
    for a, b in given_pairs:
        counts[a - 1, b - 1] += 1
    found = float(agreement.kappa(counts, range(1, 6), weights))
    first, second = zip(*given_pairs, strict=True)
    if len({*first, *second}) == 1:
        assert np.isnan(found)
        return
    other = cohen_kappa_score(
        first, second, labels=range(1, 6), weights=None if weights == "unweighted" else weights
    )
    assert found == pytest.approx(other, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=1, max_size=4))
def test_stratified_kappa_is_the_mean_of_strata_weighted_by_room_over_chance(
    strata: list[list[int]],
) -> None:
    tables = np.array(strata, dtype=float).reshape(-1, 2, 2)
    room = np.array([
        t.sum() - (t.sum(0) * t.sum(1)).sum() / t.sum() if t.sum() else 0 for t in tables
    ])  # fmt: skip
    found = float(agreement.stratified_kappa(tables))
    if not room.sum() > 0:
        assert np.isnan(found)
        return
    used = room > 0
    each = agreement.kappa(tables[used])
    assert found == pytest.approx(float((each * room[used]).sum() / room.sum()), abs=1e-9)
    if len(tables) == 1:
        assert found == float(agreement.kappa(tables[0]))


def test_the_expert_yardstick_takes_every_ordered_pair_of_different_experts() -> None:
    table = table_of([("i", "d", "e0", 0), ("i", "d", "e1", 1), ("i", "d", "e2", 1)])
    found = pairs(table, EXPERTS, E)
    assert sorted(zip(found["value"], found["expert_value"], strict=True)) == sorted(
        [(0, 1), (0, 1), (1, 0), (1, 0), (1, 1), (1, 1)]
    )
    own = pairs(table, "e0", E)
    assert list(own["expert_value"]) == [1, 1]


def test_the_clustered_bootstrap_equals_one_that_copies_rows_one_resample_at_a_time() -> None:
    table = random_table(3)
    clusters = {f"i{i}": f"w{i % 6}" for i in range(8)}
    found = agreement.kappa_against_experts(
        table, "m", E, clusters, n_boot=200, seed=5, chance="pooled"
    )
    rows = pairs(table, "m", E)
    of_row = rows["item_id"].map(clusters)
    by_hand = []
    for times in np.random.default_rng(5).multinomial(6, [1 / 6] * 6, size=200):
        copied = pd.concat([rows[of_row == f"w{k}"] for k, n in enumerate(times) for _ in range(n)])
        by_hand.append(
            cohen_kappa_score(copied["value"].astype(int), copied["expert_value"].astype(int))
        )
    low, high = np.quantile(by_hand, [0.025, 0.975])
    assert found.kappa.value == pytest.approx(
        cohen_kappa_score(rows["value"].astype(int), rows["expert_value"].astype(int)), abs=EXACT
    )
    assert found.kappa[1:] == pytest.approx((low, high), abs=1e-9)
    assert (found.n_clusters, found.n_items, found.n_pairs) == (6, 8, 72)


def test_a_resample_draws_as_many_clusters_as_there_are_with_equal_chance() -> None:
    times = agreement.resample(5, 4000, 1)
    assert times.shape == (4000, 5)
    assert (times.sum(1) == 5).all()
    assert times.mean(0) == pytest.approx(np.ones(5), abs=0.06)


def test_the_same_seed_gives_the_same_interval_and_another_a_different_one() -> None:
    table = random_table(1)
    one, two, other = (
        agreement.kappa_against_experts(table, "m", E, seed=s).kappa for s in (7, 7, 8)
    )
    assert one == two
    assert one.value == other.value
    assert one != other


def test_a_level_that_is_lower_gives_an_interval_inside() -> None:
    table = random_table(2)
    wide = agreement.kappa_against_experts(table, "m", E).kappa
    narrow = agreement.kappa_against_experts(table, "m", E, level=0.8).kappa
    assert wide.low is not None
    assert wide.high is not None
    assert narrow.low is not None
    assert narrow.high is not None
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("chance", ["within-dimension", "pooled"])
@pytest.mark.parametrize("value", [0, 1])
def test_a_constant_judge_gets_exactly_zero(chance: agreement.Chance, value: int) -> None:
    table = random_table(4)
    constant = table_of([(i, d, "constant", value) for i, d in cells(table)])
    both = pd.concat([table, constant])
    found = agreement.kappa_against_experts(both, "constant", E, chance=chance).kappa
    assert found == Interval(0.0, 0.0, 0.0)


def test_knowing_the_dimension_alone_is_worth_nothing_unless_chance_is_pooled() -> None:
    table = random_table(6, n_items=150)
    blind = table_of([(i, d, "blind", int(d == "d2")) for i, d in cells(table)])
    both = pd.concat([table, blind])
    within = agreement.kappa_against_experts(both, "blind", E)
    pooled = agreement.kappa_against_experts(both, "blind", E, chance="pooled")
    assert within.kappa == Interval(0.0, 0.0, 0.0)
    assert pooled.kappa.low is not None
    assert pooled.kappa.low > 0


def test_missing_verdicts_are_counted_and_never_read_as_zero() -> None:
    table = random_table(5, missing=0.4)
    lost = int((table["status"] != "ok").sum())
    assert lost > 3
    found = agreement.kappa_against_experts(table, "m", E)
    assert found.n_missing == lost
    assert found.n_pairs == 3 * (24 - lost)
    absent = table[table["status"] == "ok"]
    assert agreement.kappa_against_experts(absent, "m", E) == found


def test_undefined_is_null_and_never_zero() -> None:
    same = table_of([(f"i{i}", "d", j, 1) for i in range(4) for j in ("a", "b")])
    found = agreement.kappa_against_experts(same, "a", ["b"])
    assert found.kappa == Interval(None, None, None)
    assert found.raw == 1.0
    assert found.kappa.as_dict() == {"value": None, "low": None, "high": None}
    assert agreement.paired_difference(same, "a", "a", ["b"]).difference.value is None


def test_no_limits_are_given_where_many_resamples_are_undefined() -> None:
    values = [(1, 1), (1, 1), (1, 1), (0, 0)]
    rows = [
        (f"i{i}", "d", judge, v)
        for i, pair in enumerate(values)
        for judge, v in zip("ab", pair, strict=True)
    ]
    # A third of the resamples lack the last item and hold one value only.
    assert agreement.kappa_against_experts(table_of(rows), "a", ["b"]).kappa == Interval(
        1.0, None, None
    )
    few = [np.nan] * 4 + [0.1] * 96
    assert agreement.interval(0.1, few) == pytest.approx((0.1, 0.1, 0.1))
    assert agreement.interval(0.1, [np.nan]) == Interval(0.1, None, None)


def test_a_judge_differs_from_itself_by_nothing_and_differences_change_sign() -> None:
    table = random_table(9)
    assert agreement.paired_difference(table, "m", "m", E).difference == Interval(0.0, 0.0, 0.0)
    ab = agreement.paired_difference(table, "m", "e0", E).difference
    ba = agreement.paired_difference(table, "e0", "m", E).difference
    assert ab.value is not None
    assert ab.low is not None
    assert ab.high is not None
    assert ba == pytest.approx((-ab.value, -ab.high, -ab.low), abs=1e-9)


def test_a_difference_is_that_of_the_two_kappas_on_the_same_draws() -> None:
    table = random_table(10)
    found = agreement.paired_difference(table, "m", "e0", E, n_boot=300, seed=3)
    a, b = (
        agreement.kappa_against_experts(table, j, E, n_boot=300, seed=3).kappa for j in ("m", "e0")
    )
    assert a.value is not None
    assert b.value is not None
    assert found.difference.value == pytest.approx(a.value - b.value, abs=EXACT)
    tables = pair_tables(table, ["m", "e0"], E)
    times = agreement.resample(8, 300, 3)
    each = [
        [
            float(agreement.stratified_kappa((t.counts * n[:, None, None, None]).sum(0)))
            for n in times
        ]
        for t in tables
    ]
    assert found.draws == pytest.approx(np.subtract(each[0], each[1]), abs=1e-9)


def test_a_difference_uses_only_cells_that_both_judged() -> None:
    table = random_table(11, missing=0.3)
    lost = int((table["status"] != "ok").sum())
    found = agreement.paired_difference(table, "e0", "m", ["e1", "e2"])
    assert found.n_dropped == lost > 0
    assert found.n_pairs == 2 * (24 - lost)


def test_errors_say_who_or_what_is_missing() -> None:
    table = random_table(0)
    with pytest.raises(ValueError, match=r"no rows of gpt4; the table has e0, e1, e2, m"):
        agreement.kappa_against_experts(table, "gpt4", E)
    with pytest.raises(ValueError, match="no judge is named"):
        agreement.kappa_against_experts(table, "m", [])
    with pytest.raises(ValueError, match=r"7 item\(s\) without a cluster: i1"):
        agreement.kappa_against_experts(table, "m", E, {"i0": "w"})
    apart = pd.concat([table, table_of([("elsewhere", "d0", "x", 1)])])
    with pytest.raises(ValueError, match="x: no verdict on a cell"):
        agreement.kappa_against_experts(apart, "x", E)


@pytest.mark.parametrize("n_items", [60, 240])
def test_the_interval_covers_a_known_kappa_about_as_often_as_its_level_says(n_items: int) -> None:
    # Simulated: judge and expert agree with P = .8 on a fair coin, so kappa is .6; verdicts of
    # one item share a fate, which an interval over single verdicts would not notice.
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 2, (n_items, 3))
        agree = np.where(rng.random((n_items, 1)) < 0.8, 1, 0).repeat(3, axis=1)
        said = np.where(agree == 1, truth, 1 - truth)
        counts = np.zeros((n_items, 1, 2, 2))
        for i, k in itertools.product(range(n_items), range(3)):
            counts[i, 0, said[i, k], truth[i, k]] += 1
        times = agreement.resample(n_items, 400, seed)
        low, high = agreement.interval(
            0.0, agreement.stratified_kappa(np.tensordot(times, counts, 1))
        )[1:]
        assert low is not None
        assert high is not None
        covered += low <= 0.6 <= high
    assert 88 <= covered <= 100


def test_fewer_than_five_clusters_carry_no_limits() -> None:
    table = random_table(3)
    clusters = {f"i{i}": f"w{i % 4}" for i in range(8)}
    found = agreement.kappa_against_experts(table, "m", E, clusters, n_boot=200)
    assert found.kappa.value is not None
    assert found.kappa[1:] == (None, None)
