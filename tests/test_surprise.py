from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from cqa_helpers import surprise
from cqa_helpers.models import LocalModel
from cqa_helpers.surprise import PairTest, SurpriseError

WORDS = ["<pad>", "a", "b", "c", "d", "u", "y"]


class Words:
    """Whitespace tokens, ids by place in WORDS."""

    pad_token_id = 0

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [WORDS.index(word) for word in text.split()]}


class NextWord:
    """p(b | a) = 1/2, p(c | a) = 1/4, else 1/4 to d; after y anywhere before, b is certain."""

    device = torch.device("cpu")

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        a, b, c, d, y = (WORDS.index(w) for w in "abcdy")
        p = torch.full((*input_ids.shape, len(WORDS)), 1e-9)
        p[..., b], p[..., c], p[..., d] = 0.25, 0.25, 0.5
        p[input_ids == a] = 1e-9
        for word, share in ((b, 0.5), (c, 0.25), (d, 0.25)):
            p[..., word] = torch.where(input_ids == a, share, p[..., word])
        after_y = (input_ids == y).cumsum(1) > 0
        certain = torch.full((len(WORDS),), 1e-9)
        certain[b] = 1.0
        p[after_y] = certain
        return type("Out", (), {"logits": p.log()})()


HAND = LocalModel(NextWord(), Words(), "by hand")


def test_bits_by_hand() -> None:
    # After u: b costs 2 bits; after a: b costs 1, c costs 2; after b: d costs 1.
    bits = surprise.bits_per_token(HAND, ["u", "u a", "u"], ["b", "b", "b d"], 8)
    assert bits == pytest.approx([2.0, 1.0, 1.5], abs=1e-6)


def test_information_is_what_the_constraints_save() -> None:
    found = surprise.score(HAND, "u", ["u y", "u"], ["b b", "b d"], 8)
    assert found.unconstrained == pytest.approx([2.0, 1.5], abs=1e-6)
    assert found.constrained == pytest.approx([0.0, 1.5], abs=1e-6)
    assert found.information == pytest.approx(found.unconstrained - found.constrained)
    assert found.information == pytest.approx([2.0, 0.0], abs=1e-6)


def test_a_prefix_token_is_never_counted() -> None:
    # Every word of these prefixes would cost many bits if it were counted.
    for prefix in ("u", "u u u u u u u", "u c c c c u"):
        assert surprise.bits_per_token(HAND, [prefix], ["b"], 8) == pytest.approx([2.0], abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_the_batch_and_its_padding_change_nothing(tiny: LocalModel, batch_size: int) -> None:
    texts = ["the inn at dawn .", "watch", "a broken watch lay by the chair . the watch"]
    prefixes = ["<s> <story>", "<s> <plan> the tower . <story>", "<s> <story>"]
    alone = [
        surprise.bits_per_token(tiny, [p], [t], 1)[0] for p, t in zip(prefixes, texts, strict=True)
    ]
    assert surprise.bits_per_token(tiny, prefixes, texts, batch_size) == pytest.approx(
        alone, abs=1e-4
    )


def test_bits_equal_a_plain_sum_of_log_probabilities(tiny: LocalModel) -> None:
    prefix, text = "<s> <story>", "a broken watch lay by the chair ."
    ids = tiny.tokenizer(f"{prefix} {text}", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        logs = torch.log_softmax(tiny.model(input_ids=ids).logits[0].double(), -1)
    start = len(prefix.split())
    own = [logs[t - 1, ids[0, t]].item() for t in range(start, ids.shape[1])]
    expected = -sum(own) / len(own) / math.log(2)
    found = surprise.bits_per_token(tiny, [prefix], [text], 4)
    assert found == pytest.approx([expected], abs=1e-5)


class Merging(Words):
    """A tokenizer that makes one token of ``u b`` across the seam."""

    def __call__(self, text: str) -> dict[str, list[int]]:
        return super().__call__(text.replace("u b", "y"))


def test_a_token_that_merges_across_the_seam_counts_as_text() -> None:
    # "d u" + "b" becomes d, y: the first token that differs from the prefix's own is scored.
    merged = LocalModel(NextWord(), Merging(), "merging")
    assert surprise.bits_per_token(merged, ["d u"], ["b"], 1)[0] > 20


def test_a_text_without_a_token_of_its_own_is_an_error() -> None:
    with pytest.raises(SurpriseError, match="No passage token"):
        surprise.bits_per_token(HAND, ["u"], ["  "], 1)


def test_a_prefix_for_each_text_is_needed() -> None:
    with pytest.raises(ValueError, match="zip"):
        surprise.bits_per_token(HAND, ["u"], ["a", "b"], 1)


def test_judgment_bits_are_clipped_and_missing_where_a_verdict_is() -> None:
    bits = surprise.log_odds_all_good(np.array([[1.0, 0.5], [0.0, 0.25], [np.nan, 0.5]]), 0.05)
    assert bits[:2] == pytest.approx([np.log2(0.95) - 1, np.log2(0.05) - 2])
    assert np.isnan(bits[2])


def test_a_pair_test_by_hand() -> None:
    values = np.array([1.0, 2.0, 3.0, -1.0, 4.0, 5.0])
    found = surprise.pair_test(np.r_[values, np.nan])
    assert found.n == 6
    assert found.mean == pytest.approx(14 / 6)
    assert found.cohens_d == pytest.approx(np.mean(values) / np.std(values, ddof=1))
    assert found.p_two_sided == pytest.approx(stats.wilcoxon(values).pvalue)


@pytest.mark.parametrize("constant", [0.0, 1.0, 0.1, -4.2479275134])
def test_constant_differences_have_no_d_and_no_p(constant: float) -> None:
    found = surprise.pair_test(np.full(7, constant))
    assert found == PairTest(pytest.approx(constant), None, None, 7)
    # What rounding leaves of a constant is none.
    rounded = np.full(7, constant) + np.array([0, 1, -1, 2, 0, 1, 0]) * 1e-16 * abs(constant)
    assert surprise.pair_test(rounded).cohens_d is None


def test_no_pairs_and_one_pair_have_no_test() -> None:
    nothing = surprise.pair_test(np.array([np.nan]))
    assert math.isnan(nothing.mean)
    assert nothing[1:] == (None, None, 0)
    assert surprise.pair_test(np.array([2.0])) == PairTest(2.0, None, None, 1)
