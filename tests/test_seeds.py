from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cqa_helpers import seeds
from cqa_helpers.agreement import Interval
from cqa_helpers.seeds import seeds_for, share_beating, t_interval


def test_the_share_has_clopper_and_pearsons_limits() -> None:
    # 4 of 5: 0.2836 to 0.9949, the exact limits of published tables.
    found = share_beating([0.8, 0.9, 0.7, 0.95, 0.91], 0.75)
    assert found.share == pytest.approx((0.8, 0.2836, 0.9949), abs=1e-4)
    exact = stats.binomtest(4, 5).proportion_ci(method="exact")
    assert found.share[1:] == pytest.approx((exact.low, exact.high))


def test_missing_is_neither_a_win_nor_a_loss_and_is_counted() -> None:
    with_gaps = share_beating([0.8, None, 0.7, float("nan")], 0.75)
    without = share_beating([0.8, 0.7], 0.75)
    assert (with_gaps.n_known, with_gaps.n_missing) == (2, 2)
    assert (with_gaps.share, with_gaps.next_seed) == (without.share, without.next_seed)
    nothing = share_beating([None], 0.5)
    assert nothing.share == Interval(None, None, None)
    assert nothing.next_seed is None
    assert seeds.headline(nothing) == "No seed has a value to set against the reference"


def test_a_tie_is_no_win() -> None:
    found = share_beating([0.5, 0.5, 0.6], 0.5)
    assert (found.wins, found.ties) == (1, 2)


def test_the_chance_of_a_next_seed_by_hand() -> None:
    # Mean 0.8, sd 0.1, 3 seeds: t = 0.1 / (0.1 √(4/3)) = 0.8660 on 2 df, a chance of 0.7611.
    found = share_beating([0.7, 0.8, 0.9], 0.7)
    assert found.next_seed == pytest.approx(0.5 + 0.8660 / (2 * math.sqrt(2 + 0.75)), abs=1e-4)
    assert share_beating([0.7, 0.8, 0.9], 0.8).next_seed == pytest.approx(0.5)
    assert share_beating([0.8], 0.7).next_seed is None
    assert share_beating([0.8, 0.8], 0.7).next_seed is None


@given(st.lists(st.one_of(st.none(), st.floats(0, 1, width=16)), max_size=12),
       st.floats(0, 1, width=16))  # fmt: skip
def test_all_seeds_are_accounted_for(values: list[float | None], reference: float) -> None:
    found = share_beating(values, reference)
    losses = sum(v is not None and v < reference for v in values)
    assert found.wins + found.ties + losses == found.n_known
    assert found.n_known + found.n_missing == len(values)
    if found.n_known:
        assert found.share.low is not None
        assert found.share.value is not None
        assert found.share.high is not None
        assert 0 <= found.share.low <= found.share.value <= found.share.high <= 1


def test_a_reference_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        share_beating([0.5], float("nan"))
    with pytest.raises(ValueError, match="finite"):
        share_beating([math.inf], 0.5)


@given(st.floats(0.001, 0.3), st.floats(0.005, 0.2))
def test_the_number_of_seeds_is_the_smallest_that_is_precise_enough(sd: float, half: float) -> None:
    def width(k: int) -> float:
        return float(stats.t.ppf(0.975, k - 1)) * sd / math.sqrt(k)

    k = seeds_for(sd, half)
    assert width(k) <= half
    assert k == 2 or width(k - 1) > half


def test_the_number_of_seeds_by_table() -> None:
    # t on 11 df is 2.201: 2.201 x 0.03 / √12 = 0.0191; with 11 seeds 2.228 x 0.03 / √11 = 0.0202.
    assert seeds_for(0.03, 0.02) == 12
    assert seeds_for(0, 0.02) == 2


@pytest.mark.parametrize(
    ("sd", "half_width", "said"),
    [(-1, 0.1, "0 or more"), (math.nan, 0.1, "0 or more"), (0.1, 0, "above 0"),
     (1.0, 1e-6, "million")],
)  # fmt: skip
def test_precision_that_cannot_be_had_is_refused(sd: float, half_width: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        seeds_for(sd, half_width)


def test_a_mean_has_limits_only_where_values_differ() -> None:
    assert t_interval([0.7, 0.8, 0.9]) == pytest.approx((0.8, 0.5516, 1.0484), abs=1e-4)
    assert t_interval([0.8]) == Interval(0.8, None, None)
    assert t_interval([0.7, 0.7]) == Interval(0.7, None, None)
    assert t_interval([0.7, float("nan")]) == Interval(0.7, None, None)
    assert t_interval([]) == Interval(None, None, None)


def test_runs_are_named_once_and_numbers() -> None:
    rows = pd.DataFrame({"n": [1, 2], "seed": [1, None], "value": [0.5, 0.6]})
    with pytest.raises(ValueError, match="no n or seed"):
        seeds.known_runs(rows, ["n", "seed"])


def test_the_table_and_headline_say_what_was_seen() -> None:
    found = share_beating([0.8, 0.9, 0.7, None], 0.75)
    row = seeds.as_rows(found).iloc[0]
    assert row["Seeds above it"] == "2 of 3"
    assert row["Without a value"] == 1
    said = seeds.headline(found, "GPT-4")
    assert said == (
        "2 of 3 seeds beat GPT-4; 1 without a value: too few to say what most seeds would do"
    )


@pytest.mark.parametrize(("value", "said"), [(0.9, "most seeds would"), (0.1, "would not")])
def test_most_seeds_are_spoken_of_only_where_the_limits_do(value: float, said: str) -> None:
    few, many = (share_beating(np.full(n, value).tolist(), 0.5) for n in (5, 6))
    assert "too few" in seeds.headline(few)
    assert seeds.headline(many).endswith(said)
