from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cqa_helpers import likelihood
from cqa_helpers.likelihood import LikelihoodError, Row
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


ROWS = st.lists(
    st.tuples(st.lists(st.integers(4, 6), min_size=2, max_size=14), st.integers(1, 13)).map(
        lambda drawn: Row(drawn[0], min(drawn[1], len(drawn[0]) - 1))
    ),
    min_size=1, max_size=8,
)  # fmt: skip


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=ROWS, batch_tokens=st.integers(1, 80))
def test_rows_that_begin_alike_are_read_as_if_each_were_alone(
    tiny: LocalModel, rows: list[Row], batch_tokens: int
) -> None:
    together = likelihood.surprisals(tiny, rows, batch_tokens)
    apart = likelihood.surprisals(tiny, rows, batch_tokens, packed=False)
    for row, found, other in zip(rows, together, apart, strict=True):
        with torch.inference_mode():
            logits = tiny.model(input_ids=torch.tensor([row.ids])).logits[0].double()
        logs = logits.log_softmax(-1) / math.log(2)
        wanted = [-logs[t - 1, row.ids[t]].item() for t in range(row.start, len(row.ids))]
        assert found == pytest.approx(wanted, abs=1e-4)
        assert other == pytest.approx(wanted, abs=1e-4)


def test_long_beginnings_in_common_are_packed_and_short_ones_are_not() -> None:
    long, short = [*range(90)], [*range(10)]
    alike = [[*long, 100 + i] for i in range(3)]
    found = likelihood._packs([*alike, [*short, *range(200, 300)]], 64, 500)
    assert sorted(len(pack.rows) for pack in found) == [1, 3]
    packed = next(pack for pack in found if len(pack.rows) == 3)
    assert (packed.common, packed.length) == (90, 93)
    # Nothing is packed that no pass could hold, or that the model cannot tell apart.
    assert all(len(pack.rows) == 1 for pack in likelihood._packs(alike, 64, 91))
    assert all(len(pack.rows) == 1 for pack in likelihood._packs(alike, None, 500))


def test_probabilities_that_are_no_numbers_are_refused(tiny: LocalModel) -> None:
    with torch.no_grad():
        tiny.model.get_output_embeddings().weight[:] = math.nan
    with pytest.raises(LikelihoodError, match="'inn' is no number"):
        likelihood.bits(tiny, ["<s> <story>"], ["inn"], 1)


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
