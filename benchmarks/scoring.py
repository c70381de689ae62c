"""Time the scoring of passages: as the study does it, lm-evaluation-harness, and a plain loop.

All read the same texts after the same prefixes with the same model, in turn. On the rehearsal's
base the texts are its simulated pairs; a published or made-up shape has random weights and random
words, one token each: speed and memory are real there, and the bits say only whether all agree.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
from tuning import SHAPES, WORDS, random_base

from cqa_helpers import cohort, conditions, likelihood, models, params, paths, scoring
from cqa_helpers.models import LocalModel
from cqa_helpers.rehearsal import world
from cqa_helpers.scoring import Asked

SHAPES["100m"] = {
    "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 12, "num_key_value_heads": 12, "vocab_size": 32000,
    "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
}  # fmt: skip
HARNESS_BATCHES = (1, 8, 32)
LN2 = float(np.log(2))


class Way(NamedTuple):
    """A way to score texts: its name, and what returns log2 p of each."""

    name: str
    run: Callable[[], np.ndarray]


def rehearsal(n_pairs: int) -> tuple[LocalModel, list[Asked]]:
    """Return the rehearsal's base and its pairs, both sides under each condition's prefix."""
    run = params.load(paths.root() / "params" / "rehearsal.yaml")
    assert run.models is not None
    local = models.load(run.models)
    dialect = cohort.panel(run).dialect
    pairs = world.literary_pairs(n_pairs, run.seed)
    before = conditions.prefixes(pairs, {"en": dialect, "zh": dialect}, local.tokenizer, run.seed)
    return local, [
        Asked(prefix, text)
        for pair in pairs
        for prefix in before[pair.id].values()
        for text in (pair.good, pair.degraded)
    ]


def random_passages(n: int, low: int, high: int, seed: int = 0) -> list[Asked]:
    """Return passages of random words, each after a neutral and after a constraint prefix."""
    rng = np.random.default_rng(seed)

    def words(size: int) -> str:
        return " ".join(f"w{k}" for k in rng.zipf(1.3, size) % WORDS)

    neutral = words(6)
    made = []
    for size in rng.integers(low, high + 1, n):
        text = words(int(size))
        made += [Asked(neutral + "\n", text), Asked(words(int(rng.integers(30, 61))) + "\n", text)]
    return made


def ours(local: LocalModel, asked: Sequence[Asked]) -> np.ndarray:
    """Score as the study does."""
    return np.array([-bits.total for bits in scoring.score(local, asked)])


def unshared(local: LocalModel, asked: Sequence[Asked]) -> np.ndarray:
    """Score as the study does, but read every text from its beginning."""
    rows = [text.row for text in scoring.tokenised(local.tokenizer, asked)]
    return np.array([-bits.sum() for bits in likelihood.surprisals(local, rows, packed=False)])


def loop(local: LocalModel, asked: Sequence[Asked]) -> np.ndarray:
    """Score one text after another, with all logits of each."""
    found = []
    for text in scoring.tokenised(local.tokenizer, asked):
        ids = torch.tensor([text.row.ids], device=local.model.device)
        with torch.inference_mode():
            logits = local.model(input_ids=ids, use_cache=False).logits[0, :-1].float()
            logs = logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        found.append(logs[text.row.start - 1 :].double().sum().item() / LN2)
    return np.array(found)


def harness(local: LocalModel, asked: Sequence[Asked], size: int) -> Callable[[], np.ndarray]:
    """Return lm-evaluation-harness' scoring of the same, with so many texts a batch."""
    from lm_eval.models.huggingface import HFLM

    model = HFLM(
        pretrained=local.model, tokenizer=local.tokenizer, batch_size=size,
        device=str(local.model.device), add_bos_token=False,
    )  # fmt: skip
    requests = [
        SimpleNamespace(args=(p if p[-1].isspace() else p + "\n", text)) for p, text in asked
    ]

    def run() -> np.ndarray:
        found = model.loglikelihood(requests, disable_tqdm=True)
        return np.array([score for score, _ in found]) / LN2

    return run


def matrix_limit(local: LocalModel, asked: Sequence[Asked]) -> Callable[[], np.ndarray]:
    """Return the linear layers and the head alone, on as many tokens a pass as ours reads.

    Attention, norms and all else are left out, and padding as well.
    """
    rows = [text.row for text in scoring.tokenised(local.tokenizer, asked)]
    read = [row.ids[:-1] for row in rows]
    model = local.model
    kind = "cuda" if model.device.type == "cuda" else "cpu"
    width = model.config.hidden_size
    packs = likelihood._packs(read, width, likelihood.TOKENS[kind])
    passes = [
        sum(p.length for p in batch)
        for batch in likelihood._batched(packs, likelihood.TOKENS[kind])
    ]
    head = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    scored = sum(len(row.ids) - row.start for row in rows)
    chunk = max(64, likelihood.LOGITS[kind] // model.config.vocab_size)
    shapes = {m.in_features for m in linear} | {width}

    def run() -> np.ndarray:
        with torch.inference_mode():
            for n in passes:
                given = {k: torch.zeros(n, k, device=model.device, dtype=model.dtype)
                         for k in shapes}  # fmt: skip
                for layer in linear:
                    torch.nn.functional.linear(given[layer.in_features], layer.weight)
            states = torch.zeros(chunk, width, device=model.device, dtype=model.dtype)
            for at in range(0, scored, chunk):
                torch.nn.functional.linear(states[: scored - at], head.weight)
        return np.empty(0)

    return run


class Took(NamedTuple):
    """Seconds by the clock, and of this process's CPU: on a shared machine, what tells more."""

    wall: float
    cpu: float


def timed(ways: Sequence[Way], rounds: int, n_tokens: int) -> None:
    """Print the median time of each way, all in turn, and how far its bits are from the loop's."""
    cuda = torch.cuda.is_available()
    all_took: dict[str, list[Took]] = {way.name: [] for way in ways}
    found: dict[str, np.ndarray] = {}
    for turn in range(rounds + 1):
        for way in ways:
            if cuda:
                torch.cuda.synchronize()
            start, cpu = time.perf_counter(), time.process_time()
            found[way.name] = way.run()
            if cuda:
                torch.cuda.synchronize()
            # The first turn warms up.
            if turn:
                all_took[way.name].append(
                    Took(time.perf_counter() - start, time.process_time() - cpu)
                )
    print("| | s | of CPU | least and most | passage tokens/s | largest difference, bits a text |")
    print("|---|--:|--:|--:|--:|--:|")
    middles = {}
    for name, took in all_took.items():
        counted = [t.wall if cuda else t.cpu for t in took]
        middles[name] = middle = statistics.median(counted)
        bits, wanted = found[name], found["plain loop"]
        apart = f"{np.abs(bits - wanted).max():.1g}" if len(bits) else ""
        print(
            f"| {name} | {statistics.median(t.wall for t in took):.2f} | "
            f"{statistics.median(t.cpu for t in took):.2f} | {min(counted):.2f} to "
            f"{max(counted):.2f} | {n_tokens / middle:,.0f} | {apart} |"
        )
    best = min((v for n, v in middles.items() if n.startswith("harness")), default=None)
    if best is not None:
        print(f"\nours: {best / middles['ours']:.2f} times the harness's best batch size", end="")
    print(f"; {middles['plain loop'] / middles['ours']:.2f} times the plain loop; the matrix limit "
          f"is {middles['matrix limit'] / middles['ours']:.0%} of its time; by "
          f"{'the clock' if cuda else 'CPU time'}; load {os.getloadavg()[0]:.1f}\n",
          flush=True)  # fmt: skip


def compare(local: LocalModel, asked: Sequence[Asked], rounds: int) -> None:
    """Print all ways side by side."""
    texts = scoring.tokenised(local.tokenizer, asked)
    n_tokens = sum(len(text.spans) for text in texts)
    print(f"{local.identity}: {len(asked)} texts with prefixes, {n_tokens:,} passage tokens of "
          f"{sum(len(t.row.ids) for t in texts):,}\n")  # fmt: skip
    ways = [
        Way("ours", lambda: ours(local, asked)),
        Way("ours, nothing shared", lambda: unshared(local, asked)),
        Way("plain loop", lambda: loop(local, asked)),
        Way("matrix limit", matrix_limit(local, asked)),
    ]
    try:
        ways[2:2] = [
            Way(f"harness, batches of {b}", harness(local, asked, b)) for b in HARNESS_BATCHES
        ]
    except ImportError as error:
        print(f"lm_eval is not there ({error}): install lm-eval to compare with the harness.\n")
    timed(ways, rounds, n_tokens)


def agreement(local: LocalModel, asked: Sequence[Asked]) -> None:
    """Print the largest difference of one token's bits from one plain pass, all in float64."""
    worst = 0.0
    texts = scoring.tokenised(local.tokenizer, asked)
    for bits, text in zip(scoring.score(local, asked), texts, strict=True):
        ids = torch.tensor([text.row.ids], device=local.model.device)
        with torch.inference_mode():
            logs = local.model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
        wanted = -logs.gather(1, ids[0, 1:, None])[text.row.start - 1 :, 0].cpu().numpy() / LN2
        worst = max(worst, float(np.abs(bits.bits - wanted).max()))
    print(f"{len(asked)} texts: no token differs from a plain pass by more than {worst:.1g} bits\n")


def memory(lengths: Sequence[int]) -> None:
    """Print how much memory scoring adds, by passage length, each way in a process of its own."""
    print("| passage tokens | ours, MiB | plain loop, MiB |")
    print("|--:|--:|--:|")
    for length in lengths:
        added = [
            subprocess.run(
                [sys.executable, __file__, "--child", way, "--length", str(length)],
                check=True, capture_output=True, text=True,
            ).stdout.strip() for way in ("ours", "loop")
        ]  # fmt: skip
        print(f"| {length} | {added[0]} | {added[1]} |", flush=True)


def child(way: str, length: int) -> None:
    """Print the memory that scoring 16 passages of one length adds, a GPU's where there is one."""
    cuda = torch.cuda.is_available()
    local = random_base("tiny-wide", "float32", "cuda" if cuda else "cpu")
    warm = random_passages(1, 8, 8)
    {"ours": ours, "loop": loop}[way](local, warm)
    before = torch.cuda.max_memory_allocated() if cuda else _highest()
    {"ours": ours, "loop": loop}[way](local, random_passages(8, length, length))
    after = torch.cuda.max_memory_allocated() if cuda else _highest()
    print(f"{(after - before) / 2**20:,.0f}")


def _highest() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# So narrow that what is held for logits shows, with the vocabulary of a real model.
SHAPES["tiny-wide"] = SHAPES["tiny"] | {"vocab_size": 151936}


def main() -> None:
    """Compare; without a shape, the rehearsal's base and a made-up one of 100 million weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("rehearsal", "shape", "memory"), default=None)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="100m")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--passages", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=("ours", "loop"), help=argparse.SUPPRESS)
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    models.quiet()
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    torch.set_num_threads(threads)
    if given.child:
        child(given.child, given.length)
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {threads} threads, {device}, torch "
          f"{torch.__version__}; load {os.getloadavg()[0]:.1f}\n", flush=True)  # fmt: skip
    if given.only in (None, "rehearsal"):
        local, asked = rehearsal(given.pairs)
        torch.set_num_threads(threads)
        agreement(local, asked[:: max(1, len(asked) // 200)][:200])
        compare(local, asked, given.rounds)
    if given.only in (None, "shape"):
        local = random_base(given.shape, given.precision, device)
        compare(local, random_passages(given.passages, 60, 220), given.rounds)
    if given.only in (None, "memory"):
        memory((128, 512, 2048))


if __name__ == "__main__":
    main()
