from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqa_helpers import flips
from cqa_helpers.agreement import Interval
from cqa_helpers.records import Verdict, to_table

NOTHING = Interval(None, None, None)
BOOT = 400


def asking(
    values: Sequence[int | None], repeat: int = 0, judge: str = "tuned", start: int = 0
) -> list[Verdict]:
    """Return one verdict an item; None was not readable."""
    return [
        Verdict(item_id=f"p{i:03}", dimension="craft", judge_id=judge, repeat=repeat, value=v,
                status="unparsed" if v is None else "ok")
        for i, v in enumerate(values, start)
    ]  # fmt: skip


def drawn(p: list[float], seed: int, repeat: int = 0) -> list[Verdict]:
    """Return one sampled verdict an item."""
    return asking([int(v) for v in np.random.default_rng(seed).random(len(p)) < p], repeat)


def rate(a: list[Verdict], b: list[Verdict], **more: dict[str, str]) -> flips.Flips:
    return flips.flip_rate(to_table(a), to_table(b), n_boot=BOOT, **more)  # type: ignore[arg-type]


def test_flips_are_the_share_of_cells_that_change() -> None:
    found = rate(asking([1, 1, 0, 0, 1, 0, 1, 0]), asking([1, 0, 0, 1, 1, 0, 1, 0]))
    assert found.rate.value == 0.25
    assert found.by_repeat == {0: 0.25}
    assert (found.n_cells, found.n_unparsed, found.n_unmatched, found.n_clusters) == (8, 0, 0, 8)
    low, high = found.rate.low, found.rate.high
    assert low is not None
    assert high is not None
    assert 0 <= low < 0.25 < high <= 1


def test_what_was_not_readable_is_counted_and_is_no_flip() -> None:
    found = rate(asking([1, None, 0, None, 1, 0]), asking([1, 1, None, None, 1, 1]))
    assert found.rate.value == pytest.approx(1 / 3)
    assert (found.n_cells, found.n_unparsed) == (3, 3)


def test_cells_that_were_asked_once_are_counted_apart() -> None:
    found = rate(asking([1] * 8), asking([0] * 6, start=4))
    assert (found.rate.value, found.n_cells, found.n_unmatched) == (1.0, 4, 6)


def test_repeats_are_compared_with_themselves() -> None:
    a = asking([1] * 6, 0) + asking([0] * 6, 1)
    assert rate(a, a).rate == Interval(0.0, 0.0, 0.0)
    half = asking([1] * 6, 0) + asking([1] * 6, 1)
    found = rate(a, half)
    assert (found.rate.value, found.by_repeat) == (0.5, {0: 0.0, 1: 1.0})
    assert (found.rate.low, found.rate.high) == (0.0, 1.0)  # either seed may be drawn alone


def test_clusters_are_resampled_and_few_give_no_limits() -> None:
    a, b = asking([1] * 12), asking([1] * 6 + [0] * 6)
    works = {f"p{i:03}": f"w{i // 2}" for i in range(12)}
    items = rate(a, b).rate
    clustered = rate(a, b, clusters=works).rate
    assert items.high is not None
    assert clustered.high is not None
    assert clustered.high - (clustered.low or 0) > items.high - (items.low or 0)
    few = rate(a, b, clusters={i: w[:1] + str(int(w[1:]) // 2) for i, w in works.items()})
    assert few.n_clusters == 3
    assert few.rate == Interval(0.5, None, None)


def test_nothing_readable_is_undefined_and_not_zero() -> None:
    found = rate(asking([None] * 6), asking([1] * 6))
    assert (found.rate, found.by_repeat, found.n_unparsed) == (NOTHING, {}, 6)
    assert rate([], []).rate == NOTHING


def test_two_judges_or_a_cell_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="one judge; the tables hold base, tuned"):
        rate(asking([1]), asking([1], judge="base"))
    with pytest.raises(ValueError, match=r"1 cell\(s\) stand twice.*p000, craft, 0"):
        rate(asking([1]) * 2, asking([1]))


def excess(p: list[float], q: list[float], seeds: int = 3) -> flips.Excess:
    """Return the excess of a judge with P(high) p, and q once the question is reworded."""
    a, b, again = (
        to_table([v for r in range(seeds) for v in drawn(now, 10 * r + k, r)])
        for k, now in enumerate([p, q, p])
    )
    return flips.excess_flips(a, b, again, n_boot=BOOT)


def test_sampling_alone_flips_and_leaves_no_excess() -> None:
    rng = np.random.default_rng(0)
    p = list(rng.uniform(0.2, 0.8, 150))
    found = excess(p, p)
    assert found.noise.value is not None
    assert found.noise.value > 0.3
    low, high = found.excess.low, found.excess.high
    assert low is not None
    assert high is not None
    assert low <= 0 <= high
    assert high - low < 0.25


def test_a_judge_that_hangs_on_the_words_has_an_excess_above_zero() -> None:
    p = [0.95, 0.05] * 75
    found = excess(p, p[::-1])
    assert found.excess.low is not None
    assert found.excess.low > 0.6
    assert found.reworded.value is not None
    assert found.excess.value == pytest.approx(found.reworded.value - (found.noise.value or 0))


def test_excess_is_taken_on_cells_readable_in_all_three() -> None:
    a = to_table(asking([1, 1, 1, 1, 1, 1, 1]))
    b = to_table(asking([0, 0, None, 1, 1, 1, 1]))
    again = to_table(asking([0, None, 1, 1, 1, 1, 1]))
    found = flips.excess_flips(a, b, again, n_boot=BOOT)
    assert (found.n_cells, found.n_unparsed) == (5, 2)
    assert (found.reworded.value, found.noise.value, found.excess.value) == (0.2, 0.2, 0.0)
    assert found.by_repeat == {0: 0.0}


answers = st.lists(st.sampled_from([0, 1, None]), min_size=6, max_size=12)


@settings(max_examples=25, deadline=None)
@given(answers, st.randoms(use_true_random=False))
def test_flips_are_symmetric_and_none_against_oneself(values: list[int | None], shuffle) -> None:  # type: ignore[no-untyped-def]
    other = list(values)
    shuffle.shuffle(other)
    table, others = to_table(asking(values)), to_table(asking(other))
    there, back = (flips.flip_rate(x, y, n_boot=50) for x, y in ((table, others), (others, table)))
    assert there == back
    assert flips.flip_rate(table, table, n_boot=50).rate.value in (0.0, None)
    assert flips.excess_flips(table, others, others, n_boot=50).excess.value in (0.0, None)


def reasons(follow: list[bool], voice: str = "first", repeat: int = 0) -> pd.DataFrame:
    """Return reasons that argue high and low in turn, and whether the model follows each."""
    argued = [k % 2 for k in range(len(follow))]
    return pd.DataFrame({
        "item_id": [f"p{k // 2:03}" for k in range(len(follow))],
        "dimension": [("craft", "audience")[k % 2] for k in range(len(follow))],
        "voice": voice, "argued": argued, "repeat": repeat,
        "probability": [0.9 if a == f else 0.1 for a, f in zip(argued, follow, strict=True)],
    })  # fmt: skip


def test_consistency_is_the_share_that_follows() -> None:
    found = flips.consistency(reasons([True] * 15 + [False] * 5), n_boot=BOOT)
    assert found.follows.value == 0.75
    assert (found.n_reasons, found.n_missing, found.n_clusters) == (20, 0, 10)
    assert found.by_repeat == {0: 0.75}


def test_a_constant_answer_stands_at_a_half_once_balanced() -> None:
    table = reasons([True, True] * 10).assign(probability=0.9)
    mostly = pd.concat([table, table[table["argued"] == 1].assign(dimension="logic")])
    found = flips.consistency(mostly, n_boot=BOOT)
    assert found.follows.value == pytest.approx(2 / 3)
    assert found.balanced == Interval(0.5, 0.5, 0.5)
    one_sided = flips.consistency(table[table["argued"] == 1], n_boot=BOOT)
    assert (one_sided.follows.value, one_sided.balanced) == (1.0, NOTHING)


def test_an_even_probability_counts_half_and_a_missing_one_is_not_scored() -> None:
    table = reasons([True] * 12)
    table.loc[0, "probability"] = 0.5
    table.loc[1, "probability"] = np.nan
    found = flips.consistency(table, n_boot=BOOT)
    assert found.follows.value == pytest.approx(10.5 / 11)
    assert (found.n_reasons, found.n_missing) == (11, 1)


def test_a_reason_reworded_that_is_not_followed_shows_in_the_gap() -> None:
    first, second = reasons([True] * 40), reasons([True, False] * 20, "second")
    found = flips.voice_gap(pd.concat([first, second]), n_boot=BOOT)
    assert (found.first.follows.value, found.second.follows.value) == (1.0, 0.5)
    assert found.difference.value == -0.5
    assert found.difference.high is not None
    assert found.difference.high < 0


def test_one_voice_alone_has_no_gap() -> None:
    found = flips.voice_gap(reasons([True] * 12), n_boot=BOOT)
    assert found.difference == NOTHING
    assert found.second.follows == NOTHING
    assert found.first.follows.value == 1.0


def test_a_single_model_needs_no_repeat_column_and_several_widen() -> None:
    plain = reasons([True] * 20).drop(columns="repeat")
    assert flips.consistency(plain, n_boot=BOOT).by_repeat == {0: 1.0}
    both = pd.concat([reasons([True] * 20), reasons([False] * 20, repeat=1)])
    found = flips.consistency(both, n_boot=BOOT).follows
    assert found == Interval(0.5, 0.0, 1.0)


def test_values_on_a_longer_scale_count_as_high_from_the_positive_one() -> None:
    table = reasons([True] * 12)
    table["argued"] = table["argued"].map({0: 2, 1: 4})
    assert flips.consistency(table, n_boot=BOOT, positive=4).follows.value == 1.0
    assert flips.consistency(table, n_boot=BOOT, positive=1).follows.value == 0.5
