from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cqa_helpers import likelihood
from cqa_helpers.likelihood import LikelihoodError
from cqa_helpers.models import LocalModel

PROMPTS = ["<s> <story> the inn at dawn . <rev_a>", "<s> <story>", "<s> a broken watch . <rev_a>"]
TEXTS = ["craft : the watch was broken", "inn", "the chair by the tower at ten . verdict good"]


def one_by_one(local: LocalModel, prompt: str, text: str) -> float:
    ids = local.tokenizer(f"{prompt} {text}")["input_ids"]
    start = len(local.tokenizer(prompt)["input_ids"])
    with torch.inference_mode():
        logits = local.model(input_ids=torch.tensor([ids])).logits[0].double()
    logs = logits.log_softmax(-1)
    return sum(logs[i - 1, ids[i]].item() for i in range(start, len(ids))) / math.log(2)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_bits_are_the_sum_over_the_texts_own_tokens_whatever_the_batch(
    tiny: LocalModel, batch_size: int
) -> None:
    wanted = [one_by_one(tiny, p, t) for p, t in zip(PROMPTS, TEXTS, strict=True)]
    assert likelihood.bits(tiny, PROMPTS, TEXTS, batch_size) == pytest.approx(wanted, abs=1e-3)
    assert max(wanted) < 0


def test_probabilities_of_all_next_words_add_up_to_one(tiny: LocalModel) -> None:
    words = list(tiny.tokenizer.get_vocab())
    found = likelihood.bits(tiny, ["<s> <story> the"] * len(words), words, 64)
    assert np.exp2(found).sum() == pytest.approx(1, abs=1e-4)


def test_a_text_and_prompt_longer_than_the_model_reads_are_refused(tiny: LocalModel) -> None:
    with pytest.raises(LikelihoodError, match="600 tokens and the model reads 512"):
        likelihood.bits(tiny, ["<s> " + "the " * 589], ["watch " * 10], 1)


@pytest.mark.parametrize(("prompt", "text"), [("<s>", "  "), ("", "watch")])
def test_a_text_or_prompt_without_a_token_is_refused(
    tiny: LocalModel, prompt: str, text: str
) -> None:
    with pytest.raises(LikelihoodError, match="Nothing to score"):
        likelihood.bits(tiny, [prompt], [text], 1)


def test_random_weights_have_the_shape_and_another_seed_other_weights(tiny: LocalModel) -> None:
    one, again, other = (likelihood.untrained(tiny, seed) for seed in (1, 1, 2))
    a, b, c = (m.model.state_dict() for m in (one, again, other))
    assert {k: v.shape for k, v in a.items()} == {
        k: v.shape for k, v in tiny.model.state_dict().items()
    }
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a)
    assert "random weights, seed 1" in one.identity
