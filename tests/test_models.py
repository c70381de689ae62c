from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch

from cqa_helpers import choices, models
from cqa_helpers.choices import Spot
from cqa_helpers.models import LocalModel, ModelError
from cqa_helpers.params import Models, Params

Maker = Callable[..., Params]
PROMPTS = ["<s> <story> the inn at dawn . <rev_a>", "<s> <story> a broken watch <rev_a>", "<s>"]


def spec(params: Params, **changes: object) -> Models:
    assert params.models is not None
    return params.models.model_copy(update=changes)


def draw(local: LocalModel, seed: int, temperature: float = 1.0) -> list[str]:
    return models.sample(local, PROMPTS, temperature=temperature, max_new_tokens=8, seed=seed)


def test_equal_seeds_give_equal_texts_and_other_seeds_others(tiny: LocalModel) -> None:
    assert draw(tiny, 1) == draw(tiny, 1)
    assert draw(tiny, 1) != draw(tiny, 2)
    assert all(draw(tiny, 1))


def test_greedy_decoding_knows_no_seed(tiny: LocalModel) -> None:
    assert draw(tiny, 1, 0.0) == draw(tiny, 2, 0.0)


def test_greedy_decoding_of_a_batch_equals_that_of_each_prompt_alone(tiny: LocalModel) -> None:
    alone = [models.sample(tiny, [p], temperature=0, max_new_tokens=8, seed=0)[0] for p in PROMPTS]
    assert draw(tiny, 0, 0.0) == alone


def test_batches_cover_all_rows_once_in_fixed_places() -> None:
    cut = [list(range(7))[part] for part in models.batches(7, 3)]
    assert cut == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(models.batches(0, 3)) == []


def test_the_identity_follows_the_weights_and_the_precision(
    tiny_params: Params, tiny_folder: Path, tmp_path: Path
) -> None:
    one = models.identity(spec(tiny_params))
    copy = tmp_path / "copy"
    shutil.copytree(tiny_folder, copy)
    tag = one.split("@")[1]
    assert models.identity(spec(tiny_params), str(copy)).endswith(tag)
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(bytes(data))
    assert not models.identity(spec(tiny_params), str(copy)).endswith(tag)
    assert models.identity(spec(tiny_params, precision="bfloat16")) != one


def test_a_base_that_is_nowhere_is_an_error_that_says_what_to_do(
    tiny_params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ModelError, match=r"'no/such'.*We couldn't connect.*connect to the network"):
        models.load(spec(tiny_params, base="no/such"))


@pytest.mark.parametrize("harm", ["cut weights", "no tokenizer"])
def test_a_base_whose_files_are_damaged_is_named_and_what_to_do(
    tiny_params: Params, tiny_folder: Path, tmp_path: Path, harm: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_folder, copy)
    if harm == "cut weights":
        data = (copy / "model.safetensors").read_bytes()
        (copy / "model.safetensors").write_bytes(data[: len(data) // 2])
    else:
        (copy / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"cannot be loaded \(.*[Dd]elete the folder"):
        models.load(spec(tiny_params, base=str(copy)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_where_there_is_none_is_an_error_and_auto_falls_back(tiny_params: Params) -> None:
    with pytest.raises(ModelError, match="has no CUDA device"):
        models.device_of(spec(tiny_params, device="cuda"))
    assert models.device_of(spec(tiny_params, device="auto")) == "cpu"


def test_the_precision_is_that_of_the_loaded_weights(tiny_params: Params) -> None:
    local = models.load(spec(tiny_params, precision="bfloat16"))
    assert {p.dtype for p in local.model.parameters()} == {torch.bfloat16}
    assert not local.model.training


def test_nf4_weights_load_and_answer(tiny_params: Params) -> None:
    pytest.importorskip("bitsandbytes")
    local = models.load(spec(tiny_params, precision="nf4"))
    assert local.model.is_loaded_in_4bit
    spot = Spot(0, "<s> craft : verdict ")
    probability = choices.choice_probabilities(local, [spot], ("bad", "good"), 1)
    assert 0 < probability[0] < 1
    assert len(models.sample(local, PROMPTS, temperature=1.0, max_new_tokens=3, seed=0)) == 3


def test_the_seed_of_a_draw_is_the_same_everywhere_and_differs_by_every_part() -> None:
    assert models.seed_of(1, 0, 80) == models.seed_of(1, 0, 80)
    assert len({models.seed_of(*parts) for parts in [(1, 0, 80), (2, 0, 80), (1, 1, 80)]}) == 3
    assert models.seed_of("训练", 1) == 1309087119
    assert 0 <= models.seed_of("x") < 2**31
