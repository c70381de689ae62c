"""What training needs: exact counts against real small models, and choices on a row of cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    GPT2Config,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from cqa_helpers import capacity, hardware
from cqa_helpers.capacity import CapacityError

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 331,
}
FAMILIES: list[tuple[Any, Any, dict[str, Any]]] = [
    (LlamaConfig, LlamaForCausalLM, {}),
    (LlamaConfig, LlamaForCausalLM, {"attention_bias": True, "mlp_bias": True}),
    (LlamaConfig, LlamaForCausalLM, {"head_dim": 32, "tie_word_embeddings": True}),
    (Qwen2Config, Qwen2ForCausalLM, {"tie_word_embeddings": False}),
    (Qwen2Config, Qwen2ForCausalLM, {"tie_word_embeddings": True}),
    (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 24}),
]
# As published with the weights of Qwen2.5-7B.
QWEN_7B = Qwen2Config(
    hidden_size=3584,
    intermediate_size=18944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    vocab_size=152064,
    tie_word_embeddings=False,
)
LONG = {"rank": 16, "micro_batch": 1, "length": 4096, "supervised": 400}


def lora(model: Any, rank: int, dropout: float = 0.0) -> Any:
    return get_peft_model(
        model,
        LoraConfig(
            r=rank, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )


@pytest.mark.parametrize(("config", "model", "more"), FAMILIES)
def test_counts_are_those_of_the_model_itself(config: Any, model: Any, more: Any) -> None:
    made = config(**SIZES, **more)
    real = model(made)
    shape = capacity.shape_of(made)
    assert shape.parameters == sum(p.numel() for p in real.parameters())
    linear = [
        m.weight.numel()
        for name, m in real.named_modules()
        if isinstance(m, torch.nn.Linear) and name != "lm_head"
    ]
    assert shape.linear == sum(linear)
    for rank in (1, 8):
        tuned = lora(model(made), rank)
        trained = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
        assert shape.lora(rank) == trained


def test_qwen_7b_has_its_published_size() -> None:
    shape = capacity.shape_of(QWEN_7B)
    assert shape.parameters == 7_615_616_512
    assert (shape.layers, shape.hidden, shape.intermediate) == (28, 3584, 18944)
    assert (shape.heads, shape.kv_heads, shape.vocab, shape.tied) == (28, 4, 152064, False)
    assert capacity.weights_bytes(shape, "bfloat16") == 2 * shape.parameters
    # QLoRA's paper: 0.127 bits a parameter on top of 4 with double quantisation.
    only_linear = shape._replace(parameters=shape.linear)
    assert capacity.weights_bytes(only_linear, "nf4") * 8 / shape.linear == pytest.approx(
        4.127, abs=0.001
    )


def test_a_family_that_is_not_known_is_refused() -> None:
    with pytest.raises(CapacityError, match="'gpt2' are not known; known are llama"):
        capacity.shape_of(GPT2Config())


def kept_bytes(config: Any, model: Any, layers: int, dtype: torch.dtype, dropout: float) -> int:
    """Return the bytes of all that autograd keeps for a forward pass, weights left out."""
    torch.manual_seed(0)
    tuned = lora(model(config(**{**SIZES, "num_hidden_layers": layers})).to(dtype), 8, dropout)
    tuned.train()
    weights = {t.untyped_storage().data_ptr() for t in (*tuned.parameters(), *tuned.buffers())}
    kept: dict[int, Any] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids = torch.randint(0, SIZES["vocab_size"], (2, 256))
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
        torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16),
    ):
        out = tuned.model.model(input_ids=ids).last_hidden_state
    assert out.requires_grad
    return sum(t.untyped_storage().nbytes() for t in kept.values())


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("config", "model"), [(LlamaConfig, LlamaForCausalLM), (Qwen2Config, Qwen2ForCausalLM)]
)
def test_activations_are_what_autograd_keeps_within_a_tenth(
    config: Any, model: Any, precision: capacity.Precision, dropout: float
) -> None:
    dtype = getattr(torch, precision)
    two, four = (kept_bytes(config, model, n, dtype, dropout) for n in (2, 4))
    measured = (four - two) / 2 / 512
    shape = capacity.shape_of(config(**SIZES))
    said = capacity.layer_bytes(shape, precision, 8, dropout > 0)
    if dropout and precision == "bfloat16":
        # A CPU's masks have four bytes a number, a GPU's one, and the formula is a GPU's here.
        said += 3 * (5 * 64 + 64 + 160)
    assert said == pytest.approx(measured, rel=0.1)


def test_parts_add_up_and_grow_with_what_they_hang_on() -> None:
    shape = capacity.shape_of(QWEN_7B)
    plain = capacity.need(shape, "bfloat16", 16, 1, 4096, 400, False)
    assert plain.total == pytest.approx(sum(plain[:5]))
    saved = capacity.need(shape, "bfloat16", 16, 1, 4096, 400, True)
    small = capacity.need(shape, "nf4", 16, 1, 4096, 400, True)
    assert saved.activations < plain.activations / 5
    assert small.weights < saved.weights / 2
    double = capacity.need(shape, "bfloat16", 32, 2, 4096, 400, False)
    assert double.adapter == pytest.approx(2 * plain.adapter)
    assert double.logits == pytest.approx(2 * plain.logits)
    assert double.activations > 2 * plain.activations


@pytest.mark.parametrize(
    ("free", "precision", "checkpointing"),
    [
        (139.0, "bfloat16", False),
        (79.0, "bfloat16", False),
        (40.0, "bfloat16", True),
        (23.6, "bfloat16", True),
        (15.8, "nf4", True),
    ],
)
def test_the_gentlest_way_that_fits_a_card_is_taken(
    free: float, precision: str, checkpointing: bool
) -> None:
    choice = capacity.choose(capacity.shape_of(QWEN_7B), free, **LONG)
    assert (choice.precision, choice.checkpointing) == (precision, checkpointing)
    assert choice.need.total <= 0.9 * free
    assert f"{choice.need.total:.1f} GiB" in choice.why
    assert f"{free:.0f} GiB" in choice.why or f"{free:.1f} GiB" in choice.why


def test_4_bit_without_checkpointing_comes_before_4_bit_with_it() -> None:
    shape, short = capacity.shape_of(QWEN_7B), {**LONG, "length": 512}
    by = capacity.need(shape, "nf4", 16, 1, 512, 400, False).total
    assert by < capacity.need(shape, "bfloat16", 16, 1, 512, 400, True).total
    choice = capacity.choose(shape, by / 0.89, **short)
    assert (choice.precision, choice.checkpointing) == ("nf4", False)


def test_what_does_not_fit_says_what_is_short_and_what_helps() -> None:
    shape = capacity.shape_of(QWEN_7B)
    with pytest.raises(CapacityError) as error:
        capacity.choose(shape, 11.0, **{**LONG, "micro_batch": 4})
    said = str(error.value)
    assert "even nf4 with gradient checkpointing needs" in said
    assert "lower tuning.micro_batch_size from 4" in said
    assert "shorten the rows (about" in said
    with pytest.raises(CapacityError, match=r"set models\.precision to nf4.*checkpointing to auto"):
        capacity.choose(shape, 24.0, **LONG, precision="bfloat16", checkpointing="off")
    with pytest.raises(CapacityError, match=r"precision 'int8'"):
        capacity.choose(shape, 24.0, **LONG, precision="int8")


def test_what_the_error_says_would_fit_does_fit() -> None:
    shape = capacity.shape_of(QWEN_7B)
    with pytest.raises(CapacityError, match=r"about \d+ tokens would fit") as error:
        capacity.choose(shape, 11.0, **LONG)
    length = int(str(error.value).split("about ")[1].split(" tokens")[0])
    supervised = 400 * length // 4096
    choice = capacity.choose(shape, 11.0, **{**LONG, "length": length, "supervised": supervised})
    assert choice.precision == "nf4"


def test_a_declared_way_is_kept_and_a_cpu_trains_in_float32() -> None:
    shape = capacity.shape_of(LlamaConfig(**SIZES))
    assert capacity.choose(shape, 16.0, device="cpu", **LONG).precision == "float32"
    on = capacity.choose(shape, 16.0, checkpointing="on", precision="nf4", **LONG)
    assert (on.precision, on.checkpointing) == ("nf4", True)


def test_memory_that_is_not_known_refuses_nothing_and_says_so() -> None:
    choice = capacity.choose(capacity.shape_of(QWEN_7B), None, **LONG)
    assert choice.precision == "bfloat16"
    assert "not known" in choice.why


def test_a_containers_limits_count_and_not_the_hosts_memory(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 67108864 kB\nMemFree: 1 kB\nMemAvailable: 33554432 kB\n")
    assert hardware._ram(tmp_path / "none", meminfo) == (64.0, 32.0)
    (tmp_path / "memory.max").write_text(f"{8 * 2**30}\n")
    (tmp_path / "memory.current").write_text(f"{3 * 2**30}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {2**30}\n")
    assert hardware._ram(tmp_path, meminfo) == (8.0, 6.0)
    (tmp_path / "memory.max").write_text("max\n")
    assert hardware._ram(tmp_path, meminfo) == (64.0, 32.0)
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert hardware._cpus(tmp_path) == 1


def test_the_machine_is_described_and_a_folder_need_not_be_there(tmp_path: Path) -> None:
    found = capacity.machine(tmp_path / "not" / "yet")
    assert found.cpus >= 1
    assert found.disk_free_gib > 0
    assert found.ram_gib is None or found.ram_gib > 0.5
    assert (found.gpu is None) == (not torch.cuda.is_available())
