from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqa_helpers.unsigned import diagnosis, n_words, unsigned


@pytest.mark.parametrize(
    ("text", "shown", "struck"),
    [
        ("As an AI language model, I find it weak.", "I find it weak.", 1),
        ("I'm an AI assistant, so the end is weak.", "The end is weak.", 1),
        ("作为一个AI语言模型，我认为结尾太弱。", "我认为结尾太弱。", 1),
        ("Like GPT-4 and ChatGPT, I agree.", "Like [name] and [name], I agree.", 2),
        ("GPT-4认为好。", "[name]认为好。", 1),
        ("judge_7 says so.", "[name] says so.", 1),
        # A story's own machines, painters and stars are left alone.
        ("As an AI in a story of Claude Monet, it grieves.", None, 0),
        ("The Gemini twins read a model of language.", None, 0),
        ("At the base of the tower.", None, 0),
    ],
)
def test_what_signs_a_judge_is_struck_and_said(text: str, shown: str | None, struck: int) -> None:
    found = unsigned(text, ["base", "judge_7"])
    assert found.text == (text if shown is None else shown)
    assert len(found.struck) == struck


def test_what_may_be_a_name_is_left_and_told() -> None:
    assert unsigned("At the base, Claude waits.", ["base", "tuned"]).standing == ("base", "claude")


def test_layout_goes_and_words_stay() -> None:
    text = "## Verdict\n\n- **Weak** craft\n- 2 * 3 is *six*\n1. `so`\n\n> quoted"
    found = unsigned(text)
    assert found.text == "Verdict Weak craft 2 * 3 is six so quoted"
    assert found.laid_out
    assert not unsigned("Plain words - with a dash.").laid_out


def test_whole_sentences_go_and_one_stays() -> None:
    assert (
        unsigned("One two three. Four five. Six.", most_words=5).text == "One two three. Four five."
    )
    assert unsigned("One two three. Four.", most_words=1)[0::4] == ("One two three.", True)
    assert unsigned("节奏快。结尾弱。", most_words=4).text == "节奏快。"
    assert not unsigned("One two.", most_words=2).cut


@given(st.text(max_size=200))
def test_a_text_that_was_read_once_is_not_changed_again(text: str) -> None:
    once = unsigned(text)
    assert "\n" not in once.text
    if not once.struck and not once.laid_out:
        assert once.text == " ".join(text.split())


def test_dimensions_stand_in_one_order_with_their_verdicts() -> None:
    texts, went = diagnosis({"b": "As an AI, no.", "a": "yes"}, {"a": "good", "b": "bad"})
    assert list(texts.items()) == [("a", "yes [good]"), ("b", "No. [bad]")]
    assert went.struck == ("As an AI,",)


def test_words_are_counted_in_both_languages() -> None:
    assert n_words("it's a well-made tale , 很好。") == 6
