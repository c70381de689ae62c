"""The base model of the rehearsal: a tiny reader, trained once per lineage and shipped.

``python -m cqa_helpers.rehearsal.base --lineage a --out data/rehearsal/base-a`` trains one
lineage by a seeded schedule of steps, rounds it to bfloat16, saves model and tokenizer and
measures the gate on what was saved. ``--gate DIR`` measures the gate alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cqa_helpers.records import write_atomically
from cqa_helpers.rehearsal import corpus, voices
from cqa_helpers.rehearsal.gate import GateReport, gate, note_exactness
from cqa_helpers.rehearsal.world import Dice, draw_stories

__all__ = ["GateReport", "config", "gate", "pretrain", "tokenizer", "train_lineage"]

LINEAGES = {"a": 20261, "b": 20262}
"""Seed of each lineage: it sets the initial weights and the corpus."""

VOICES: tuple[voices.Voice, ...] = ("a", "b")

STEPS = 3000
TOKENS_A_STEP = 3000
POOL = 400
MUON_LR, ADAM_LR = 0.008, 3e-3
WARM_UP, DECAY_FROM = 60, 0.4
CLIP = 1.0
REPORT_EVERY = 100
PROBE_EVERY, PROBE_SEED, PROBE_STORIES = 500, 999, 64


def tokenizer() -> PreTrainedTokenizerFast:
    """Return the word-level tokenizer, padding on the left; it adds no token of its own."""
    ids = {token: i for i, token in enumerate(voices.vocabulary())}
    words = Tokenizer(WordLevel(ids, unk_token=voices.UNKNOWN))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token=voices.START,
        eos_token=voices.END,
        pad_token=voices.PAD,
        unk_token=voices.UNKNOWN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )


def config() -> LlamaConfig:
    """Return the architecture: four layers of width 128, about 0.9 million parameters."""
    vocabulary = voices.vocabulary()
    return LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=vocabulary.index(voices.START),
        eos_token_id=vocabulary.index(voices.END),
        pad_token_id=vocabulary.index(voices.PAD),
    )


def learning_rate_factor(step: int, steps: int) -> float:
    """Return the share of the peak rate at a step: warm-up, flat, linear to zero at the end."""
    warm = min(1.0, (step + 1) / min(WARM_UP, max(1, steps // 10)))
    return warm * min(1.0, (1 - step / steps) / (1 - DECAY_FROM))


def _optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    # Muon is made for the hidden matrices; the tied embedding and the norms go to AdamW.
    hidden = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    chosen = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(hidden, lr=MUON_LR, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=ADAM_LR, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def _tensors(
    batch: Sequence[corpus.Document], ids: dict[str, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(d.tokens) for d in batch)
    inputs = np.full((len(batch), longest), ids[voices.PAD], dtype=np.int64)
    weights = np.zeros((len(batch), longest), dtype=np.float32)
    for row, doc in enumerate(batch):
        # Padding stands on the right, where causal attention never looks.
        inputs[row, : len(doc.tokens)] = [ids[t] for t in doc.tokens]
        weights[row, : len(doc.tokens)] = doc.weights
    return torch.from_numpy(inputs), torch.from_numpy(weights)


def _stream(steps: int, dice: Dice) -> Iterator[list[corpus.Document]]:
    step = 0
    while step < steps:
        pool = corpus.documents(step / steps, POOL, dice)
        for batch in corpus.batches(pool, TOKENS_A_STEP, dice):
            if step == steps:
                return
            yield batch
            step += 1


def pretrain(seed: int, steps: int = STEPS, log: bool = True) -> tuple[LlamaForCausalLM, int]:
    """Train one base from nothing; return it with the number of tokens it read.

    The schedule counts steps, not seconds: one seed, one result on one machine and one number
    of threads (sums in another order differ in the last bits).
    """
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config())
    model.train()
    optimizers = _optimizers(model)
    peaks = [o.param_groups[0]["lr"] for o in optimizers]
    ids = {token: i for i, token in enumerate(voices.vocabulary())}
    words, probe = tokenizer(), draw_stories(PROBE_STORIES, PROBE_SEED, prefix="probe")
    seen, losses, start = 0, [], time.monotonic()
    for step, batch in enumerate(_stream(steps, Dice(np.random.default_rng(seed)))):
        factor = learning_rate_factor(step, steps)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * factor
        inputs, weights = _tensors(batch, ids)
        seen += sum(len(d.tokens) for d in batch)
        logits = model(input_ids=inputs, use_cache=False).logits[:, :-1]
        each = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            inputs[:, 1:].reshape(-1),
            reduction="none",
        )
        weight = weights[:, 1:].reshape(-1)
        loss = (each * weight).sum() / weight.sum()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for optimizer in optimizers:
            optimizer.step()
        losses.append(float(loss.detach()))
        if log and (step + 1) % REPORT_EVERY == 0:
            speed = seen / (time.monotonic() - start)
            recent = float(np.mean(losses[-REPORT_EVERY:]))
            print(f"step {step + 1}/{steps}  loss {recent:.3f}  {speed:,.0f} tokens/s", flush=True)
        if log and (step + 1) % PROBE_EVERY == 0:
            print("  notes exact", note_exactness(model, words, probe), flush=True)
    model.eval()
    return model, seen


def train_lineage(lineage: str, out: Path, steps: int = STEPS) -> dict[str, GateReport]:
    """Train, round, save and measure one lineage; write ``training.json`` beside the model."""
    seed = LINEAGES[lineage]
    start = time.monotonic()
    model, tokens = pretrain(seed, steps)
    seconds = time.monotonic() - start
    parameters = sum(p.numel() for p in model.parameters())
    model.bfloat16().save_pretrained(out)
    tokenizer().save_pretrained(out)
    reports: dict[str, GateReport] = {voice: gate(out, seed, voice) for voice in VOICES}
    record = {
        "lineage": lineage,
        "seed": seed,
        "steps": steps,
        "tokens": tokens,
        "seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "parameters": parameters,
        "saved_as": "bfloat16",
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy")},
        "gate": {v: {**asdict(r), "passed": r.passed} for v, r in reports.items()},
    }
    write_atomically(out / "training.json", json.dumps(record, indent=2) + "\n")
    return reports


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 1 where the gate fails."""
    parser = argparse.ArgumentParser(prog="python -m cqa_helpers.rehearsal.base")
    parser.add_argument("--lineage", choices=sorted(LINEAGES), default="a")
    parser.add_argument("--out", type=Path, help="folder for the trained base")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--gate", type=Path, metavar="DIR", help="only measure a saved base")
    parser.add_argument("--seed", type=int, default=1, help="seed of the gate's held-out stories")
    chosen = parser.parse_args(arguments)
    if chosen.gate is not None:
        reports: dict[str, GateReport] = {
            voice: gate(chosen.gate, chosen.seed, voice) for voice in VOICES
        }
    elif chosen.out is not None:
        reports = train_lineage(chosen.lineage, chosen.out, chosen.steps)
    else:
        parser.error("give --out to train a base, or --gate to measure one")
    print(*reports.values(), sep="\n")
    return 0 if all(report.passed for report in reports.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
