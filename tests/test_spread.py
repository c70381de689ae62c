from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cqa_helpers import spread
from cqa_helpers.agreement import Interval
from cqa_helpers.seeds import seeds_for
from cqa_helpers.spread import size_for


def runs(
    n_seeds: int | Mapping[int, int], exponent: float = 0.5, rng: int = 0, sd: float = 0.3
) -> pd.DataFrame:
    """Simulated runs whose standard deviation is ``sd * n**-exponent``."""
    draw = np.random.default_rng(rng)
    numbers = n_seeds if isinstance(n_seeds, Mapping) else dict.fromkeys((10, 25, 50, 100), n_seeds)
    return pd.DataFrame(
        [
            {"n": n, "seed": s, "value": 0.8 + draw.normal(0, sd * n**-exponent)}
            for n, k in numbers.items()
            for s in range(k)
        ]
    )


@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.9])
def test_a_planted_fall_of_the_spread_is_recovered_with_many_seeds(exponent: float) -> None:
    law = spread.spread(runs(800, exponent))
    assert law is not None
    assert law.exponent == pytest.approx(exponent, abs=0.05)
    assert law.at(40) == pytest.approx(0.3 * 40**-exponent, rel=0.05)
    assert not law.default


def test_the_log_of_few_seeds_spread_is_not_biased() -> None:
    # Without its correction the log of an sd on 2 df would be 0.29 too low on average.
    found = [spread.spread(runs({50: 3}, rng=k)) for k in range(400)]
    heights = [law.height for law in found if law is not None]
    assert np.mean(heights) == pytest.approx(math.log(0.3 * 50**-0.5), abs=0.1)


def test_one_size_falls_by_our_default_and_says_so() -> None:
    rows = runs({50: 6})
    law = spread.spread(rows)
    assert law is not None
    assert law.exponent == spread.EXPONENT == 0.5
    assert law.default
    found = size_for(rows, law.at(50) * stats.t.ppf(0.975, 5) / 2)
    assert found.n.value == 200
    assert "default" in (found.why or "")
    assert (found.beyond, found.far) == (True, False)


def test_few_points_stay_near_the_default_and_many_do_not() -> None:
    few = [spread.spread(runs(2, 1.2, rng=k)) for k in range(40)]
    many = [spread.spread(runs(100, 1.2, rng=k)) for k in range(5)]
    few_mean, many_mean = (np.mean([law.exponent for law in f if law]) for f in (few, many))
    assert 0.5 < few_mean < 0.9
    assert many_mean > 1.1


def test_the_size_for_a_planted_spread_lies_in_its_interval() -> None:
    found = size_for(runs(400), 0.02)
    truth = (1.96 * 0.3 / 0.02) ** 2
    assert found.n.low is not None
    assert found.n.high is not None
    assert found.n.low < truth < found.n.high
    assert found.n.value == pytest.approx(truth, rel=0.4)
    assert (found.beyond, found.far) == (True, True)


def test_the_interval_covers_as_often_as_it_says() -> None:
    truth = (1.96 * 0.3 / 0.05) ** 2
    hits = 0
    for k in range(200):
        found = size_for(runs(5, rng=k), 0.05).n
        assert found.low is not None
        hits += found.low - 1 <= truth <= (found.high or math.inf)
    assert hits >= 182


@given(st.floats(0.005, 0.3), st.floats(1.05, 4), st.integers(0, 20))
@settings(max_examples=40, deadline=None)
def test_more_precision_never_takes_fewer_annotations(
    half_width: float, factor: float, rng: int
) -> None:
    rows = runs(5, rng=rng)
    loose, tight = size_for(rows, half_width * factor), size_for(rows, half_width)
    if loose.n.value is None:
        assert tight.n.value is None
    elif tight.n.value is not None:
        assert tight.n.value >= loose.n.value >= 10
    for found in (loose.n, tight.n):
        if found.value is not None:
            assert found.low is not None
            assert found.low <= found.value <= (found.high or math.inf)


def test_a_constant_and_the_order_of_rows_do_not_matter() -> None:
    rows = runs(5)
    moved = rows.assign(value=rows["value"] - 0.5).iloc[::-1]
    assert size_for(moved, 0.03) == size_for(rows, 0.03)


def test_a_spread_that_grows_with_size_gives_no_number() -> None:
    found = size_for(runs(100, -0.5, sd=0.003), 0.01)
    assert found.n == Interval(None, None, None)
    assert "does not fall" in (found.why or "")
    assert (found.exponent.value or 0) < 0


def test_a_fall_that_is_not_sure_has_no_upper_limit() -> None:
    rows = runs(12, 0.1, sd=0.1)
    found = size_for(rows, 0.03)
    assert found.exponent.low is not None
    assert found.exponent.low < 0
    assert found.n.value is None or found.n.high is None


def test_an_absurd_precision_is_not_promised() -> None:
    found = size_for(runs(5), 1e-7)
    assert found.n == Interval(None, None, None)
    assert "1,000,000" in (found.why or "")


def test_sizes_without_a_spread_are_left_out_and_named() -> None:
    rows = pd.concat([
        runs(5),
        pd.DataFrame({"n": [200, 400, 400], "seed": [0, 0, 1], "value": [0.8, 0.9, 0.9]}),
        pd.DataFrame({"n": [800], "seed": [0], "value": [None]}),
    ])  # fmt: skip
    law = spread.spread(rows)
    assert law is not None
    assert law.left_out == (200, 400)
    assert law._replace(left_out=()) == spread.spread(runs(5))
    assert "n = 200, 400" in (size_for(rows, 0.03).why or "")


def test_no_spread_at_all_is_said() -> None:
    rows = runs({10: 1, 50: 1})
    assert spread.spread(rows) is None
    found = size_for(rows, 0.03)
    assert found.n == Interval(None, None, None)
    assert "no spread" in (found.why or "")
    assert "cannot be said" in spread.headline(found)
    assert "Seeds" not in " ".join(spread.as_rows(rows, [0.03]).columns)


def test_a_pool_that_is_used_up_is_said() -> None:
    assert "share most or all of the 120" in (size_for(runs(5), 0.05, pool=120).why or "")
    assert size_for(runs(5), 0.05, pool=500).why is None


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        size_for(runs(5), 0)
    with pytest.raises(ValueError, match="from 1"):
        size_for(runs({0: 2}, exponent=0), 0.1)


def test_the_table_says_how_far_each_answer_reaches() -> None:
    rows = runs(60)
    table = spread.as_rows(rows, [0.2, 0.04, 0.02])
    assert list(table["Note"]) == ["", "beyond what was measured", "far beyond what was measured"]
    law = spread.spread(rows)
    assert law is not None
    wanted = [seeds_for(law.at(100), half_width) for half_width in (0.2, 0.04, 0.02)]
    assert list(table["Seeds at 100, for their mean"]) == wanted


def test_the_headline_marks_what_was_not_measured() -> None:
    rows = runs(60)
    near, far = (spread.headline(size_for(rows, h)) for h in (0.1, 0.02))
    assert near.startswith("One run would be within ±0.1 with about ")
    assert "beyond" not in near
    assert far.endswith("far beyond what was measured")
    open_ended = spread.headline(size_for(rows, 0.03)._replace(n=Interval(190, 37, None)))
    assert "(from 37, with no upper bound)" in open_ended
