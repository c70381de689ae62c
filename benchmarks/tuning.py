"""Time LoRA fine-tuning as the study does it, beside stock TRL and a plain loop, on the same rows.

The base has the shape that is asked for and random weights: speed and memory are real, and the
losses say only whether all three learn alike. Rows are random words, one token each.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from cqa_helpers import capacity, finetuning, models, supervision
from cqa_helpers.arms import TrainingRow
from cqa_helpers.models import LocalModel
from cqa_helpers.params import Tuning

# Published shapes (the models' own config files); "tiny" is for trying the script on a CPU.
SHAPES: dict[str, dict[str, Any]] = {
    "qwen2.5-7b": {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
        "tie_word_embeddings": False, "rms_norm_eps": 1e-6,
    },
    "qwen2.5-0.5b": {
        "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936,
        "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
    },
    "tiny": {
        "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 4096,
        "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
    },
}  # fmt: skip
WORDS = 2000


class Timed(NamedTuple):
    """What one contender took, start-up left out where it can be told apart."""

    name: str
    seconds_a_step: float
    tokens_a_second: float
    peak_gib: float | None
    losses: list[float]


def random_base(shape: str, precision: str, device: str) -> LocalModel:
    """Return a model of a published shape with random weights, and a tokenizer of words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config

    words = ["<pad>", "</s>", "<unk>", *(f"w{i}" for i in range(WORDS))]
    inner = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        padding_side="left",
    )  # fmt: skip
    config = Qwen2Config(**SHAPES[shape], max_position_embeddings=32768, eos_token_id=1)
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    torch.manual_seed(0)
    if precision != "nf4":
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        return LocalModel(model.eval(), tokenizer, f"random-{shape}@seed0/{precision}")
    from transformers import BitsAndBytesConfig

    with tempfile.TemporaryDirectory() as folder:
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        model.save_pretrained(folder)
        del model
        _clear()
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, device_map={"": device},
            quantization_config=BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=torch.bfloat16,
            ),
        )  # fmt: skip
    return LocalModel(model.eval(), tokenizer, f"random-{shape}@seed0/nf4")


def rows_of(n: int, length: int, completion: int, seed: int = 0) -> list[TrainingRow]:
    """Return rows whose lengths vary by a quarter around the one asked for, as stories do."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        whole = int(length * rng.uniform(0.75, 1.25))
        words = [f"w{k}" for k in rng.zipf(1.3, whole) % WORDS]
        prompt, reply = words[:-completion], words[-completion + 1 :]
        made.append(TrainingRow(f"row-{i}", " ".join(prompt), " " + " ".join(reply)))
    return made


def tuning_of(given: argparse.Namespace, steps: int) -> Tuning:
    """Return the starting point for 100 rows, with so many steps."""
    return Tuning(
        arms={"cot": [given.rows]}, seeds=[1], steps=steps, batch_size=given.batch,
        micro_batch_size=1, learning_rate=1e-4, schedule="cosine", warmup_steps=min(4, steps - 1),
        max_length=int(given.length * 1.3), lora_rank=given.rank, lora_alpha=2 * given.rank,
        lora_dropout=0.05, checkpoints=1,
    )  # fmt: skip


def ours(local: LocalModel, rows: Sequence[TrainingRow], tuning: Tuning) -> list[float]:
    """Train as the study does: all guards, one row a micro batch, memory given up only if short."""
    with tempfile.TemporaryDirectory() as folder:
        made = finetuning.tune(local, rows, tuning, 1, Path(folder) / "adapter")
    return list(made.record["losses"])


def stock(local: LocalModel, rows: Sequence[TrainingRow], tuning: Tuning) -> list[float]:
    """Train with TRL's own defaults: only model, rows, LoRA, steps and rate are given."""
    from datasets import Dataset
    from transformers import set_seed
    from trl import SFTConfig, SFTTrainer

    set_seed(1)
    model = _with_lora(local, tuning)
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=folder, max_steps=tuning.steps, max_length=tuning.max_length,
                per_device_train_batch_size=tuning.batch_size, learning_rate=tuning.learning_rate,
                lr_scheduler_type="cosine", warmup_steps=tuning.warmup_steps, logging_steps=1,
                report_to="none", save_strategy="no", disable_tqdm=True, seed=1,
                use_cpu=local.model.device.type == "cpu",
                bf16=local.model.device.type == "cuda",
            ),
            train_dataset=Dataset.from_list(
                [{"prompt": r.prompt, "completion": r.completion} for r in rows]
            ),
            processing_class=local.tokenizer,
        )  # fmt: skip
        trainer.train()
    losses = [e["loss"] for e in trainer.state.log_history if "loss" in e]
    model.unload()
    return losses


def plain(local: LocalModel, rows: Sequence[TrainingRow], tuning: Tuning) -> list[float]:
    """Train with a loop of twenty lines: padded batches, the model's own loss, AdamW."""
    torch.manual_seed(1)
    model, tokenizer = _with_lora(local, tuning), local.tokenizer
    model.train()
    wanted = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(wanted, lr=tuning.learning_rate, weight_decay=0.0)
    rng, losses, queue = np.random.default_rng(1), [], []
    device = local.model.device
    for _ in range(tuning.steps):
        if len(queue) < tuning.batch_size:
            queue += rng.permutation(len(rows)).tolist()
        chosen, queue = queue[: tuning.batch_size], queue[tuning.batch_size :]
        texts = [rows[i].prompt + rows[i].completion + " </s>" for i in chosen]
        inputs = tokenizer(texts, return_tensors="pt", padding=True).to(device)
        labels = inputs["input_ids"].clone()
        for k, i in enumerate(chosen):
            own = len(rows[i].completion.split()) + 1
            labels[k, : labels.shape[1] - own] = -100
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = model(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"],
                labels=labels, use_cache=False,
            ).loss  # fmt: skip
        loss.backward()
        torch.nn.utils.clip_grad_norm_(wanted, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.unload()
    return losses


def _with_lora(local: LocalModel, tuning: Tuning) -> Any:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(
        local.model,
        LoraConfig(
            r=tuning.lora_rank, lora_alpha=tuning.lora_alpha, lora_dropout=tuning.lora_dropout,
            target_modules="all-linear", task_type="CAUSAL_LM",
        ),
    )  # fmt: skip


Way = Callable[[LocalModel, Sequence[TrainingRow], Tuning], list[float]]


def timed(name: str, way: Way, local: LocalModel, given: argparse.Namespace) -> Timed | str:
    """Return a contender's time a step: a long run less a short one, so that start-up is out."""
    rows = rows_of(given.rows, given.length, given.completion)
    cuda = local.model.device.type == "cuda"
    tokens = np.mean([len((r.prompt + r.completion).split()) + 1 for r in rows]) * given.batch
    seconds, losses = [], []
    try:
        way(local, rows, tuning_of(given, 2))  # imports and caches, not counted
        for steps in (2, 2 + given.steps):
            _clear()
            if cuda:
                torch.cuda.reset_peak_memory_stats()
                torch.cuda.synchronize()
            start = time.perf_counter()
            losses = way(local, rows, tuning_of(given, steps))
            if cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    except (torch.OutOfMemoryError, finetuning.TuningError) as error:
        _clear()
        return f"{name}: {str(error).splitlines()[0]}"
    step = (seconds[1] - seconds[0]) / given.steps
    peak = torch.cuda.max_memory_allocated() / 2**30 if cuda else None
    return Timed(name, step, tokens / step, peak, losses)


def matrix_limit(device: str) -> float:
    """Return what this device's bfloat16 (on a CPU float32) matrix product reaches, in flop/s."""
    n, dtype = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(12):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * n**3 / (time.perf_counter() - start))
    return best


def _clear() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def main() -> None:
    """Run the contenders one after the other and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "nf4"), default="float32")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--length", type=int, default=2600, help="tokens a row, give or take 25 %%")
    parser.add_argument("--completion", type=int, default=150, help="supervised tokens a row")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--only", choices=("ours", "stock", "plain"), default=None)
    given = parser.parse_args()
    models.quiet()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    local = random_base(given.shape, given.precision, device)
    limit = matrix_limit(device)
    shape = capacity.shape_of(local.model.config)
    # Model operations alone: forward 2 P and gradients of activations 2 P a token; weights are
    # frozen, and what checkpointing computes twice is not work done.
    flop = 4.0 * shape.linear + 8.0 * shape.layers * shape.hidden * given.length
    ways: dict[str, Way] = {"ours": ours, "stock": stock, "plain": plain}
    found = [timed(n, w, local, given) for n, w in ways.items() if given.only in (None, n)]
    cpu = f"CPU with {torch.get_num_threads()} threads"
    where = torch.cuda.get_device_name() if device == "cuda" else cpu
    print(
        f"\n{given.shape} (random weights), {given.precision}, rank {given.rank}, {given.rows} "
        f"rows of about {given.length} tokens, batch {given.batch}; {where}, {platform.machine()}, "
        f"torch {torch.__version__}; matrix limit {limit / 1e12:.1f} TFLOP/s"
    )
    if isinstance(found[0], Timed) and given.only in (None, "ours"):
        counted = supervision.audit(
            rows_of(given.rows, given.length, given.completion), local.tokenizer, 10**6
        )
        print("ours:", finetuning.way(local, tuning_of(given, 2), counted).why)
    print("\n| | s a step | tokens/s | ratio | peak GiB | share of limit | first, last loss |")
    print("|---|--:|--:|--:|--:|--:|---|")
    base = next((f for f in found if isinstance(f, Timed) and f.name == "stock"), None)
    for f in found:
        if isinstance(f, str):
            print(f"| {f} | | | | | | |")
            continue
        ratio = "" if base is None else f"{f.tokens_a_second / base.tokens_a_second:.2f}"
        cells = [
            f.name,
            f"{f.seconds_a_step:.3f}",
            f"{f.tokens_a_second:,.0f}",
            ratio,
            "" if f.peak_gib is None else f"{f.peak_gib:.1f}",
            f"{f.tokens_a_second * flop / limit:.0%}",
            f"{f.losses[0]:.3f}, {f.losses[-1]:.3f}",
        ]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
