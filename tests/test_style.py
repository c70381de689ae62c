from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqa_helpers import style
from cqa_helpers.agreement import Interval
from cqa_helpers.records import Verdict, to_table
from cqa_helpers.speech import SpeechError
from speakers import reasons

LANGUAGES = ["en", "zh"]
NOTHING = Interval(None, None, None)


def expert(language: str = "en") -> pd.DataFrame:
    return to_table(reasons("plain", "expert-1", language, seed=100))


def found(judge: list[Verdict], against: pd.DataFrame, language: str = "en") -> style.Similarity:
    return style.similarity(to_table(judge), against, language, n_boot=300)


def certain(number: float | None) -> float:
    assert number is not None
    return number


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_same_content_in_another_style_is_told_apart(language: str) -> None:
    it = found(reasons("halting", language=language), expert(language), language)
    assert certain(it.similarity.value) < 0.05
    assert certain(it.similarity.high) < 0.2
    assert certain(it.told.value) > 0.95


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_same_style_with_other_content_and_verdicts_is_not_told_apart(language: str) -> None:
    same = found(
        reasons("plain", language=language, content=9, yes=0.8), expert(language), language
    )
    assert certain(same.similarity.value) > 0.75
    assert certain(same.told.low) < 0.5 < certain(same.told.high)


def test_a_mixture_of_speakers_lies_between() -> None:
    mixed = reasons("plain", items=range(15), seed=3) + reasons("halting", items=range(15, 30))
    it = found(mixed, expert())
    assert 0.2 < certain(it.similarity.value) < 0.8


def test_one_speaker_is_not_told_from_itself_on_average() -> None:
    values = [
        certain(found(reasons("plain", content=k, seed=k), expert()).told.value)
        for k in range(200, 212)
    ]
    assert abs(np.mean(values) - 0.5) < 0.04


def test_verdicts_alone_do_not_make_another_speaker() -> None:
    # A speaker who pleads for one verdict with a word of his own: no style, if all say it so.
    def pleading(judge: str, yes: float, seed: int) -> pd.DataFrame:
        rows = reasons("plain", judge, items=range(40), content=seed, seed=seed, yes=yes)
        return to_table([
            v.model_copy(update={"reason": ("However, " if v.value == 0 else "Also, ") + v.reason})
            for v in rows
        ])  # fmt: skip

    gentle, severe = pleading("expert-1", 0.5, 1), pleading("judge", 0.15, 2)
    matched = style.similarity(severe, gentle, n_boot=300)
    assert certain(matched.similarity.high) > 0.95
    blind = style.similarity(
        severe.assign(value=pd.array([1] * len(severe), dtype="Int64")),
        gentle.assign(value=pd.array([1] * len(gentle), dtype="Int64")), n_boot=300,
    )  # fmt: skip
    assert certain(blind.told.value) > certain(matched.told.value) + 0.1


def test_a_judge_without_reasons_has_no_similarity() -> None:
    silent = [v.model_copy(update={"reason": " ... "}) for v in reasons("plain")]
    it = found(silent, expert())
    assert (it.similarity, it.told) == (NOTHING, NOTHING)
    assert it.by_repeat == {0: None}
    assert (it.n_reasons, it.n_silent, it.n_expert) == (0, 60, 60)
    assert style.delta(to_table(silent), expert()) is None
    assert style.differences(to_table(silent), expert()).empty


def test_too_few_texts_are_unknown_and_not_alike() -> None:
    one = found(reasons("plain")[:1], expert())
    assert (one.similarity, one.n_reasons) == (NOTHING, 1)
    few = found(reasons("plain", items=range(4)), expert())
    assert few.similarity == NOTHING
    other_side = style.similarity(to_table(reasons("plain")), expert().iloc[:8], n_boot=50)
    assert other_side.similarity == NOTHING
    assert style.similarity(to_table([]), to_table([]), n_boot=50).similarity == NOTHING


def test_reasons_on_one_work_are_one_cluster() -> None:
    one_work = dict.fromkeys((f"p{i:03}" for i in range(30)), "novel")
    it = style.similarity(to_table(reasons("plain")), expert(), clusters=one_work, n_boot=50)
    assert it.similarity == NOTHING


def test_what_was_not_read_is_counted_and_not_compared() -> None:
    rows = reasons("plain")
    lost = [v.model_copy(update={"value": None, "status": "unparsed"}) for v in rows[:10]]
    it = found([*lost, *rows[10:]], expert())
    assert (it.n_reasons, it.n_silent) == (50, 10)
    assert it.similarity == found(rows[10:], expert()).similarity


def test_a_mean_over_seeds_is_not_made_of_those_that_spoke() -> None:
    silent = [v.model_copy(update={"reason": "", "repeat": 1}) for v in reasons("plain")]
    it = found(reasons("plain") + silent, expert())
    assert it.similarity == NOTHING
    assert it.by_repeat[0] is not None
    assert it.by_repeat[1] is None


def test_seeds_that_differ_widen_the_interval() -> None:
    def over(*voices: str) -> float:
        rows = [v for k, voice in enumerate(voices) for v in reasons(voice, seed=k + 1, repeat=k)]
        told = found(rows, expert()).told
        return certain(told.high) - certain(told.low)

    assert over("plain", "halting", "plain") > 2 * over("plain", "plain", "plain")


def test_the_scale_is_that_of_the_docstring() -> None:
    it = found(
        reasons("plain", items=range(15)) + reasons("halting", items=range(15, 30)), expert()
    )
    assert it.similarity.value == pytest.approx(1 - max(0, 2 * certain(it.told.value) - 1))
    assert it.by_repeat == {0: it.similarity.value}
    assert it.similarity.low == pytest.approx(1 - max(0, 2 * certain(it.told.high) - 1))


def test_equal_seeds_give_equal_intervals_whatever_the_order_of_rows() -> None:
    table = to_table(reasons("halting", items=range(10)) + reasons("plain", items=range(10, 30)))
    once = style.similarity(table, expert(), n_boot=100)
    again = style.similarity(table.iloc[::-1], expert().iloc[::-1], n_boot=100)
    assert once.by_repeat[0] == pytest.approx(again.by_repeat[0])
    assert once.similarity.low == pytest.approx(again.similarity.low)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 30))
def test_similarity_lies_within_its_limits_between_0_and_1(seed: int, halting: int) -> None:
    rows = reasons("halting", items=range(halting), seed=seed)
    rows += reasons("plain", items=range(halting, 30), seed=seed)
    value, low, high = found(rows, expert()).similarity
    assert 0 <= certain(low) <= certain(high) <= 1
    assert 0 <= certain(value) <= 1


def test_several_judges_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="one judge at a time; the table holds a, b"):
        found(reasons("plain", "a") + reasons("plain", "b"), expert())


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(SpeechError, match="No word lists for language 'fr'"):
        found(reasons("plain"), expert(), "fr")


def test_an_item_without_a_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match="without a cluster"):
        style.similarity(to_table(reasons("plain")), expert(), clusters={"p000": "w"})


def test_differences_name_what_tells_the_speakers_apart() -> None:
    rows = style.differences(to_table(reasons("halting")), expert())
    assert rows["difference"].abs().is_monotonic_decreasing
    of = rows.set_index("feature").to_dict("index")
    assert of["hedges"]["judge"] > of["hedges"]["expert"] == 0
    assert of["hedges"]["difference"] > 1
    assert of["the"]["difference"] < 0
    assert rows["difference"].abs().max() <= 2 + 1e-9  # two constant speakers: one SD to each side


def test_delta_by_hand() -> None:
    def says(judge: str, texts: list[str]) -> pd.DataFrame:
        return to_table([
            Verdict(item_id=f"p{i}", dimension="craft", judge_id=judge, value=1, reason=t)
            for i, t in enumerate(texts)
        ])  # fmt: skip

    # "the": shares 1/2 and 0 against 1/2 and 1/2; means 1/4 and 1/2, variances 1/16 and 0.
    # Over both, each speaker half: variance 1/32 + (1/8)**2 = 3/64; (1/4) / sqrt(3/64) = 1.1547.
    judge, other = says("a", ["the lamp", "lamp lamp"] * 3), says("b", ["the lamp"] * 6)
    assert style.delta(judge, other) == pytest.approx(2 / np.sqrt(3))
    assert style.delta(judge.iloc[:4], other) is None
    assert style.delta(other, other) == 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_delta_is_greater_to_another_speaker_than_to_oneself(language: str) -> None:
    own = style.delta(to_table(reasons("plain", language=language)), expert(language), language)
    other = style.delta(to_table(reasons("halting", language=language)), expert(language), language)
    assert certain(own) < 0.5 * certain(other)
