from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqa_helpers import prompts
from cqa_helpers.judges import tokens

EDITOR = prompts.load_dialect("editor")
RUBRIC = prompts.load_dialect("rubric")
QUESTION = prompts.load_dialect("question")
WORDS = {0: "no", 1: "yes"}


def entry(token: str | bytes, options: Mapping[Any, float] | None = None) -> dict[str, Any]:
    """Return one token as the API lists it, with the probabilities of alternatives."""
    shares = {token: 1.0} if options is None else dict(options)

    def one(spelt: str | bytes) -> dict[str, Any]:
        raw = spelt.encode() if isinstance(spelt, str) else spelt
        return {
            "token": raw.decode("utf-8", "backslashreplace"),
            "bytes": list(raw),
            "logprob": math.log(shares.get(spelt, 1e-9)),
        }

    return one(token) | {"top_logprobs": [one(spelt) for spelt in shares]}


def spelt(listed: Sequence[Mapping[str, Any]]) -> str:
    return b"".join(bytes(e["bytes"]) for e in listed).decode()


def read(
    listed: Sequence[Mapping[str, Any]], word: str, words: Mapping[int, str] = WORDS
) -> float | None:
    text = spelt(listed)
    return tokens.probability(listed, text, text.rindex(word), words)


def test_the_two_words_share_what_the_others_leave() -> None:
    listed = [
        entry("Verdict:"),
        entry(" yes", {" yes": 0.6, " no": 0.2, " maybe": 0.2}),
        entry("."),
    ]
    assert read(listed, "yes") == pytest.approx(0.75)


def test_the_probability_is_the_highest_values_whichever_word_was_written() -> None:
    listed = [entry("Verdict:"), entry(" no", {" no": 0.8, " yes": 0.2})]
    assert read(listed, "no") == pytest.approx(0.2)


def test_other_cases_and_blanks_of_a_word_add_up() -> None:
    options = {" yes": 0.4, "yes": 0.1, " Yes": 0.1, " YES": 0.1, " no": 0.2, "No": 0.1}
    assert read([entry("So:"), entry(" yes", options)], "yes") == pytest.approx(0.7)


def test_a_variant_may_have_more_before_the_word_than_what_was_written() -> None:
    listed = [entry("So: "), entry("yes", {"yes": 0.5, " yes": 0.2, '"Yes': 0.1, "no": 0.2})]
    assert read(listed, "yes") == pytest.approx(0.8)


def test_a_word_that_only_begins_alike_is_another_word() -> None:
    listed = [entry("So:"), entry(" no", {" no": 0.5, " nothing": 0.3, " yes": 0.2})]
    assert read(listed, "no") == pytest.approx(0.2 / 0.7)


def test_in_json_the_verdict_is_read_and_not_the_word_within_a_reason() -> None:
    listed = [
        entry('{"intended": "'), entry("yes", {"yes": 0.99, "no": 0.01}), entry('", "effect": "a"'),
        entry(', "verdict": "'), entry("yes", {"yes": 0.7, "no": 0.3}), entry('"}'),
    ]  # fmt: skip
    text = spelt(listed)
    starts = tokens.starts(text, ("q",), EDITOR, "reason-first")
    assert text[starts["q"] :] == 'yes"}'
    assert tokens.probability(listed, text, starts["q"], WORDS) == pytest.approx(0.7)


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{ "verdict" : " yes" }\n```',
        '{"effect": "she said \\"verdict\\": \\"no\\" {", "verdict": "yes"}',
        '{"effect": "的", "intended": "的", "verdict":"yes"} {"verdict": "yes"}',
        'Well {so} here: {"a": [1, {"verdict": "no"}], "verdict": "yes"}',
    ],
)
def test_the_verdict_is_found_where_json_says_it_is(text: str) -> None:
    at = tokens.starts(text, ("q",), EDITOR, "reason-first")["q"]
    assert text.startswith("yes", at)
    assert text[at - 1] in ' "'


def test_each_dimension_has_the_verdict_of_its_own_object() -> None:
    assert RUBRIC.answer == "json"
    assert RUBRIC.unit == "passage"
    said = {"b": {"effect": "yes", "verdict": "no"}, "a": {"verdict": "yes"}, "verdict": "no"}
    text = json.dumps(said)
    starts = tokens.starts(text, ("a", "b", "c"), RUBRIC, "reason-first")
    assert starts.keys() == {"a", "b"}
    assert text[starts["a"] - 12 :].startswith('"verdict": "yes"')
    assert text[starts["b"] - 12 :].startswith('"verdict": "no"')


@pytest.mark.parametrize("text", ["", "{", "no JSON", '{"verdict": 1}', '{"verdict": null}', "{}"])
def test_without_a_verdict_there_is_no_place(text: str) -> None:
    assert tokens.starts(text, ("q",), EDITOR, "reason-first") == {}


def test_in_words_the_place_is_the_parsers() -> None:
    form = QUESTION.forms["reason-first"]
    text = "No doubt it works. " + form.verdict.replace("{verdict}", "yes")
    starts = tokens.starts(text, ("q",), QUESTION, "reason-first")
    assert text[starts["q"] :].startswith("yes")


def test_words_of_several_tokens_are_told_apart_where_they_part() -> None:
    words = {0: "unfit", 1: "unfair"}
    listed = [
        entry("So:"), entry(" un", {" un": 0.9, " the": 0.1}),
        entry("fair", {"fair": 0.6, "fit": 0.2, "der": 0.2}),
    ]  # fmt: skip
    assert read(listed, "unfair", words) == pytest.approx(0.75)


def test_mass_decided_at_the_first_token_counts_beside_the_rest() -> None:
    # 0.5 goes on to the next token, where it parts 0.8 to 0.2; 0.5 says "unfit" at once.
    words = {0: "unfit", 1: "unfair"}
    listed = [
        entry("So:"), entry(" un", {" un": 0.5, " unfit": 0.5}),
        entry("fair", {"fair": 0.8, "fit": 0.2}),
    ]  # fmt: skip
    assert read(listed, "unfair", words) == pytest.approx(0.4)


def test_a_word_that_begins_the_other_is_told_by_what_follows() -> None:
    words = {0: "good not", 1: "good"}
    rest = {".": 0.9, " not": 0.1}
    assert read([entry("good"), entry(".", rest)], "good", words) == pytest.approx(0.9)
    assert read([entry("good"), entry(" not", rest)], "good", words) == pytest.approx(0.9)
    assert read([entry("good")], "good", words) == pytest.approx(1.0)


def test_common_tokens_to_the_end_decide_nothing() -> None:
    assert read([entry(" un")], "un", {0: "unfit", 1: "unfair"}) is None


def test_an_unlisted_word_has_at_most_the_smallest_listed() -> None:
    options = {" yes": 0.6, " Yes": 0.2, " well": 0.05}
    assert read([entry("So:"), entry(" yes", options)], "yes") == pytest.approx(0.8 / 0.85)


def test_an_unlisted_word_has_at_most_what_is_left_of_one() -> None:
    listed = [entry("So:"), entry(" yes", {" yes": 0.99, " well": 0.009})]
    assert read(listed, "yes") == pytest.approx(0.99 / 0.991)
    alone = [entry("So:"), entry(" no", {" no": 0.75})]
    assert read(alone, "no") == pytest.approx(0.25), "the written token alone says 1 - p"


def test_a_character_split_over_tokens_is_read_by_its_bytes() -> None:
    words = {0: "否", 1: "是"}  # e5 90 a6, e6 98 af
    listed = [
        entry("结论："), entry(b"\xe6", {b"\xe6": 0.6, b"\xe5": 0.3, b"\xe4": 0.1}),
        entry(b"\x98\xaf"), entry("。"),
    ]  # fmt: skip
    assert read(listed, "是", words) == pytest.approx(0.6 / 0.9)


def test_characters_that_share_bytes_are_told_apart_by_the_next() -> None:
    words = {0: "成", 1: "或"}  # e6 88 90, e6 88 96
    listed = [
        entry("：".encode() + b"\xe6\x88", {"：".encode() + b"\xe6\x88": 0.8, "：x": 0.2}),
        entry(b"\x96", {b"\x96": 0.7, b"\x90": 0.3}),
    ]  # fmt: skip
    assert read(listed, "或", words) == pytest.approx(0.7)


def test_chinese_words_stand_after_a_full_width_colon_in_the_same_token() -> None:
    listed = [entry("结论"), entry("：是", {"：是": 0.5, "：否": 0.25, "：": 0.25}), entry("。")]
    assert read(listed, "是", {0: "否", 1: "是"}) == pytest.approx(2 / 3)


def test_tokens_that_spell_another_text_say_nothing() -> None:
    listed = [entry("So:"), entry(" yes")]
    assert tokens.probability(listed, "So: no", 4, WORDS) is None
    assert tokens.probability([], "So: no", 4, WORDS) is None


def test_marks_around_the_answer_that_its_text_leaves_out_are_read_over() -> None:
    listed = [
        entry("\n\n"),
        entry("So:"),
        entry(" yes", {" yes": 0.9, " no": 0.1}),
        entry("<|end|>"),
    ]
    assert tokens.probability(listed, "So: yes", 4, WORDS) == pytest.approx(0.9)


@pytest.mark.parametrize(
    "broken",
    [
        {}, None, "yes", 7, {"token": "yes"}, {"token": None, "logprob": None},
        {"token": "yes", "logprob": None, "top_logprobs": None, "bytes": None},
        {"token": "yes", "logprob": float("nan"), "top_logprobs": [{}, None, 3], "bytes": [300]},
        {"token": "yes", "logprob": "high", "top_logprobs": [], "bytes": ["y"]},
    ],
)  # fmt: skip
def test_what_a_server_lists_amiss_is_no_probability_and_no_error(broken: Any) -> None:
    assert tokens.probability([broken], "yes", 0, WORDS) is None


def test_a_server_that_lists_no_bytes_is_read_by_its_tokens() -> None:
    tops = [{"token": "yes", "logprob": math.log(0.8)}, {"token": "no", "logprob": math.log(0.2)}]
    listed = [{**tops[0], "top_logprobs": tops}]
    assert tokens.probability(listed, "yes", 0, WORDS) == pytest.approx(0.8)


def test_an_impossible_alternative_has_no_share() -> None:
    listed = [entry("So:"), entry(" yes")]
    listed[1]["top_logprobs"].append({"token": " no", "logprob": -9999.0, "bytes": list(b" no")})
    assert read(listed, "yes") == pytest.approx(1.0)


@given(
    p=st.floats(0.01, 0.99), other=st.floats(0.01, 0.9),
    cut=st.integers(1, 3), pad=st.sampled_from(["", " ", '"', ' "']),
)  # fmt: skip
def test_whatever_the_tokens_the_share_is_the_same(
    p: float, other: float, cut: int, pad: str
) -> None:
    share = 1 - other
    options = {pad + "yes"[:cut]: p * share, pad + "no"[:cut]: (1 - p) * share, pad + "so": other}
    listed = [entry("So:"), entry(pad + "yes"[:cut], options), entry("yes"[cut:] + ".")]
    assert read(listed, "yes") == pytest.approx(p)
