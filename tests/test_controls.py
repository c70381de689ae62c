from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqa_helpers.controls import ControlError, borrowed, to_flip

tables = st.integers(1, 60).flatmap(
    lambda n: st.lists(
        st.lists(st.sampled_from([0.0, 1.0, np.nan]), min_size=4, max_size=4),
        min_size=n, max_size=n,
    )
)  # fmt: skip


@given(rows=tables, percent=st.integers(0, 100), seed=st.integers(0, 999))
def test_the_share_to_flip_is_exact_and_even_over_dimensions_and_values(
    rows: list[list[float]], percent: int, seed: int
) -> None:
    values = np.array(rows)
    chosen = to_flip(values, percent, np.random.default_rng(seed))
    known = ~np.isnan(values)
    assert not (chosen & ~known).any()
    assert chosen.sum() == (percent * known.sum() + 50) // 100
    for d in range(4):
        if known[:, d].any():
            share = chosen.sum() * known[:, d].sum() / known.sum()
            assert abs(chosen[:, d].sum() - share) < 1
        for value in (0.0, 1.0):
            cell = values[:, d] == value
            if cell.any():
                part = chosen[:, d].sum() * cell.sum() / known[:, d].sum()
                assert abs(chosen[cell, d].sum() - part) < 1


def test_a_seed_fixes_what_is_flipped() -> None:
    values = np.tile([0.0, 1.0], (40, 2))
    first, again, other = (to_flip(values, 20, np.random.default_rng(s)) for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_nothing_to_borrow_is_said() -> None:
    with pytest.raises(ControlError, match="at least two"):
        borrowed([], np.random.default_rng(1))


@pytest.mark.parametrize("seed", range(5))
def test_the_larger_remainder_is_rounded_up(seed: int) -> None:
    values = np.full((7, 2), np.nan)
    values[:3, 0], values[:, 1] = 1, 1
    # One of ten: the three are owed 0.3 of it, the seven 0.7.
    chosen = to_flip(values, 10, np.random.default_rng(seed))
    assert chosen.sum(axis=0).tolist() == [0, 1]


def test_equal_remainders_are_drawn() -> None:
    values = np.ones((5, 2))
    flipped = [to_flip(values, 10, np.random.default_rng(s)).sum(axis=0).tolist() for s in range(9)]
    assert sorted({tuple(f) for f in flipped}) == [(0, 1), (1, 0)]
