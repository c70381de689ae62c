from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqa_helpers import paths, speech
from cqa_helpers.speech import features, has_words, lexicon

EN, ZH = lexicon("en"), lexicon("zh")


def one(text: str, language: str = "en") -> dict[str, float]:
    return dict(features([text], lexicon(language)).iloc[0])


def test_shares_are_of_words_and_lengths_are_logs() -> None:
    found = one("I think it is so. Perhaps, though, it is the lamp!")
    assert found["it"] == pytest.approx(2 / 10)  # "i think" is one unit, a hedge
    assert found["the"] == pytest.approx(1 / 10)
    assert found["hedges"] == pytest.approx(2 / 10)
    assert found["connectives"] == pytest.approx(2 / 10)
    assert found["comma"] == pytest.approx(2 / 10)
    assert found["exclamation mark"] == pytest.approx(1 / 10)
    assert found["length"] == pytest.approx(math.log(10))
    assert found["sentence length"] == pytest.approx(math.log(5))


def test_chinese_is_read_by_the_longest_listed_word() -> None:
    found = one("因为他也许不懂，所以读者的目的地落空了。", "zh")
    # 因为 他 也许 不 懂 所以 读 者 的 目的 地 落 空 了
    assert found["因为"] == pytest.approx(1 / 14)
    assert found["的"] == pytest.approx(1 / 14)
    assert found["为"] == 0
    assert found["connectives"] == pytest.approx(2 / 14)
    assert found["hedges"] == pytest.approx(1 / 14)
    assert found["comma"] == pytest.approx(1 / 14)


def test_a_clipped_verb_is_counted_and_a_possessive_is_not() -> None:
    assert one("it’s the lamp")["contractions"] == pytest.approx(1 / 3)
    assert one("Lyle's lamp")["contractions"] == 0
    assert one("she'd say I'm late")["contractions"] == pytest.approx(2 / 4)


@pytest.mark.parametrize(
    ("language", "one_way", "other_way"),
    [
        ("en", "The lamp is not lit, so the verdict is bad.",
         "The door is never shut, so the answer is good."),
        ("zh", "因为灯没有亮，所以结论是否。", "因为门没有开，所以结论是好。"),
    ],
)  # fmt: skip
def test_texts_that_differ_in_nouns_and_verdicts_are_alike(
    language: str, one_way: str, other_way: str
) -> None:
    table = features([one_way, other_way], lexicon(language))
    np.testing.assert_allclose(table.iloc[0], table.iloc[1])


@pytest.mark.parametrize("words", [EN, ZH], ids=["en", "zh"])
def test_no_word_of_a_verdict_is_read_as_style(words: speech.Lexicon) -> None:
    verdicts = {
        "yes",
        "no",
        "not",
        "never",
        "good",
        "bad",
        "fails",
        "holds",
        "是",
        "否",
        "不",
        "没",
    }
    assert not verdicts & set(words.listed())
    assert len(words.function) > 100


@pytest.mark.parametrize("text", ["", "   ", "...", "，。！", "—"])
@pytest.mark.parametrize("words", [EN, ZH], ids=["en", "zh"])
def test_a_text_without_words_has_no_style(text: str, words: speech.Lexicon) -> None:
    assert not has_words(text, words)
    assert features([text], words).isna().all(axis=None)


@given(st.text(max_size=80), st.sampled_from([EN, ZH]))
def test_any_text_gives_finite_features_or_none(text: str, words: speech.Lexicon) -> None:
    (row,) = features([text], words).to_numpy()
    assert np.isfinite(row).all() == has_words(text, words)
    assert np.isnan(row).all() != has_words(text, words)


@given(st.lists(st.sampled_from(["lamp", "door", "so", "the", "i think", ",", "."]), min_size=1),
       st.integers(2, 5))  # fmt: skip
def test_saying_it_again_changes_the_length_alone(parts: list[str], times: int) -> None:
    text = " ".join(parts)
    if not has_words(text, EN):
        return
    # The seam must make no new phrase and no new ellipsis.
    once, more = features([f"lamp {text} lamp.", f"lamp {text} lamp." * times], EN).to_numpy()
    lengths = [list(features([""], EN)).index(c) for c in ("length", "sentence length")]
    np.testing.assert_allclose(np.delete(once, lengths), np.delete(more, lengths), atol=1e-12)
    assert more[lengths[0]] == pytest.approx(once[lengths[0]] + math.log(times))


def test_a_language_without_lists_is_refused_with_those_there_are() -> None:
    with pytest.raises(speech.SpeechError, match=r"'fr'.*en, zh.*fr\.yaml"):
        lexicon("fr")


def test_a_language_tag_finds_its_language() -> None:
    assert lexicon("zh-Hans").language == "zh"


def test_a_word_listed_as_content_and_style_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / "style"
    folder.mkdir(parents=True)
    (folder / "xx.yaml").write_text(
        "language: xx\ncharacters: false\nfunction: [a, b]\nhesitations: []\nhedges: []\n"
        "connectives: []\nfirst_person: []\ncontent: [b]\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(paths, "root", lambda: tmp_path)
    with pytest.raises(speech.SpeechError, match="content and as style at once: b"):
        lexicon("xx")
