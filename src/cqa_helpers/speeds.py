"""How fast a model trains and answers: measured here in a few real steps, or worked out for a card.

What is measured goes through the same functions as the run, into a folder that goes again.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from cqa_helpers import (
    arms,
    capacity,
    cohort,
    conditions,
    finetuning,
    judges,
    models,
    reading,
    scoring,
)
from cqa_helpers.arms import TrainingRow
from cqa_helpers.calls import CallRecord
from cqa_helpers.cohort import Member
from cqa_helpers.corpus import Corpus
from cqa_helpers.params import Params
from cqa_helpers.records import Passage

# What every notebook imports, and what only loading and training a model needs.
LIGHT = "from cqa_helpers import cohort, corpus, figures, learning, results"
HEAVY = (
    "import torch; from transformers import AutoModelForCausalLM, Trainer; "
    "from peft import get_peft_model; from trl import SFTTrainer; from datasets import Dataset"
)
KERNEL_SECONDS = 1.0  # measured on two cores: jupytext, papermill and kernel, beside the imports
SHARE = 0.35  # of a card's peak that training reaches: our choice
STREAM = 0.6  # of a card's bandwidth that reading the weights for a token reaches: our choice
# Launching one block's kernels for one token with an adapter on, whatever the card: our choice.
LAUNCH_SECONDS = 1.5e-3
LOAD_SECONDS_A_GIB = 1.0  # our choice
LONG_ENOUGH = 4.0  # seconds of steps that are timed, so that noise is small beside them


class Card(NamedTuple):
    """A card's published peak (dense, bfloat16, TFLOP/s), free memory (GiB), bandwidth (GB/s)."""

    tflops: float
    memory_gib: float
    bandwidth: float


# From NVIDIA's data sheets (SXM where there are several); T4 has no bfloat16: its float16 figure.
# Memory is about what an idle card's driver leaves of the advertised size.
CARDS = {
    "H200": Card(989, 139, 4800),
    "H100": Card(989, 79, 3350),
    "A100-80GB": Card(312, 79, 2039),
    "RTX4090": Card(165, 23.5, 1008),
    "L4": Card(121, 22, 300),
    "T4": Card(65, 14.6, 320),
}


class Pace(NamedTuple):
    """Seconds of one form of arm.

    ``start`` an adapter, whatever its steps; ``step`` an optimiser step of ``tokens`` tokens;
    ``ask`` a question put to the tuned model.
    """

    start: float
    step: float
    tokens: float
    ask: float


class Speeds(NamedTuple):
    """Seconds: ``notebook`` to start one, ``load`` to import what trains and load a base.

    ``base_ask`` is a question to the base, ``score`` one pair's text direction; ``basis`` says in
    a sentence where all this is from.
    """

    paces: dict[str, Pace]
    load: float
    base_ask: float
    score: float
    notebook: float
    basis: str


def step_tokens(rows: Sequence[TrainingRow], tokenizer: Any, batch_size: int) -> float:
    """Return the mean number of tokens of a step; an epoch ends with a smaller one."""
    tokens = sum(len(tokenizer(r.prompt + r.completion)["input_ids"]) for r in rows)
    return tokens / math.ceil(len(rows) / batch_size)


def by_form(params: Params) -> dict[str, Member]:
    """Return one first-lineage member for each form of answer: what is measured."""
    found: dict[str, Member] = {}
    for member in cohort.planned(params):
        form = arms.FORM_OF_ARM[member.arm]
        if member.lineage == "first" and (form not in found or member.n > found[form].n):
            found[form] = member
    return found


def measured(
    params: Params, material: Corpus, clock: Callable[[], float] = time.perf_counter
) -> Speeds:
    """Measure training and sampling of each form on this machine, and the start of a notebook."""
    assert params.models is not None
    assert params.tuning is not None
    before = clock()
    local = models.load(params.models)
    load = clock() - before
    paces: dict[str, Pace] = {}
    shown = 0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for form, member in by_form(params).items():
            rows = cohort.taught(member, params, material)
            start, step, adapter, steps = _trained(
                params, local, rows, member.seed, place / form, clock
            )
            shown += steps
            tuned = finetuning.with_adapter(local, adapter)
            try:
                most = max(len(local.tokenizer(r.completion)["input_ids"]) for r in rows) + 1
                ask = _asked(params, tuned, material.test(), member.arm, most, place, clock)
            finally:
                finetuning.without(tuned, local)
            many = step_tokens(rows, local.tokenizer, params.tuning.batch_size)
            paces[form] = Pace(start, step, many, ask)
        base_ask = _asked(params, local, material.test(), "cot", None, place, clock)
    score = _scored(params, local, material, clock)
    basis = (
        f"measured here: {shown} optimiser steps in {len(paces)} form(s), one batch of held-out "
        "questions each"
    )
    start, heavy = notebook_start(clock)
    return Speeds(paces, heavy + load, base_ask, score, start, basis)


def notebook_start(clock: Callable[[], float] = time.perf_counter) -> tuple[float, float]:
    """Return the seconds until a notebook has done its imports, and those a model adds to them."""

    def seconds(code: str) -> float:
        before = clock()
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True)
        done.check_returncode()
        return clock() - before

    light = seconds(LIGHT)
    return light + KERNEL_SECONDS, max(seconds(f"{LIGHT}; {HEAVY}") - light, 0.0)


def _trained(
    params: Params,
    local: models.LocalModel,
    rows: Sequence[TrainingRow],
    seed: int,
    folder: Path,
    clock: Callable[[], float],
) -> tuple[float, float, Path, int]:
    """Return seconds of the start, seconds a step, the last adapter, and how many steps it took.

    The first training is thrown away: it pays for imports and caches. Two lengths tell the start
    from the steps; the longer one grows until its steps take long enough to be told from noise.
    """
    assert params.tuning is not None

    def seconds(steps: int, name: str) -> tuple[float, Path]:
        assert params.tuning is not None
        tuning = params.tuning.model_copy(update={"steps": steps})
        before = clock()
        made = finetuning.tune(local, rows, tuning, seed, folder / name)
        return clock() - before, made.folder

    few, many, taken = 4, 12, 8
    seconds(few, "warm")
    short, _ = seconds(few, "few")
    while True:
        long, last = seconds(many, f"many-{many}")
        taken += many
        step = max(long - short, 0.0) / (many - few)
        if long - short >= LONG_ENOUGH or many >= 96:
            break
        many = min(96, max(many * 2, few + round(1.2 * LONG_ENOUGH / max(step, 1e-3))))
    return max(short - few * step, 0.0), step, last, taken


def _asked(
    params: Params,
    local: models.LocalModel,
    passages: Sequence[Passage],
    arm: str,
    most: int | None,
    folder: Path,
    clock: Callable[[], float],
) -> float:
    """Return the seconds a question takes within a batch; answers as long as those taught."""
    panel = cohort.panel(params, arm)
    judging = params.judging
    if most is not None:
        judging = judging.model_copy(update={"max_new_tokens": min(judging.max_new_tokens, most)})
    asked: list[Passage] = []
    n = 0
    for passage in passages:
        asked.append(passage)
        n = len(panel.questions(asked))
        if n >= judging.batch_size:
            break
    before = clock()
    with CallRecord(folder / f"{arm}-{most}.sqlite") as record:
        timed = judges.LocalJudge(
            "timed", local.identity, judging, record, lambda: nullcontext(local)
        )
        timed.ask(panel.questions(asked), panel)
    return (clock() - before) / max(n, 1)


def _scored(
    params: Params, local: models.LocalModel, material: Corpus, clock: Callable[[], float]
) -> float:
    """Return the seconds one pair takes in the text direction, both its versions."""
    if params.surprise is None or not material.pairs:
        return 0.0
    pairs = material.pairs[:16]
    before = conditions.prefixes(pairs, reading.dialects(params), local.tokenizer, params.seed)
    asked = [scoring.Asked(prefix, p.good) for p in pairs for prefix in before[p.id].values()]
    started = clock()
    scoring.score(local, asked, **reading.options(params))
    return 2 * (clock() - started) / len(pairs)


def flops_a_token(shape: capacity.Shape, length: float, checkpointing: bool) -> float:
    """Return the floating-point operations of LoRA training for one token of a row.

    4 N: forward, and backward through activations; the gradients of the base's weights (2 N of
    the usual 6 N, Kaplan et al. 2020) are not made. N is the linear layers; the head is worked
    out on supervised tokens alone and left out. Causal attention adds 6 x layers x width x
    length. Checkpointing makes the forward pass twice.
    """
    forward = 2 * shape.linear + 2 * shape.layers * shape.heads * shape.head_width * length
    backward = 2 * shape.linear + 4 * shape.layers * shape.heads * shape.head_width * length
    return forward * (2 if checkpointing else 1) + backward


def worked_out(
    params: Params,
    card_name: str,
    shape: capacity.Shape,
    choice: capacity.Choice,
    tokens: Mapping[str, float],
    answer: int,
    prompt: float,
) -> Speeds:
    """Return the speeds of a card that is not here, from its published figures.

    Parameters
    ----------
    tokens
        Tokens of an optimiser step, by form.
    answer, prompt
        Tokens of an answer and of a question.
    """
    assert params.tuning is not None
    card = CARDS[card_name]
    rate = card.tflops * 1e12 * SHARE
    weights = capacity.weights_bytes(shape, choice.precision)
    batch = params.judging.batch_size
    token = max(weights / (card.bandwidth * 1e9 * STREAM), shape.layers * LAUNCH_SECONDS)
    ask = 2 * shape.linear * prompt / rate + token * answer / batch
    paces = {
        form: Pace(
            2.0,
            t * flops_a_token(shape, t / params.tuning.batch_size, choice.checkpointing) / rate,
            t, ask,
        )
        for form, t in tokens.items()
    }  # fmt: skip
    base = 2 * shape.linear * prompt / rate + token * params.judging.max_new_tokens / batch
    basis = (
        f"worked out and not measured: {SHARE:.0%} (assumed) of {card_name}'s {card.tflops:g} "
        f"TFLOP/s, {6 if choice.checkpointing else 4} N D operations and attention, answers of "
        f"{answer} tokens at {1 / token:.0f} tokens a second for each of a batch"
    )
    start, heavy = notebook_start()
    load = heavy + weights / capacity.GIB * LOAD_SECONDS_A_GIB
    return Speeds(paces, load, base, 8 * shape.linear * prompt / rate, start, basis)
