"""The gate of a base model: it must read well, and its verdicts must know nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cqa_helpers.calibration import auc
from cqa_helpers.rehearsal import grammar as g
from cqa_helpers.rehearsal import voices
from cqa_helpers.rehearsal.world import Story, draw_stories

NOTE_EXACTNESS = 0.90
"""What 100 annotations select must be readable already: below, failures of reading would be
taken for failures of judgement."""
AUC_EACH, AUC_MEAN = (0.40, 0.60), (0.45, 0.55)
"""Chance. With 240 balanced stories one AUC has a standard error of about .037, the mean of
three about .022: the bands reach 2.7 and 2.3 standard errors to either side."""
MOST_UNPARSED = 0.05
"""Of the verdicts of a dimension: an AUC over few survivors would be one of a selected set."""
N_STORIES = 240
MAX_NEW_TOKENS = 200

_TRIGGERS = {"a": "verdict", "b": "ruling"}


@dataclass(frozen=True)
class GateReport:
    """What the gate measured.

    ``note_exactness``: share of relevant notes that greedy decoding writes out exactly once
    their first word is given, by dimension. ``verdict_auc``: area under the ROC curve of
    logit(good) - logit(bad) at the verdict of one review sampled at T = 1, against the planted
    truth; null where too few were parsed. ``unparsed``: share of verdicts without a place.
    """

    voice: str
    seed: int
    n_stories: int
    note_exactness: dict[str, float]
    verdict_auc: dict[str, float | None]
    mean_auc: float | None
    unparsed: dict[str, float]
    failures: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """True where nothing failed."""
        return not self.failures

    def __str__(self) -> str:
        lines = [f"gate, voice {self.voice}, {self.n_stories} held-out stories, seed {self.seed}"]
        for d in g.DIMENSIONS:
            auc = self.verdict_auc[d]
            shown = "missing" if auc is None else f"{auc:.3f}"
            lines.append(
                f"  {d}: note exact {self.note_exactness[d]:.3f}, verdict AUC {shown}, "
                f"unparsed {self.unparsed[d]:.3f}"
            )
        mean = "missing" if self.mean_auc is None else f"{self.mean_auc:.3f}"
        lines.append(f"  mean AUC {mean}; " + ("passed" if self.passed else "FAILED"))
        return "\n".join((*lines, *(f"  {failure}" for failure in self.failures)))


def load(model_dir: Path | str) -> tuple[Any, Any]:
    """Load a saved base in float32, with its tokenizer, from disk alone."""
    model = AutoModelForCausalLM.from_pretrained(
        model_dir, dtype=torch.float32, local_files_only=True
    )
    return model.eval(), AutoTokenizer.from_pretrained(model_dir, local_files_only=True)


def note_exactness(model: Any, tokenizer: Any, stories: Sequence[Story]) -> dict[str, float]:
    """Return the share of relevant notes written exactly, by dimension, over both wordings.

    The first word, which names the kind of note, is given; the rest counts as exact where each
    token is the most probable one after those before it, which is where greedy decoding would
    write the whole note.
    """
    shares = {}
    for dimension in g.DIMENSIONS:
        texts, starts = [], []
        for story in stories:
            for wording in story.note(dimension).wordings:
                given = f"{voices.prompt(story.text, '<read>')} {wording.split()[0]}"
                starts.append(len(given.split()))
                texts.append(f"{voices.prompt(story.text, '<read>')} {wording} .")
        exact = []
        for ids, logits, start in zip(*_forward(model, tokenizer, texts), starts, strict=True):
            exact.append(bool((logits[start - 1 : -1].argmax(-1) == ids[start:]).all()))
        shares[dimension] = float(np.mean(exact))
    return shares


@torch.no_grad()
def _forward(
    model: Any, tokenizer: Any, texts: Sequence[str], size: int = 80
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    ids = [torch.tensor(tokenizer(t)["input_ids"]) for t in texts]
    logits: list[torch.Tensor] = []
    for at in range(0, len(ids), size):
        part = ids[at : at + size]
        # Right padding and causal attention: no mask is needed.
        padded = torch.nn.utils.rnn.pad_sequence(part, True, tokenizer.pad_token_id)
        output = model(input_ids=padded, use_cache=False).logits
        logits.extend(row[: len(own)] for row, own in zip(output, part, strict=True))
    return ids, logits


@torch.no_grad()
def sample_reviews(
    model: Any,
    tokenizer: Any,
    stories: Sequence[Story],
    seed: int,
    voice: voices.Voice = "a",
) -> list[str]:
    """Return one review of each story, sampled at T = 1, without the closing token."""
    prompts = [voices.prompt(s.text, f"<rev_{voice}>") for s in stories]
    batch = tokenizer(prompts, return_tensors="pt", padding=True)
    batch.pop("token_type_ids", None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        output = model.generate(
            **batch,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=MAX_NEW_TOKENS,
            pad_token_id=tokenizer.pad_token_id,
        )
    new = output[:, batch["input_ids"].shape[1] :]
    return [str(tokenizer.decode(row, skip_special_tokens=True)) for row in new]


def verdict_margins(
    model: Any,
    tokenizer: Any,
    stories: Sequence[Story],
    reviews: Sequence[str],
    voice: voices.Voice = "a",
) -> dict[str, list[float | None]]:
    """Return logit(good) - logit(bad) where each verdict stands, by dimension.

    A verdict belongs to the dimension last named before it; the first one counts; a dimension
    without one is null.
    """
    texts = [
        f"{voices.prompt(s.text, f'<rev_{voice}>')} {r}"
        for s, r in zip(stories, reviews, strict=True)
    ]
    bad, good = (tokenizer.convert_tokens_to_ids(w) for w in voices.VERDICT_WORDS[voice])
    margins: dict[str, list[float | None]] = {d: [] for d in g.DIMENSIONS}
    for text, logits in zip(texts, _forward(model, tokenizer, texts)[1], strict=True):
        found: dict[str, float] = {}
        current: str | None = None
        for position, token in enumerate(text.split()):
            if token in g.DIMENSIONS:
                current = token
            elif token == _TRIGGERS[voice] and current is not None:
                found.setdefault(current, float(logits[position, good] - logits[position, bad]))
                current = None
        for d in g.DIMENSIONS:
            margins[d].append(found.get(d))
    return margins


def verdict_aucs(
    stories: Sequence[Story], margins: dict[str, list[float | None]]
) -> tuple[dict[str, float | None], dict[str, float]]:
    """Return AUC against the planted truth and share of missing verdicts, by dimension."""
    areas: dict[str, float | None] = {}
    missing: dict[str, float] = {}
    for d in g.DIMENSIONS:
        kept = [(s.truth[d], m) for s, m in zip(stories, margins[d], strict=True) if m is not None]
        missing[d] = 1 - len(kept) / len(stories)
        areas[d] = auc([t for t, _ in kept], [m for _, m in kept])
    return areas, missing


def gate(
    model_dir: Path | str, seed: int, voice: voices.Voice = "a", n: int = N_STORIES
) -> GateReport:
    """Measure a saved base on held-out stories; failures are listed, never raised or hidden."""
    model, tokenizer = load(model_dir)
    stories = draw_stories(n, seed, prefix="gate")
    exactness = note_exactness(model, tokenizer, stories)
    reviews = sample_reviews(model, tokenizer, stories, seed, voice)
    margins = verdict_margins(model, tokenizer, stories, reviews, voice)
    areas, missing = verdict_aucs(stories, margins)
    known = [a for a in areas.values() if a is not None]
    mean = float(np.mean(known)) if len(known) == len(areas) else None
    return GateReport(
        voice=voice,
        seed=seed,
        n_stories=n,
        note_exactness=exactness,
        verdict_auc=areas,
        mean_auc=mean,
        unparsed=missing,
        failures=failures(exactness, areas, mean, missing),
    )


def failures(
    exactness: dict[str, float],
    areas: dict[str, float | None],
    mean: float | None,
    missing: dict[str, float],
) -> tuple[str, ...]:
    """Return one sentence for each threshold that is not met."""
    found = []
    for d in g.DIMENSIONS:
        area = areas[d]
        if exactness[d] < NOTE_EXACTNESS:
            found.append(f"{d}: note exactness {exactness[d]:.3f} is below {NOTE_EXACTNESS}")
        if area is None:
            found.append(f"{d}: no verdict AUC, too few verdicts were parsed")
        elif not AUC_EACH[0] <= area <= AUC_EACH[1]:
            found.append(f"{d}: verdict AUC {area:.3f} is not chance ({AUC_EACH})")
        if missing[d] > MOST_UNPARSED:
            found.append(
                f"{d}: {missing[d]:.1%} of verdicts unparsed, more than {MOST_UNPARSED:.0%}"
            )
    if mean is not None and not AUC_MEAN[0] <= mean <= AUC_MEAN[1]:
        found.append(f"mean verdict AUC {mean:.3f} is not chance ({AUC_MEAN})")
    return tuple(found)
