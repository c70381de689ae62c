"""What many tests need: params of the rehearsal in small, and a tiny random language model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cqa_helpers import params as run_params
from cqa_helpers import paths

if TYPE_CHECKING:
    from cqa_helpers.models import LocalModel

SMALL: dict[str, Any] = {
    "corpus": {"n_train": 16, "n_test": 16, "n_pairs": 3},
    "models": {"second_base": None},
    "tuning": {
        "arms": {"cot": [4, 8]},
        "seeds": [1, 2],
        "steps": 2,
        "batch_size": 4,
        "micro_batch_size": 4,
        "warmup_steps": 1,
        "lora_rank": 2,
        "lora_alpha": 4,
    },
    "judging": {"max_new_tokens": 4, "batch_size": 6},
    "surprise": {"arms": ["cot"]},
    "blind": {
        "n_items": 4,
        "raters": ["rater-1", "rater-2"],
        "raters_a_passage": None,
        "repeats": 0.0,
        "attention": 0,
        "seeds": "first",
        "simulation": None,
    },
    "study": {"n_boot": 100},
}


# Modules that take minutes start first, so that no worker is left with one of them at the end.
LONG = ("notebooks", "slurm", "forms", "report", "judges")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what takes longest first; within it the order stays."""
    items.sort(
        key=lambda item: next((k for k, n in enumerate(LONG) if n in item.path.parts), len(LONG))
    )


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    whole = dict(below)
    for key, value in above.items():
        nested = isinstance(value, dict) and isinstance(below.get(key), dict) and key != "arms"
        whole[key] = _merged(below[key], value) if nested else value
    return whole


@pytest.fixture(scope="session")
def small_params() -> Callable[..., run_params.Params]:
    """Return a maker of the rehearsal's params in small, with changes by section."""
    raw = yaml.safe_load((paths.root() / "params" / "rehearsal.yaml").read_text(encoding="utf-8"))
    small = _merged(raw, SMALL)

    def make(**changes: Any) -> run_params.Params:
        return run_params.Params.model_validate(_merged(small, changes))

    return make


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a random two-layer Llama that has the rehearsal's words.

    64 wide, because 4-bit weights come in blocks of 64.
    """
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from cqa_helpers.rehearsal import voices

    folder = tmp_path_factory.mktemp("tiny")
    special = ["<pad>", "<unk>", "<s>", "</s>"]
    words = special + [w for w in voices.vocabulary() if w not in special]
    fast = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    fast.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=fast,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        padding_side="left",
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_params(
    small_params: Callable[..., run_params.Params], tiny_folder: Path
) -> run_params.Params:
    """Return small params whose base is the tiny random model."""
    return small_params(models={"base": str(tiny_folder)})


@pytest.fixture
def tiny(tiny_params: run_params.Params) -> LocalModel:
    """Return the tiny random model, loaded as a study loads its base."""
    from cqa_helpers import models

    assert tiny_params.models is not None
    return models.load(tiny_params.models)
