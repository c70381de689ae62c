"""Results as words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqa_helpers import variables


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2016, "2,016"),
        (-3, "−3"),
        (0.416, "0.42"),
        (0.041, "0.041"),
        (0.05, "0.05"),
        (0.0004, "below 0.001"),
        (-0.0004, "above −0.001"),
        (0.0, "0.00"),
        (-0.0, "0.00"),
        (12.34, "12.3"),
        (1234.5, "1,234"),
        (None, "not measured"),
        (math.nan, "not measured"),
        (-math.inf, "−∞"),
    ],
)
def test_a_number_reads_as_its_size_calls_for(value: float | None, text: str) -> None:
    assert variables.number_text(value) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.08, 0.05, 0.12, "0.08 (0.05 to 0.12)"),
        (-0.02, -0.09, 0.05, "−0.02 (−0.09 to 0.05)"),
        (0.9461, 0.9452, 0.9471, "0.9461 (0.9452 to 0.9471)"),
        (3.58, 3.1, 4.2, "3.58 (3.10 to 4.20)"),
        (412.7, 390.2, 433.1, "413 (390 to 433)"),
        (0.5, 0.5, 0.5, "0.50 (0.50 to 0.50)"),
    ],
)
def test_an_interval_has_the_decimals_it_supports(
    value: float, low: float, high: float, text: str
) -> None:
    interval = {"value": value, "low": low, "high": high}
    assert variables.in_words(interval)["text"] == text


def test_missing_is_never_zero() -> None:
    words = variables.in_words(
        {
            "kappa": {"value": None, "low": None, "high": None},
            "lone": {"value": 0.2, "low": None, "high": None},
            "cost": None,
            "note": " ",
        }
    )
    assert words["kappa"]["text"] == "not measured"
    assert words["lone"]["text"] == "0.20 (interval not measured)"
    assert words["cost"] == words["note"] == "not measured"


def test_every_path_of_the_results_can_be_looked_up() -> None:
    words = variables.in_words(
        {"02-fine-tune": {"arms": {"cot": {"100": {"seeds": [1, 2]}}}}, "gpt-4.1": {"n": 3}}
    )
    assert variables.look_up(words, "02-fine-tune.arms.cot.n100.seeds") == "1, 2"
    assert variables.look_up(words, "gpt-4-1.n") == "3"
    assert variables.look_up(words, "02-fine-tune.arms") is None
    assert variables.look_up(words, "02-fine-tune.arms.cot.n100.seeds.more") is None


def test_two_keys_with_one_variable_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'gpt-4\.1', 'gpt-4-1'"):
        variables.in_words({"gpt-4.1": 1, "gpt-4-1": 2})


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        variables.in_words({"x": object()})


@given(st.text(alphabet=st.characters(blacklist_categories=("Cs", "Cc"))))
def test_escaping_can_be_undone(text: str) -> None:
    assert variables.plain(variables.escape(text)) == " ".join(text.split())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), JSON))
def test_every_leaf_of_any_results_is_a_text_at_its_path(results: dict) -> None:
    words = variables.in_words(results)
    for path in variables.paths(words):
        assert variables.look_up(words, path)
