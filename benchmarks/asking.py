"""Time the asking of a local judge: one by one, in batches, and as the study does it.

The model has the shape that is asked for and random weights; passages and questions are random
words, one token each. What is compared reads the same prompts and writes as many tokens.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from tuning import SHAPES, WORDS, random_base

from cqa_helpers import choices, models
from cqa_helpers.choices import Spot
from cqa_helpers.models import LocalModel, batches

YES, NO = "w7", "w8"


def prompts_of(given: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Return the prompts, a passage's questions in a row, and the passage of each."""
    rng = np.random.default_rng(0)

    def text(n: int) -> str:
        return " ".join(f"w{k}" for k in rng.zipf(1.3, n) % WORDS)

    rubric = text(given.rubric)
    asked = [text(given.question) for _ in range(given.questions)]
    prompts, labels = [], []
    for p in range(given.passages):
        passage = text(int(given.passage * rng.uniform(0.75, 1.25)))
        prompts += [f"{rubric} {passage} {question}" for question in asked]
        labels += [f"p{p}"] * len(asked)
    return prompts, labels


def one_by_one(local: LocalModel, prompts: Sequence[str], new: int) -> np.ndarray:
    """Generate and read the probability as a plain loop over questions would."""
    low, high = local.tokenizer.convert_tokens_to_ids([NO, YES])
    found = []
    for prompt in prompts:
        inputs = models.encode(local, [prompt])
        with torch.inference_mode():
            if new:
                local.model.generate(
                    **inputs, do_sample=False, max_new_tokens=new, min_new_tokens=new,
                    pad_token_id=local.tokenizer.pad_token_id,
                )  # fmt: skip
            row = local.model(**inputs).logits[0, -1].float()
        found.append(torch.sigmoid(row[high] - row[low]).item())
    return np.array(found)


def batched(
    local: LocalModel,
    prompts: Sequence[str],
    new: int,
    size: int,
    labels: Sequence[Any] | None,
) -> np.ndarray:
    """Ask in batches with the study's own functions; with labels, beginnings are read once."""
    found = []
    for batch in batches(len(prompts), size):
        mine = None if labels is None else labels[batch]
        if new:
            models.sample(
                local, prompts[batch], temperature=0, max_new_tokens=new, seed=0, labels=mine
            )
        spots = [Spot(row, f"{p} ") for row, p in enumerate(prompts[batch])]
        found.append(choices.choice_probabilities(local, spots, (NO, YES), size, mine))
    return np.concatenate(found)


def main() -> None:
    """Run the ways one after the other and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "nf4"), default="float32")
    parser.add_argument("--passages", type=int, default=4)
    parser.add_argument("--questions", type=int, default=14, help="questions a passage")
    parser.add_argument("--rubric", type=int, default=60, help="tokens before a passage")
    parser.add_argument("--passage", type=int, default=800, help="tokens, give or take 25 %%")
    parser.add_argument("--question", type=int, default=60, help="tokens after a passage")
    parser.add_argument("--new", type=int, default=64, help="tokens of a reasoned answer")
    parser.add_argument("--batch", type=int, default=28)
    given = parser.parse_args()
    models.quiet()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    local = random_base(given.shape, given.precision, device)
    # No way may be done early: a random model seldom ends an answer by itself.
    local.model.generation_config.eos_token_id = None
    local.tokenizer.eos_token = None
    prompts, labels = prompts_of(given)
    where = torch.cuda.get_device_name() if device == "cuda" else (
        f"CPU with {torch.get_num_threads()} threads")  # fmt: skip
    print(
        f"\n{given.shape} (random weights), {given.precision}; {len(prompts)} questions on "
        f"{given.passages} passages of about {given.passage} tokens, batch {given.batch}; {where}, "
        f"{platform.machine()}, torch {torch.__version__}"
    )
    print("\n| | s a question | ratio | largest difference of P |\n|---|--:|--:|--:|")
    for kind, new in (("reasoned", given.new), ("bare verdict", 0)):
        ways: dict[str, Callable[[], np.ndarray]] = {
            "one by one": lambda new=new: one_by_one(local, prompts, new),
            "in batches": lambda new=new: batched(local, prompts, new, given.batch, None),
            "in batches, beginnings read once": lambda new=new: batched(
                local, prompts, new, given.batch, labels
            ),
        }
        first: tuple[float, np.ndarray] | None = None
        for name, way in ways.items():
            before = time.perf_counter()
            found = way()
            took = (time.perf_counter() - before) / len(prompts)
            first = first or (took, found)
            apart = np.abs(found - first[1]).max()
            print(f"| {kind}, {name} | {took:.4f} | {first[0] / took:.2f} | {apart:.1e} |")


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
