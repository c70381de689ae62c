from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqa_helpers import clozescores
from cqa_helpers.agreement import Interval
from cqa_helpers.cloze import Blank, ClozeError, ClozeStory, Filling
from cqa_helpers.models import LocalModel
from cqa_helpers.records import Verdict
from cqa_helpers.scoring import Asked, Bits


def story(language: str = "en", text: str = "He had {1}.") -> ClozeStory:
    return ClozeStory(
        id="s", language=language, title="s", text=text, origin="simulated", licence="CC0",
        source="made up",
        blanks=(Blank(source="intent", constraint="c", filling="a cold"),),
    )  # fmt: skip


def reading(item: str, bits: float, n: int, **changes: Any) -> dict[str, Any]:
    known = {
        "item_id": item, "story": item[0], "language": "en", "blank": 1, "source": "intent",
        "filler": "m", "draw": 0, "text": "t", "finished": True, "bits": bits, "n_tokens": n,
    }  # fmt: skip
    return known | changes


def verdict(item: str, value: int | None, **changes: Any) -> Verdict:
    status = "ok" if value is not None else "unparsed"
    known: dict[str, Any] = {
        "item_id": item, "dimension": "intent", "judge_id": "j", "value": value, "status": status,
    }  # fmt: skip
    return Verdict(**(known | changes))


def test_the_score_by_hand() -> None:
    # 12 bits over 3 tokens are 4 a token; with the reference 2 that is a surprise of 4/6.
    readings = pd.DataFrame([reading("a1", 12, 3), reading("a2", 12, 3), reading("b1", 2, 1)])
    said = [verdict("a1", 1), verdict("a2", 0), verdict("b1", 1, probability=0.5)]
    found = clozescores.score(readings, said, {"en": 2.0})
    assert list(found["surprise"]) == pytest.approx([2 / 3, 2 / 3, 1 / 2])
    assert list(found["score"]) == pytest.approx([1 + 2 / 3, 0, 1.5])
    halved = clozescores.score(readings, said, {"en": 2.0}, weight=0.5)
    assert list(halved["score"]) == pytest.approx([1 + 1 / 3, 0, 1.25])
    flat = clozescores.score(readings, said, {"en": 2.0}, weight=0)
    assert list(flat["score"]) == [1, 0, 1]


def test_a_probability_or_a_longer_scale_satisfies_in_part() -> None:
    readings = pd.DataFrame([reading("a1", 2, 1), reading("b1", 2, 1)])
    said = [verdict("a1", 1, probability=0.6), verdict("b1", 4, scale="1-5")]
    by_value = clozescores.score(readings, said, {"en": 2.0})
    assert list(by_value["satisfy"]) == [1, 0.75]
    by_probability = clozescores.score(readings, said, {"en": 2.0}, by="probability")
    assert by_probability["score"][0] == pytest.approx(0.6 * 1.5)
    # A judge that states no probability gives no score by it.
    assert math.isnan(by_probability["score"][1])


def test_repeats_are_averaged_and_those_without_a_verdict_left_out() -> None:
    readings = pd.DataFrame([reading("a1", 2, 1)])
    said = [verdict("a1", 1), verdict("a1", 0, repeat=1), verdict("a1", None, repeat=2)]
    assert clozescores.score(readings, said, {"en": 2.0})["satisfy"][0] == 0.5


def test_a_missing_verdict_or_filling_is_a_missing_score_and_counted() -> None:
    readings = pd.DataFrame(
        [
            reading("a1", 2, 1),
            reading("a2", 2, 1),
            reading("a3", math.nan, 0, text=None, finished=False),
            reading("b1", 2, 1),
        ]
    )
    found = clozescores.score(readings, [verdict("a1", 1), verdict("a2", None)], {"en": 2.0})
    assert list(found["score"].isna()) == [False, True, True, True]
    (row,) = clozescores.as_rows(found, n_boot=10).to_dict("records")
    assert row["Score"] == (1.5, None, None)
    counted = ("Blanks", "Without a score", "Unfinished", "Stories")
    assert tuple(row[name] for name in counted) == (4, 3, 1, 1)


@settings(max_examples=40)
@given(
    bits=st.floats(0, 1e4), at_half=st.floats(1e-3, 50), satisfy=st.sampled_from([0, 1]),
    weight=st.floats(0, 3),
)  # fmt: skip
def test_no_surprise_pays_without_satisfying(
    bits: float, at_half: float, satisfy: int, weight: float
) -> None:
    found = clozescores.score(
        pd.DataFrame([reading("a1", bits, 1)]), [verdict("a1", satisfy)], {"en": at_half},
        weight=weight,
    )  # fmt: skip
    assert 0 <= found["surprise"][0] <= 1
    score = found["score"][0]
    assert score == 0 if satisfy == 0 else 1 <= score <= 1 + weight


@pytest.mark.parametrize(
    ("said", "at_half", "message"),
    [
        ([verdict("a1", 1), verdict("a1", 1, judge_id="k")], {"en": 1.0}, "Verdicts of j, k"),
        ([verdict("z9", 1)], {"en": 1.0}, r"1 judged filling\(s\) were not read: z9"),
        ([verdict("a1", 1)], {"zh": 1.0}, "No reference of surprise for en"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    said: list[Verdict], at_half: dict[str, float], message: str
) -> None:
    with pytest.raises(ClozeError, match=message):
        clozescores.score(pd.DataFrame([reading("a1", 2, 1)]), said, at_half)


def test_the_reference_is_the_fillers_own_median_by_language() -> None:
    readings = pd.DataFrame(
        [
            reading("a1", 2, 2, filler="base"),
            reading("a2", 9, 3, filler="base"),
            reading("a3", 20, 2, filler="base"),
            reading("a4", math.nan, 0, filler="base"),
            reading("b1", 8, 1, filler="base", language="zh"),
            reading("b2", 99, 1, filler="tuned"),
        ]
    )
    assert clozescores.reference(readings) == {"en": 3.0, "zh": 8.0}


def test_stories_and_not_blanks_carry_the_mean() -> None:
    # Story a: two blanks of 1, story b: one of 0. By blanks 2/3, by stories 1/2.
    readings = pd.DataFrame([reading("a1", 0, 1), reading("a2", 0, 1), reading("b1", 0, 1)])
    said = [verdict("a1", 1), verdict("a2", 1), verdict("b1", 0)]
    rows = clozescores.as_rows(clozescores.score(readings, said, {"en": 1.0}), n_boot=10)
    assert rows["Score"][0] == (0.5, None, None)


def many(values: dict[str, Sequence[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"filler": filler, "story": f"s{i}", "score": value, "satisfy": value,
             "surprise": 0.0, "finished": True}
            for filler, own in values.items() for i, value in enumerate(own)
        ]
    )  # fmt: skip


def test_the_difference_is_paired_over_stories() -> None:
    base = np.array([0.0, 0.3, 0.6, 0.9, 1.2, 1.5])
    gain = np.array([0.1, 0.2, 0.1, 0.2, 0.1, 0.2])
    table = many({"tuned": base + gain, "base": base})
    found = clozescores.difference(table, "tuned", "base", n_boot=500, seed=1)
    assert found.value == pytest.approx(0.15)
    assert found.low is not None
    # Much narrower than what stories differ among themselves.
    assert 0.1 <= found.low < 0.15 < float(found.high or 0) <= 0.2
    lone = many({"tuned": [1.0] * 6, "base": [math.nan] * 6})
    assert clozescores.difference(lone, "tuned", "base").value is None


def test_fewer_than_five_stories_and_equal_ones_have_no_limits() -> None:
    four = clozescores.as_rows(many({"m": [0.1, 0.2, 0.3, 0.4]}), n_boot=50)
    assert four["Score"][0] == (pytest.approx(0.25), None, None)
    alike = clozescores.as_rows(many({"m": [1.0] * 8}), n_boot=50)
    assert alike["Score"][0] == (1.0, None, None)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Interval(0.3, 0.1, 0.5), r"tuned scores 0.30 above base \(\+0.10 to \+0.50\)"),
        (Interval(-0.3, -0.5, -0.1), r"tuned scores 0.30 below base \(−0.50 to −0.10\)"),
        (Interval(0.1, -0.1, 0.3), "No difference to be seen between tuned and base"),
        (Interval(0.1, None, None), "too few stories"),
        (Interval(None, None, None), "No story has a score both"),
    ],
)
def test_the_headline_says_no_more_than_the_interval(found: Interval, words: str) -> None:
    assert re.search(words, clozescores.headline(found, "tuned", "base"))


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize(
    ("language", "text"),
    [("en", "Up. He said “{1}.”"), ("en", "He had {1}."), ("zh", "灯灭了。他说{1}。")],
)
def test_only_the_fillings_own_tokens_are_counted(
    monkeypatch: pytest.MonkeyPatch, language: str, text: str, width: int
) -> None:
    def bits_of(_: object, asked: Sequence[Asked]) -> list[Bits]:
        made = []
        for prefix, own in asked:
            assert prefix[-1].isspace()
            starts = np.arange(0, len(own), width)
            spans = np.stack([starts, np.minimum(starts + width, len(own))], axis=1)
            cost = np.array([1.0 if b <= len(own) - 4 else 10.0 for _, b in spans])
            made.append(Bits(cost, spans, len(own), False, 1))
        return made

    monkeypatch.setattr(clozescores, "bits_of", bits_of)
    filling = Filling("s", 1, "m", "wxyz", ())
    one = story(language, text)
    (row,) = clozescores.read(LocalModel(None, None, ""), [one], [filling]).to_dict("records")
    # Four characters, in four tokens or in two; a third where one reaches over the seam.
    assert row["n_tokens"] in ({1: {4}, 2: {2, 3}}[width])
    assert row["bits"] == 10.0 * row["n_tokens"]


def test_two_fillings_of_one_blank_need_different_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    def bits_of(_: object, asked: Sequence[Asked]) -> list[Bits]:
        return [Bits(np.ones(1), np.array([[0, 9]]), 9, False, 1) for _ in asked]

    monkeypatch.setattr(clozescores, "bits_of", bits_of)
    one = Filling("s", 1, "m", "wet", ())
    nobody = LocalModel(None, None, "")
    with pytest.raises(ClozeError, match="two fillings of one blank"):
        clozescores.read(nobody, [story()], [one, one])
    both = clozescores.read(nobody, [story()], [one, one._replace(draw=1)])
    assert both["item_id"].is_unique
