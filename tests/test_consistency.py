from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqa_helpers import consistency, flips
from cqa_helpers.agreement import Interval

NOTHING = Interval(None, None, None)
QUICK = {"n_boot": 300, "seed": 1}
Answer = tuple[str, int, int | None, float | None]


def asked(answers: list[Answer], judge: str = "m") -> pd.DataFrame:
    """Return a judge's rows: item, repeat, value (None where unparsed), probability."""
    table = pd.DataFrame(answers, columns=["item_id", "repeat", "value", "probability"])
    status = np.where(table["value"].isna(), "unparsed", "ok")
    return table.assign(
        dimension="d", judge_id=judge, scale="0-1", reason="", status=status, meta="{}"
    ).astype({"value": "Int64", "probability": "Float64"})


def coins(seed: int, n: int = 80, noise: float = 0.0, shift: float = 0.0) -> pd.DataFrame:
    """Return verdicts on the same items: one coin an item, tossed anew or turned to yes."""
    value = np.random.default_rng(0).random(n) < 0.5
    rng = np.random.default_rng(seed)
    value = np.where(rng.random(n) < noise, rng.random(n) < 0.5, value)
    value = np.where(rng.random(n) < shift, True, value)
    return asked([(f"i{i:03}", 0, int(v), 0.25 + v / 2) for i, v in enumerate(value)])


def test_repeats_of_a_worked_example() -> None:
    # On a, two of three repeats agree: one pair of three; on b both. c has one verdict.
    table = asked([
        ("a", 0, 1, 0.9), ("a", 1, 1, 0.7), ("a", 2, 0, 0.2),
        ("b", 0, 0, 0.1), ("b", 1, 0, 0.1), ("b", 2, None, None), ("c", 0, 1, 0.8),
    ])  # fmt: skip
    found = consistency.repeats(table, "m", **QUICK)
    assert found.same.value == pytest.approx(2 / 4)
    assert found.spread.value == pytest.approx(np.std([0.9, 0.7, 0.2], ddof=1) / 2)
    assert (found.n_cells, found.n_pairs, found.n_single, found.n_clusters) == (2, 4, 1, 2)
    assert found.same.low is None


def test_one_repeat_says_nothing_of_consistency() -> None:
    found = consistency.repeats(coins(0), "m", **QUICK)
    assert found[1:] == (NOTHING, NOTHING, 0, 0, 80, 0)
    silent = asked([("a", 0, None, None), ("a", 1, None, None)])
    assert consistency.repeats(silent, "m", **QUICK)[1:] == (NOTHING, NOTHING, 0, 0, 1, 0)


def test_repeats_without_probabilities_have_no_spread() -> None:
    table = asked([(f"i{i}", r, (i + r) % 2, None) for i in range(9) for r in range(2)])
    found = consistency.repeats(table, "m", **QUICK)
    assert found.same == Interval(0.0, 0.0, 0.0)
    assert found.spread == NOTHING


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0, 1, None]), min_size=2, max_size=4), min_size=1))
def test_repeats_count_every_pair_once(cells: list[list[int | None]]) -> None:
    table = asked([(f"i{i}", r, v, None) for i, c in enumerate(cells) for r, v in enumerate(c)])
    found = consistency.repeats(table, "m", n_boot=20)
    pairs = [
        c[i] == c[j]
        for c in cells
        for i in range(len(c))
        for j in range(i)
        if c[i] is not None and c[j] is not None
    ]
    assert found.n_pairs == len(pairs)
    assert found.same.value == (pytest.approx(np.mean(pairs)) if pairs else None)


def test_a_comparison_of_a_worked_example_counts_what_is_lost() -> None:
    declared = asked([("a", 0, 1, 0.9), ("b", 0, 0, 0.2), ("c", 0, 0, None), ("d", 0, None, None)])
    changed = asked([("a", 0, 1, 0.6), ("b", 0, 1, 0.7), ("c", 0, 0, 0.1), ("e", 0, 1, 0.9)])
    found = consistency.compare(declared, changed, "m", **QUICK)
    assert found.same.value == pytest.approx(2 / 3)
    assert found.shift.value == pytest.approx(1 / 3)
    assert found.moved.value == pytest.approx((0.3 + 0.5) / 2)
    assert (found.n_cells, found.n_lost, found.n_clusters) == (3, 2, 3)


def test_a_planted_shift_is_found_and_noise_is_no_shift() -> None:
    pushed = consistency.compare(coins(0), coins(1, shift=0.4), "m", **QUICK)
    assert pushed.shift.low > 0  # type: ignore[operator]
    noisy = consistency.compare(coins(0), coins(2, noise=0.4), "m", **QUICK)
    assert noisy.same.high < 1  # type: ignore[operator]
    assert noisy.shift.low < 0 < noisy.shift.high  # type: ignore[operator]
    same = consistency.compare(coins(0), coins(0), "m", **QUICK)
    assert same[1:4] == (Interval(1, 1, 1), Interval(0, 0, 0), Interval(0, 0, 0))


def test_equal_verdicts_are_those_that_did_not_flip() -> None:
    a, b = coins(0), coins(3, noise=0.5)
    found = consistency.compare(a, b, "m", **QUICK)
    flipped = flips.flip_rate(a, b, **QUICK)
    assert found.same.value == pytest.approx(1 - flipped.rate.value)  # type: ignore[operator]


def test_other_judges_in_the_tables_change_nothing() -> None:
    a, b = coins(0), coins(3, noise=0.5)
    others = [pd.concat([t, asked([("i001", 0, 1, 0.5)], "x")]) for t in (a, b)]
    found = consistency.compare(a, b, "m", **QUICK)
    assert consistency.compare(*others, "m", **QUICK) == found


def test_whole_clusters_are_drawn() -> None:
    a, b = coins(0), coins(3, noise=0.5)
    works = {item: f"w{int(item[1:]) // 8}" for item in a["item_id"]}
    found = consistency.compare(a, b, "m", works, **QUICK)
    assert found.n_clusters == 10
    few = {item: f"w{int(item[1:]) // 20}" for item in a["item_id"]}
    assert consistency.compare(a, b, "m", few, **QUICK).same.low is None


def test_nothing_in_common_is_null() -> None:
    a, b = asked([("a", 0, 1, 0.5)]), asked([("b", 0, 1, 0.5), ("a", 0, None, None)])
    assert consistency.compare(a, b, "m", **QUICK)[1:] == (NOTHING, NOTHING, NOTHING, 0, 2, 0)
    assert consistency.position(a, b, "m", **QUICK)[1:] == (NOTHING, NOTHING, 0, 2, 0)


def test_faults_of_the_tables_are_said() -> None:
    a = asked([("a", 0, 1, 0.5)])
    with pytest.raises(ValueError, match=r"changed: 1 cell\(s\) stand twice, the first a, d, 0"):
        consistency.compare(a, pd.concat([a, a]), "m")
    with pytest.raises(ValueError, match="no rows of x; the table has m"):
        consistency.compare(a, a, "x")
    with pytest.raises(ValueError, match="without a cluster: a"):
        consistency.compare(a, a, "m", {"b": "w"})
    three = asked([("a", 0, 2, None)])
    with pytest.raises(ValueError, match=r"1 \(the first text is better\) or 0, not 2"):
        consistency.position(a, three, "m")


def test_position_of_a_worked_example() -> None:
    # The same text wins on a (first, then second) and on b; on c the first place wins twice.
    ab = asked([("a", 0, 1, None), ("b", 0, 0, None), ("c", 0, 1, None), ("d", 0, 1, None)])
    ba = asked([("a", 0, 0, None), ("b", 0, 1, None), ("c", 0, 1, None), ("d", 0, None, None)])
    found = consistency.position(ab, ba, "m", **QUICK)
    assert found.consistent.value == pytest.approx(2 / 3)
    assert found.first.value == pytest.approx(4 / 6)
    assert (found.n_cells, found.n_lost) == (3, 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30))
def test_swapping_the_tables_changes_nothing_and_a_liking_costs_consistency(
    said: list[tuple[int, int]],
) -> None:
    ab = asked([(f"i{i:02}", 0, a, None) for i, (a, _) in enumerate(said)])
    ba = asked([(f"i{i:02}", 0, b, None) for i, (_, b) in enumerate(said)])
    found = consistency.position(ab, ba, "m", n_boot=20)
    assert consistency.position(ba, ab, "m", n_boot=20) == found
    assert found.consistent.value is not None
    assert found.first.value is not None
    assert 2 * abs(found.first.value - 0.5) <= 1 - found.consistent.value + 1e-9
