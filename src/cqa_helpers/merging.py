"""An adapter merged into its base, with how far the merged model differs from the two apart.

Merging rounds, and into weights that were quantised for training it does more than that: so the
merged model is read back from disk and compared, and one that is another judge is not kept.
"""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cqa_helpers import choices, models
from cqa_helpers.adapters import with_adapter, without
from cqa_helpers.choices import Spot
from cqa_helpers.models import LocalModel
from cqa_helpers.params import Models

# At most so many tokens of an answer are compared (our choice: memory, 0.6 MB each at 152k words).
LONGEST = 96


class MergeError(RuntimeError):
    """The adapter could not be merged, or the merged model is another judge; nothing was kept."""


class Tolerance(NamedTuple):
    """How much a merged model may differ: mean divergence in bits a token, any verdict's P."""

    kl_bits: float
    probability: float


# By the precision in which the adapter was trained (our choices). In single precision only the
# order of sums differs; bfloat16 has 8 bits of mantissa; 4-bit training is merged into the weights
# before they were quantised.
TOLERANCE = {
    "float32": Tolerance(1e-4, 0.001),
    "bfloat16": Tolerance(0.01, 0.05),
    "nf4": Tolerance(0.1, 0.15),
}


class Asked(NamedTuple):
    """What both are put to: (prompt, answer) rows, and verdict spots with the two words there."""

    rows: Sequence[tuple[str, str]]
    spots: Sequence[Spot] = ()
    words: tuple[str, str] | None = None


class Parity(NamedTuple):
    """A merged model against base and adapter, on the tokens of the same answers.

    ``max_logit`` and ``mean_logit`` are absolute differences; ``kl_bits`` the mean divergence of
    the merged model's next-token distribution from the adapter's, bits a token, ``max_kl_bits``
    the largest; ``same_greedy`` the share of tokens whose likeliest successor is the same;
    ``max_probability`` and ``mean_probability`` the absolute differences of P(high verdict), null
    where no verdict was compared.
    """

    adapter_precision: str
    merged_precision: str
    rows: int
    tokens: int
    max_logit: float
    mean_logit: float
    kl_bits: float
    max_kl_bits: float
    same_greedy: float
    verdicts: int
    max_probability: float | None
    mean_probability: float | None

    def said(self) -> str:
        """Return the comparison as one sentence."""
        verdict = "none" if self.max_probability is None else f"{self.max_probability:.2g}"
        return (
            f"Merged ({self.merged_precision}) against the adapter on {self.adapter_precision} "
            f"weights, {self.tokens} tokens: mean KL {self.kl_bits:.2g} bits, same likeliest token "
            f"{self.same_greedy:.1%}, largest change of a verdict's probability {verdict}."
        )

    def within(self, tolerance: Tolerance) -> bool:
        """Return whether the merged model is the same judge; a value that is no number is not."""
        verdicts = self.max_probability is None or self.max_probability <= tolerance.probability
        return self.kl_bits <= tolerance.kl_bits and verdicts


def merge(
    spec: Models,
    base: str,
    adapter: Path,
    out: Path,
    asked: Asked,
    *,
    local: LocalModel | None = None,
    tolerance: Tolerance | None = None,
    batch_size: int = 8,
) -> Parity:
    """Write base and adapter as one model (safetensors, tokenizer, ``parity.json``).

    The base is loaded anew, in its own precision or, where the adapter was trained on 4-bit
    weights, in bfloat16; ``local``, the base as it was trained on, is left as it is.

    Raises
    ------
    MergeError
        ``out`` is there already, there are no safetensors or nothing to compare on, the weights
        are not numbers, or the difference is above the tolerance (by default the precision's).
    """
    if out.exists():
        raise MergeError(f"{out} is there already: name another folder, or remove it.")
    if not asked.rows:
        raise MergeError("no row is given to compare the merged model on: it would be unmeasured.")
    if not (adapter / "adapter_model.safetensors").is_file():
        # PEFT would look for a pickle next, and then ask the hub.
        raise MergeError(
            f"{adapter} holds no adapter_model.safetensors: there is nothing to merge."
        )
    trained = models.precision_of(spec, base)
    limit = tolerance or TOLERANCE[trained]
    whole = "bfloat16" if trained == "nf4" else trained
    anew = Models.model_validate({**spec.model_dump(), "precision": whole})
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        apart = _read_apart(local or models.load(spec, base), adapter, asked, batch_size)
        _write(anew, base, adapter, staged)
        gc.collect()  # two whole models side by side would not fit on every card
        merged = models.load(anew.model_copy(update={"revision": None}), str(staged.resolve()))
        found = compare(apart, _read(merged, asked, batch_size), trained, whole)
        if not found.within(limit):
            raise MergeError(
                f"The merged model is not the judge that {adapter.name} on {base} is: mean "
                f"divergence {found.kl_bits:.3g} bits a token (allowed {limit.kl_bits:g}), largest "
                f"change of a verdict's probability {_said(found.max_probability)} (allowed "
                f"{limit.probability:g}), largest logit difference {found.max_logit:.3g}, same "
                f"greedy token in {found.same_greedy:.1%} of {found.tokens}. Nothing was kept: use "
                f"the adapter on the base in {trained}, as it was trained and measured."
            )
        record = {**found._asdict(), "tolerance": limit._asdict()}
        (staged / "parity.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        staged.chmod(0o755)
        os.replace(staged, out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return found


class Readings(NamedTuple):
    """Logits of the answers' tokens, one array (tokens, vocabulary) a row, and P of verdicts."""

    logits: list[Any]
    probabilities: np.ndarray


def compare(
    apart: Readings, merged: Readings, adapter_precision: str, merged_precision: str
) -> Parity:
    """Return how far the readings of a merged model are from those of base and adapter."""
    gaps, bits, same = [], [], []
    for a, b in zip(apart.logits, merged.logits, strict=True):
        gaps.append((a - b).abs().flatten().double())
        p, q = a.double().log_softmax(-1), b.double().log_softmax(-1)
        bits.append((p.exp() * (p - q)).sum(-1) / math.log(2))
        same.append(a.argmax(-1) == b.argmax(-1))
    change = np.abs(apart.probabilities - merged.probabilities)
    tokens = sum(len(s) for s in same)
    return Parity(
        adapter_precision,
        merged_precision,
        rows=len(same),
        tokens=tokens,
        max_logit=max(float(g.max()) for g in gaps),
        mean_logit=sum(float(g.sum()) for g in gaps) / sum(len(g) for g in gaps),
        # Rounding can leave a divergence of zero just below it.
        kl_bits=max(sum(float(b.sum()) for b in bits) / tokens, 0.0),
        max_kl_bits=max(max(float(b.max()) for b in bits), 0.0),
        same_greedy=sum(int(s.sum()) for s in same) / tokens,
        verdicts=len(change),
        max_probability=float(change.max()) if len(change) else None,
        mean_probability=float(change.mean()) if len(change) else None,
    )


def _read_apart(local: LocalModel, adapter: Path, asked: Asked, batch_size: int) -> Readings:
    tuned = with_adapter(local, adapter)
    try:
        return _read(tuned, asked, batch_size)
    finally:
        without(tuned, local)


def _read(local: LocalModel, asked: Asked, batch_size: int) -> Readings:
    import torch

    logits = []
    for prompt, answer in asked.rows:
        start = len(local.tokenizer(prompt)["input_ids"])
        ids = local.tokenizer(prompt + answer)["input_ids"][: start + LONGEST]
        whole = torch.tensor([ids], device=local.model.device)
        with torch.inference_mode():
            # From the prompt's last token on: each place from which an answer's token is told.
            read = local.model(input_ids=whole, logits_to_keep=max(len(ids) - start, 0) + 1).logits
        logits.append(read[0].float().cpu())
    found = np.empty(0)
    if asked.spots:
        if asked.words is None:
            raise MergeError("spots are given without the two words that can stand there.")
        found = choices.choice_probabilities(local, asked.spots, asked.words, batch_size)
    return Readings(logits, found)


def _write(spec: Models, base: str, adapter: Path, folder: Path) -> None:
    """Write the merged weights and the tokenizer."""
    from peft import PeftModel

    fresh = models.load(spec, base)
    tuned = PeftModel.from_pretrained(fresh.model, str(adapter))
    try:
        whole = tuned.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise MergeError(f"{adapter.name} cannot be merged: {error}") from None
    whole.save_pretrained(folder)
    fresh.tokenizer.save_pretrained(folder)


def _said(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}"
