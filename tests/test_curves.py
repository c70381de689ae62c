from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from cqa_helpers import curves, results
from cqa_helpers.agreement import Interval
from cqa_helpers.curves import NOTHING, learning_curve

SIZES = (10, 25, 50, 100)


def runs(
    n_seeds: int = 5,
    noise: float = 0.01,
    sizes: Sequence[int] = SIZES,
    law: tuple[float, float, float] = (0.9, 2.0, 0.8),
    rng: int = 0,
    own: float = 0.0,
) -> pd.DataFrame:
    """Simulated runs: a law, a push of each seed's own at all sizes, and noise."""
    draw = np.random.default_rng(rng)
    a, b, c = law
    push = draw.normal(0, own, n_seeds)
    return pd.DataFrame(
        [
            {"n": n, "seed": s, "value": a - b * n**-c + push[s] + draw.normal(0, noise)}
            for n in sizes
            for s in range(n_seeds)
        ]
    )


def test_a_planted_curve_is_recovered_with_its_asymptote_in_the_interval() -> None:
    found = learning_curve(runs(20, 0.005))
    assert found.fit is not None
    assert tuple(found.fit) == pytest.approx((0.9, 2.0, 0.8), rel=0.15)
    assert found.asymptote.low is not None
    assert found.asymptote.high is not None
    assert found.asymptote.low < 0.9 < found.asymptote.high
    assert found.notes == ()


def test_the_band_covers_as_often_as_it_says() -> None:
    hits = 0
    for k in range(60):
        at = learning_curve(runs(rng=k, own=0.02), n_boot=300, rng=k).at(50)
        assert at.low is not None
        assert at.high is not None
        hits += at.low <= 0.9 - 2 * 50**-0.8 <= at.high
    # 57 of 60 are expected; fewer than 51 in less than 1 of 100 such tests.
    assert hits >= 51


def test_a_push_of_a_seed_at_all_sizes_widens_the_band() -> None:
    def width(rows: pd.DataFrame) -> float:
        at = learning_curve(rows, n_boot=500).at(40)
        assert at.low is not None
        assert at.high is not None
        return at.high - at.low

    together, apart = [], []
    for k in range(5):
        rows = runs(6, 0.005, own=0.03, rng=k)
        order = np.random.default_rng(k)
        # The same values, given to other seeds: the pushes no longer go together.
        values = [order.permutation(g) for _, g in rows.groupby("n")["value"]]
        together.append(width(rows))
        apart.append(width(rows.assign(value=np.concatenate(values))))
    assert np.mean(together) > 1.2 * np.mean(apart)


def test_the_middle_of_the_band_at_a_size_is_near_the_t_interval_of_its_mean() -> None:
    found = learning_curve(runs(6, 0.02))
    (row,) = found.sizes[found.sizes["n"] == 100].to_dict("records")
    at = found.at(100)
    assert at.low is not None
    assert at.high is not None
    assert at.high - at.low == pytest.approx(row["high"] - row["low"], rel=0.35)


@pytest.mark.parametrize("sizes", [(100,), (25, 100)])
def test_fewer_than_three_sizes_have_means_and_no_curve(sizes: tuple[int, ...]) -> None:
    found = learning_curve(runs(5, sizes=sizes))
    assert found.fit is None
    assert found.band.empty
    assert found.asymptote == found.at(100) == NOTHING
    assert f"{len(sizes)} size(s) cannot tell" in found.notes[0]
    assert found.sizes["low"].notna().all()
    reach = found.reaches(0.6)
    assert reach.n == NOTHING
    assert "no fitted curve" in (reach.why or "")


def test_few_seeds_have_a_curve_without_a_band() -> None:
    found = learning_curve(runs(4))
    assert found.fit is not None
    assert found.asymptote.low is None
    assert found.band["value"].notna().all()
    assert found.band["low"].isna().all()
    assert "4 seed(s) carry no band" in found.notes[0]
    assert found.reaches(0.6).n == NOTHING
    assert "too few" in curves.headline(found)


def test_one_run_a_size_has_no_limits_at_all() -> None:
    found = learning_curve(runs(1))
    assert found.sizes[["sd", "low", "high"]].isna().all(axis=None)


def test_the_curve_reaches_what_it_clears_and_says_where() -> None:
    found = learning_curve(runs(8, 0.004))
    inside, far = found.reaches(0.7), found.reaches(0.885)
    # 0.9 - 2 n^-0.8 is 0.7 at n = 17.8, and 0.885 at 453.
    assert inside.n == pytest.approx((18, 17, 19), abs=1)
    assert (inside.beyond, inside.far) == (False, False)
    assert far.n.low is not None
    assert far.n.high is not None
    assert far.n.low < 453 < far.n.high
    assert (far.beyond, far.far) == (True, True)
    assert found.reaches(0.87).beyond
    assert not found.reaches(0.87).far
    # Below the smallest size nothing was measured.
    assert found.reaches(0.2).n == Interval(10, 10, 10)


def test_what_the_asymptote_does_not_clear_is_not_reached() -> None:
    found = learning_curve(runs(8, 0.004))
    assert found.asymptote.low is not None
    for target in (found.asymptote.low + 1e-6, 0.95, 1.5):
        reach = found.reaches(target)
        assert reach.n == NOTHING
        assert "levels off" in (reach.why or "")
    assert found.reaches(found.asymptote.low - 0.005).n.value is not None


def test_a_curve_that_does_not_rise_is_flat_and_promises_nothing() -> None:
    rows = runs(6, 0.01, law=(0.6, 0.0, 1.0), rng=3)
    falling = rows.assign(value=rows["value"] - rows["n"] * 0.001)
    found = learning_curve(falling)
    assert found.fit is not None
    assert found.fit.b == 0
    assert "no rise is seen" in found.notes[0]
    assert "a rise is not shown" in curves.headline(found)
    assert found.reaches(0.7).n == NOTHING


def test_a_curve_that_is_still_rising_says_its_end_is_our_bound() -> None:
    rows = runs(6, 0.001, law=(0.2, 0.0, 1.0))
    rows["value"] += 0.1 * np.log(rows["n"])
    found = learning_curve(rows)
    assert any("bound" in note or "edge" in note for note in found.notes)
    assert "not pinned down" in curves.headline(found)


def test_missing_runs_are_counted_and_change_nothing_else() -> None:
    rows = runs(6)
    empty = pd.DataFrame({"n": [100, 400], "seed": [77, 78], "value": [None, None]})
    whole, lacking = learning_curve(rows), learning_curve(pd.concat([rows, empty]))
    assert lacking.fit == whole.fit
    assert lacking.asymptote == whole.asymptote
    assert list(lacking.sizes["missing"]) == [0, 0, 0, 1, 1]
    # A size without a value was not measured.
    assert lacking.band["n"].max() == whole.band["n"].max() == 400
    assert lacking.reaches(0.87).beyond


def test_seeds_need_not_have_every_size() -> None:
    rows = runs(7).drop(index=[3, 11, 20])
    found = learning_curve(rows)
    assert list(found.sizes["runs"]) == [6, 6, 6, 7]
    assert found.asymptote.low is not None


def test_the_order_of_rows_does_not_matter_and_a_seed_repeats_the_band() -> None:
    rows = runs(6)
    one, two = (
        learning_curve(rows, rng=4),
        learning_curve(rows.sample(frac=1, random_state=1), rng=4),
    )
    assert one.fit == pytest.approx(two.fit)
    pd.testing.assert_frame_equal(one.band, two.band)


def test_the_band_runs_to_four_times_the_largest_size_and_widens_there() -> None:
    band = learning_curve(runs(6)).band
    assert (band["n"].min(), band["n"].max()) == (10, 400)
    assert set(SIZES) <= set(band["n"])
    assert (band["low"].diff().dropna() >= 0).all()
    assert (band["high"].diff().dropna() >= 0).all()
    assert (band["high"] <= 1).all()
    width = (band["high"] - band["low"]).to_numpy()
    assert width[-1] > width[band["n"].searchsorted(100)]


def test_no_limit_lies_above_the_highest_value_there_is() -> None:
    found = learning_curve(runs(5, 0.08, law=(0.99, 1.0, 1.0)))
    assert found.sizes["high"].max() == 1
    assert learning_curve(runs(5, 0.08, law=(0.99, 1.0, 1.0)), ceiling=2).sizes["high"].max() > 1


def test_a_pool_that_is_used_up_is_said() -> None:
    assert any("share most or all of the 100" in n for n in learning_curve(runs(), pool=100).notes)
    assert learning_curve(runs(20, 0.005), pool=1000).notes == ()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (runs().drop(columns="n"), "lack n"),
        (runs().assign(value=None), "no run has a value"),
        (runs().assign(n=0, seed=range(20)), "from 1"),
        (pd.concat([runs(), runs()]), "more than one row"),
    ],
)
def test_rows_that_are_no_curve_are_refused(rows: pd.DataFrame, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        learning_curve(rows)


def test_the_table_has_a_row_a_size_and_results_hold_no_draws() -> None:
    found = learning_curve(runs(20, 0.005))
    table = curves.as_rows(found)
    assert list(table["Annotations"]) == [10, 25, 50, 100]
    assert table["Fitted curve"].iloc[3] == tuple(found.at(100))
    assert "Fitted curve" not in curves.as_rows(learning_curve(runs(sizes=(10, 100))))
    saved = json.loads(json.dumps(results.plain(found), allow_nan=False))
    assert set(saved) == {"sizes", "fit", "asymptote", "notes", "n_seeds"}
    assert saved["sizes"][0]["runs"] == 20


def test_the_headline_names_a_level_only_where_it_is_pinned_down() -> None:
    said = curves.headline(learning_curve(runs(20, 0.005)))
    assert said.startswith(
        "From 10 to 100 annotations, mean AUC goes from 0.58 to 0.85, and levels"
    )
    assert curves.headline(learning_curve(runs(sizes=(100,), noise=0))) == (
        "AUC 0.85 at 100 annotations"
    )
