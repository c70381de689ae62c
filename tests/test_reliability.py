from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.metrics.agreement import AnnotationTask
from nltk.metrics.distance import binary_distance, interval_distance
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_fleiss

from cqa_helpers import panels, reliability
from cqa_helpers.agreement import Interval
from cqa_helpers.reliability import clusters_for, fleiss, krippendorff_alpha
from panel_tables import (
    FLEISS,
    KRIPPENDORFF,
    copied,
    frame,
    from_counts,
    from_lines,
    simulated,
    works,
)

LEVELS: tuple[reliability.Level, ...] = ("nominal", "ordinal", "interval")
NEAR = 1e-9

# Judges by items; None where there is no value.
matrices = st.integers(2, 5).flatmap(
    lambda m: st.lists(
        st.lists(st.one_of(st.none(), st.integers(1, 5)), min_size=m, max_size=m),
        min_size=1, max_size=12,
    )
)  # fmt: skip


def from_matrix(items: list[list[int | None]]) -> pd.DataFrame:
    return frame(
        (f"i{i:02}", "d", f"j{j}", value)
        for i, values in enumerate(items)
        for j, value in enumerate(values)
    )


def point(table: pd.DataFrame, level: reliability.Level = "nominal") -> float | None:
    return krippendorff_alpha(table, level, n_boot=0).alpha.value


def alpha_by_definition(items: list[list[int | None]], level: str) -> float | None:
    """Krippendorff's alpha value by value: every pair within units, and every pair at all."""
    units = [[v for v in item if v is not None] for item in items]
    units = [unit for unit in units if len(unit) > 1]
    said = [v for unit in units for v in unit]

    def distance(a: int, b: int) -> float:
        if level == "nominal":
            return float(a != b)
        if level == "interval":
            return float((a - b) ** 2)
        low, high = sorted((a, b))
        between = sum(low <= v <= high for v in said)
        return (between - (said.count(a) + said.count(b)) / 2) ** 2 if a != b else 0.0

    observed = sum(
        distance(a, b) / (len(unit) - 1)
        for unit in units
        for a, b in itertools.permutations(unit, 2)
    )
    expected = sum(distance(a, b) for a, b in itertools.permutations(said, 2))
    return 1 - observed * (len(said) - 1) / expected if expected else None


@pytest.mark.parametrize(
    ("level", "printed"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_equals_krippendorffs_own_example_with_missing_values(
    level: reliability.Level, printed: float
) -> None:
    found = krippendorff_alpha(from_lines(KRIPPENDORFF), level)
    assert found.alpha.value == pytest.approx(printed, abs=5e-4)
    # Unit 12 has one value: it is counted, and says nothing.
    assert found[1:] == (11, 4, 40, 1, 11)


def test_fleiss_equals_the_psychiatric_diagnoses_of_fleiss_1971() -> None:
    counts = [[int(n) for n in row] for row in FLEISS.split()]
    assert [sum(row) for row in counts] == [6] * 30
    found = fleiss(from_counts(counts), n_boot=200)
    assert found.kappa.value == pytest.approx(0.430, abs=5e-4)
    assert found.kappa.low < 0.430 < found.kappa.high
    assert found[1:] == (30, 6, 180, 0, 30)
    # Each diagnosis against all others; printed with three decimals.
    for k, printed in enumerate([0.245, 0.245, 0.520, 0.471, 0.566]):
        one = from_counts([[row[k], 6 - row[k]] for row in counts])
        assert fleiss(one, n_boot=0).kappa.value == pytest.approx(printed, abs=6e-4)


def test_fleiss_equals_the_example_of_fourteen_raters_on_ten_subjects() -> None:
    # The example that the encyclopaedia article "Fleiss' kappa" works through; result 0.210.
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    found = fleiss(from_counts(counts), n_boot=0).kappa.value
    assert found == pytest.approx(0.210, abs=5e-4)


@settings(max_examples=50, deadline=None)
@given(matrices)
def test_alpha_equals_nltk_and_the_definition_on_any_table_with_gaps(
    items: list[list[int | None]],
) -> None:
    table = from_matrix(items)
    for level in LEVELS:
        expected = alpha_by_definition(items, level)
        found = point(table, level)
        assert found == (expected if expected is None else pytest.approx(expected, abs=NEAR))
    if point(table) is None:
        return
    data = [
        (f"j{j}", f"i{i}", value)
        for i, values in enumerate(items)
        for j, value in enumerate(values)
        if value is not None
    ]
    for level, distance in (("nominal", binary_distance), ("interval", interval_distance)):
        oracle = AnnotationTask(data, distance=distance).alpha()
        assert point(table, level) == pytest.approx(oracle, abs=NEAR)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(2, 5), st.integers(2, 10), st.integers(0, 10**6))
def test_fleiss_equals_statsmodels_where_all_units_have_as_many(
    raters: int, values: int, items: int, seed: int
) -> None:
    counts = np.random.default_rng(seed).multinomial(raters, [1 / values] * values, size=items)
    found = fleiss(from_counts(counts), n_boot=0).kappa.value
    if (counts.sum(0) > 0).sum() == 1:
        assert found is None
        return
    assert found == pytest.approx(statsmodels_fleiss(counts), abs=NEAR)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=15))
def test_fleiss_with_unequal_numbers_of_two_values_is_that_of_fleiss_and_cuzick(
    counts: list[tuple[int, int]],
) -> None:
    used = np.array([c for c in counts if sum(c) > 1], dtype=float).reshape(-1, 2)
    found = fleiss(from_counts(counts), n_boot=0).kappa.value if sum(map(sum, counts)) else None
    m, yes = used.sum(1), used[:, 0]
    if not len(used) or yes.sum() in (0, m.sum()):
        assert found is None
        return
    p, overall = yes / m, yes.sum() / m.sum()
    room = len(m) * (m.mean() - 1) * overall * (1 - overall)
    assert found == pytest.approx(1 - (m * p * (1 - p)).sum() / room, abs=NEAR)


@settings(max_examples=40, deadline=None)
@given(matrices, st.randoms(use_true_random=False))
def test_the_order_and_names_of_judges_and_items_do_not_matter(
    items: list[list[int | None]], random: object
) -> None:
    mixed = [random.sample(item, len(item)) for item in items]  # type: ignore[attr-defined]
    random.shuffle(mixed)  # type: ignore[attr-defined]
    one, other = from_matrix(items), from_matrix(mixed)
    for level in LEVELS:
        a, b = point(one, level), point(other, level)
        assert a == (b if b is None else pytest.approx(b, abs=NEAR))
    a, b = (fleiss(t, n_boot=0).kappa.value for t in (one, other))
    assert a == (b if b is None else pytest.approx(b, abs=NEAR))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=12), st.integers(2, 5))
def test_perfect_agreement_is_one_and_no_variation_is_null(truth: list[int], judges: int) -> None:
    table = from_matrix([[v] * judges for v in truth])
    same = len(set(truth)) == 1
    for level in LEVELS:
        found = point(table, level)
        assert found is None if same else found == pytest.approx(1, abs=NEAR)
    found = fleiss(table, n_boot=0).kappa.value
    assert found is None if same else found == pytest.approx(1, abs=NEAR)


def test_answers_that_ignore_the_item_agree_at_about_zero() -> None:
    rng = np.random.default_rng(5)
    said = rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1], size=(1500, 3)).tolist()
    table = from_matrix(said)
    for level in LEVELS:
        found = krippendorff_alpha(table, level, n_boot=300).alpha
        assert found.value == pytest.approx(0, abs=0.04)
        assert found.low < 0 < found.high
    assert fleiss(table, n_boot=0).kappa.value == pytest.approx(0, abs=0.04)


@settings(max_examples=30, deadline=None)
@given(matrices)
def test_rows_without_a_value_are_counted_and_never_values(items: list[list[int | None]]) -> None:
    table = from_matrix(items)
    kept = table[table["status"] == "ok"]
    full = krippendorff_alpha(table, n_boot=0)
    assert full.n_values == sum(len(u) for u in given_values(items) if len(u) > 1)
    assert full.n_single == sum(len(u) < 2 for u in given_values(items))
    if len(kept):
        assert full[:4] == krippendorff_alpha(kept, n_boot=0)[:4]
    row = reliability.by_dimension(table, n_boot=0).iloc[0]
    assert row["n_missing"] == (table["status"] != "ok").sum()
    assert row["n_verdicts"] == len(kept)


def given_values(items: list[list[int | None]]) -> list[list[int]]:
    return [[v for v in item if v is not None] for item in items]


def test_a_resample_with_every_cluster_once_is_the_estimate_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = simulated(4, n_items=20)
    monkeypatch.setattr(panels, "resample", lambda n, n_boot, rng: np.ones((n_boot, n), int))
    for level in LEVELS:
        found = krippendorff_alpha(table, level, clusters=works(table, 7), n_boot=3).alpha
        assert found.value == pytest.approx(point(table, level), abs=1e-12)
        assert found[1:] == pytest.approx((found.value, found.value), abs=1e-12)
    found = fleiss(table, clusters=works(table, 7), n_boot=3).kappa
    assert found[1:] == pytest.approx((found.value, found.value), abs=1e-12)


@pytest.mark.parametrize("measure", [*LEVELS, "fleiss"])
def test_the_bootstrap_equals_one_that_copies_rows_one_resample_at_a_time(measure: str) -> None:
    # The ordinal distance of each copy comes from that copy's own values.
    table = simulated(7, n_items=15)
    of_item = works(table, 5)

    def value(rows: pd.DataFrame, **more: object) -> Interval:
        if measure == "fleiss":
            return fleiss(rows, **more).kappa
        return krippendorff_alpha(rows, measure, **more).alpha

    found = value(table, clusters=of_item, n_boot=60, seed=3)
    drawn = np.random.default_rng(3).multinomial(5, [1 / 5] * 5, size=60)
    by_hand = []
    for times in drawn:
        rows = copied(table, of_item, times)
        if measure == "fleiss":
            by_hand.append(value(rows, n_boot=0).value)
            continue
        units = rows[rows["status"] == "ok"].groupby("item_id")["value"].agg(list).tolist()
        by_hand.append(alpha_by_definition(units, measure))
    assert found[1:] == pytest.approx(np.quantile(by_hand, [0.025, 0.975]), abs=NEAR)


def test_an_interval_needs_five_clusters() -> None:
    table = simulated(3, n_items=30)
    for n in (1, 4, 5):
        of_item = works(table, n)
        found = krippendorff_alpha(table, clusters=of_item, n_boot=300)
        row = reliability.by_dimension(table, clusters=of_item, n_boot=300).iloc[0]
        assert found.n_clusters == n
        assert found.alpha.value == pytest.approx(point(table), abs=1e-12)
        limits = (found.alpha.low, fleiss(table, clusters=of_item).kappa.high, row["mean_low"])
        assert [pd.notna(limit) for limit in limits] == [n >= 5] * 3


def test_the_draws_do_not_depend_on_chunks_and_progress_counts_the_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = simulated(2, n_items=25, missing=0)
    whole = krippendorff_alpha(table, "ordinal", n_boot=100, seed=np.random.default_rng(9))
    monkeypatch.setattr(panels, "CHUNK", 25 * 30)
    seen: list[tuple[int, int]] = []
    parts = krippendorff_alpha(
        table, "ordinal", n_boot=100, seed=9, progress=lambda *at: seen.append(at)
    )
    assert parts.alpha == pytest.approx(whole.alpha, abs=1e-12)
    assert seen == [(30, 100), (60, 100), (90, 100), (100, 100)]


def test_chance_within_dimensions_gives_nothing_for_knowing_the_dimension() -> None:
    # All say 1 on one dimension and 5 on the other, but for a coin's toss now and then.
    rng = np.random.default_rng(8)
    rows = [
        (f"i{i:03}", d, f"j{j}", usual if rng.random() < 0.9 else 3)
        for i in range(300) for d, usual in (("one", 1), ("two", 5)) for j in range(3)
    ]  # fmt: skip
    table = frame(rows)
    for level in LEVELS:
        within, pooled = (
            krippendorff_alpha(table, level, n_boot=0, chance=c).alpha.value
            for c in ("within-dimension", "pooled")
        )
        assert within == pytest.approx(0, abs=0.06)
        assert pooled > 0.6
    assert fleiss(table, n_boot=0).kappa.value == pytest.approx(0, abs=0.06)
    assert fleiss(table, n_boot=0, chance="pooled").kappa.value > 0.6
    for d in ("one", "two"):
        alone = table[table["dimension"] == d]
        assert point(table[table["dimension"] == d]) == point(frame(rows_of(alone)))


def rows_of(table: pd.DataFrame) -> list[tuple[str, str, str, int]]:
    columns = ["item_id", "dimension", "judge_id", "value"]
    return [(i, "d", j, int(v)) for i, _, j, v in table[columns].itertuples(index=False)]


def test_alpha_over_dimensions_is_their_mean_weighted_by_the_room_chance_leaves() -> None:
    table = simulated(6, n_items=30, dimensions=("a", "b"))
    for level in LEVELS:
        above, below = 0.0, 0.0
        for d in ("a", "b"):
            rows = table[(table["dimension"] == d) & (table["status"] == "ok")]
            units = [u for u in rows.groupby("item_id")["value"].agg(list) if len(u) > 1]
            said = pd.Series([v for u in units for v in u])
            at = said if level == "interval" else said.rank(pct=True)
            gap = (at.to_numpy()[:, None] - at.to_numpy()[None, :]) ** 2
            room = ((gap > 0) if level == "nominal" else gap).sum() / (len(said) - 1)
            above += room * alpha_by_definition(units, level)
            below += room
        assert point(table, level) == pytest.approx(above / below, abs=NEAR)


def test_the_interval_covers_a_known_alpha_about_as_often_as_its_level_says() -> None:
    # Simulated: two of three works hold an easy passage, the third a hard one, and all three
    # verdicts of a work share that fate. The population's alpha is that of very many works.
    def draw(n: int, seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        truth = rng.integers(1, 4, (n, 3, 1))
        right = rng.random((n, 3, 3)) < np.where(rng.random((n, 1, 1)) < 2 / 3, 0.9, 0.3)
        said = np.where(right, truth, rng.integers(1, 4, (n, 3, 3)))
        w, i, j = (axis.ravel() for axis in np.indices(said.shape))
        table = pd.DataFrame({
            "item_id": w * 3 + i, "dimension": "d", "judge_id": j, "value": said.ravel(),
            "scale": "1-3", "status": "ok", "probability": np.nan,
        })  # fmt: skip
        return table.astype({"item_id": str, "judge_id": str, "value": "Int64"})

    truth = point(draw(20_000, 1), "ordinal")
    covered = 0
    for seed in range(100):
        table = draw(60, 100 + seed)
        clusters = {i: str(int(i) // 3) for i in set(table["item_id"])}
        found = krippendorff_alpha(table, "ordinal", clusters=clusters, n_boot=300, seed=seed)
        assert found.n_clusters == 60
        covered += found.alpha.low <= truth <= found.alpha.high
    assert 87 <= covered <= 99


def test_the_works_needed_for_a_half_width_are_about_right_when_they_are_drawn() -> None:
    # Simulated: the extrapolation from 80 works to four times as many, against 320 works drawn.
    population = simulated(11, n_items=3000, n_judges=3, missing=0.1)
    items = np.array(sorted(set(population["item_id"])))
    rng = np.random.default_rng(0)

    def alpha(n: int) -> Interval:
        own = set(rng.choice(items, n, replace=False))
        return krippendorff_alpha(population[population["item_id"].isin(own)], n_boot=600).alpha

    def half(found: Interval) -> float:
        return (found.high - found.low) / 2

    start = [alpha(80) for _ in range(8)]
    wanted = float(np.mean([half(a) for a in start])) / 2
    needed = [clusters_for([wanted], a, 80)[wanted] for a in start]
    # One narrow or wide start misses by the square of its error; their mean should not.
    assert np.mean(needed) == pytest.approx(320, rel=0.15)
    drawn = [half(alpha(round(np.mean(needed)))) for _ in range(8)]
    assert np.mean(drawn) == pytest.approx(wanted, rel=0.1)


def test_works_needed_follow_the_square_root_law_from_draws_or_limits() -> None:
    draws = np.random.default_rng(1).normal(0.5, 0.1, 20_000)
    assert clusters_for([0.098], draws, 100)[0.098] == pytest.approx(400, rel=0.05)
    limits = Interval(0.5, 0.5 - 0.196, 0.5 + 0.196)
    assert clusters_for([0.392, 0.196, 0.098, 0.049], limits, 100) == {
        0.392: 25, 0.196: 100, 0.098: 400, 0.049: 1600,
    }  # fmt: skip
    narrow = Interval(0.5, 0.5 - 0.1645, 0.5 + 0.1645)
    assert clusters_for([0.1645], narrow, 50, level_ci=0.9) == {0.1645: 50}


def test_works_needed_are_null_without_spread_and_refuse_nonsense() -> None:
    for nothing in (Interval(None, None, None), Interval(0.4, None, None), Interval(1.0, 1.0, 1.0)):
        assert clusters_for([0.1], nothing, 50) == {0.1: None}
    assert clusters_for([0.1], [0.1, 0.2, np.nan, np.nan], 50) == {0.1: None}
    with pytest.raises(ValueError, match="half-widths above 0"):
        clusters_for([0.1, 0], Interval(0.4, 0.3, 0.5), 50)
    with pytest.raises(ValueError, match="2 clusters or more"):
        clusters_for([0.1], Interval(0.4, 0.3, 0.5), 1)


def test_the_table_by_dimension_holds_what_the_single_measures_give() -> None:
    yes_no = simulated(3, n_items=20, dimensions=("plot",), top=2)
    yes_no = yes_no.assign(value=yes_no["value"] - 1, scale="0-1")
    table = pd.concat([simulated(4, n_items=20, dimensions=("voice",)), yes_no])
    seen: list[tuple[int, int]] = []
    of_item = works(table, 6)
    found = reliability.by_dimension(
        table, clusters=of_item, n_boot=50, seed=2, progress=lambda *at: seen.append(at)
    )
    assert list(found["dimension"]) == ["plot", "voice"]
    assert list(found["scale"]) == ["0-1", "1-5"]
    assert seen == [(1, 2), (2, 2)]
    for _, row in found.iterrows():
        d = row["dimension"]
        nominal = krippendorff_alpha(table, "nominal", d, of_item, 50, 2)
        ordinal = krippendorff_alpha(table, "ordinal", d, of_item, 50, 2).alpha
        kappa = fleiss(table, d, of_item, 50, 2).kappa
        own = {"alpha_nominal": nominal.alpha, "alpha_ordinal": ordinal, "fleiss": kappa}
        for name, expected in own.items():
            got = [row[name], row[f"{name}_low"], row[f"{name}_high"]]
            if name == "alpha_ordinal" and d == "plot":
                assert all(pd.isna(got))
            else:
                assert got == pytest.approx(list(expected), abs=1e-12)
        assert tuple(row[list(reliability.COUNTS)]) == nominal[1:]
        rows = table[(table["dimension"] == d) & (table["status"] == "ok")]
        top = 1 if d == "plot" else 5
        assert row["prevalence"] == pytest.approx((rows["value"] == top).mean())
        assert row["mean"] == pytest.approx(rows["value"].mean())
        by_work = rows.assign(work=rows["item_id"].map(of_item)).groupby("work")["value"]
        sums, sizes = by_work.sum().to_numpy(float), by_work.size().to_numpy(float)
        times = np.random.default_rng(2).multinomial(6, [1 / 6] * 6, size=50)
        low, high = np.quantile((times @ sums) / (times @ sizes), [0.025, 0.975])
        assert (row["mean_low"], row["mean_high"]) == pytest.approx((low, high), abs=1e-12)
    again = reliability.by_dimension(table, ["voice"], of_item, 50, 2)
    assert again.iloc[0].equals(found.iloc[1].rename(0))


def test_a_panel_with_nothing_to_compare_is_null_and_still_counted() -> None:
    alone = frame([("i1", "d", "a", 1), ("i2", "d", "b", 2), ("i3", "d", "a", None)])
    found = krippendorff_alpha(alone)
    assert found == (Interval(None, None, None), 0, 0, 0, 3, 0)
    assert fleiss(alone).kappa == Interval(None, None, None)
    row = reliability.by_dimension(alone, n_boot=50).iloc[0]
    assert (row["n_single"], row["n_verdicts"], row["n_missing"]) == (3, 2, 1)
    assert row["mean"] == 1.5
    none_at_all = alone[alone["status"] != "ok"]
    assert krippendorff_alpha(none_at_all).alpha.value is None
    assert reliability.by_dimension(none_at_all).iloc[0]["n_missing"] == 1


def test_what_cannot_be_measured_is_refused_with_its_name() -> None:
    table = simulated(0)
    with pytest.raises(ValueError, match="no rows of dimension 'voice'; the table has d"):
        krippendorff_alpha(table, dimension="voice")
    with pytest.raises(ValueError, match="no rows of nobody"):
        krippendorff_alpha(table, judges=["j0", "nobody"])
    with pytest.raises(ValueError, match="without a cluster"):
        fleiss(table, clusters={"i000": "w"})
    twice = pd.concat([table, table[table["status"] == "ok"].head(1)])
    with pytest.raises(ValueError, match="j1 has several verdicts on i000, d: keep one repeat"):
        krippendorff_alpha(twice)
    other = simulated(1, dimensions=("e",)).assign(scale="1-7")
    both = pd.concat([table, other])
    with pytest.raises(ValueError, match="scales 1-5, 1-7 cannot be pooled"):
        krippendorff_alpha(both, chance="pooled")
    with pytest.raises(ValueError, match="interval alpha needs one scale, not 1-5, 1-7"):
        krippendorff_alpha(both, "interval")
    assert krippendorff_alpha(both, "ordinal").alpha.value is not None
    mixed = pd.concat([table, simulated(1).assign(scale="1-7", judge_id="x")])
    with pytest.raises(ValueError, match="cannot be pooled"):
        krippendorff_alpha(mixed.drop_duplicates(["item_id", "judge_id"]), dimension="d")
