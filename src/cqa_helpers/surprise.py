"""Calibrated surprise: I(x; y) = H(x) − H(x | y), in bits per passage token.

Pointwise estimates on one text, passage tokens only: with a neutral prefix u and the constraints
y as another prefix, ``H(x) = −1/T Σ log2 p(x_t | u, x_<t)`` and ``H(x|y)`` likewise after y
(our reconstruction; no source states prompts or normalisation). The judgment direction is the
same mutual information factored the other way, ``i = log2 p(y|x) − log2 p(y)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from cqa_helpers.models import LocalModel, batches


class SurpriseError(ValueError):
    """A text cannot be scored."""


class Surprise(NamedTuple):
    """H(x), H(x|y) and their difference, bits per passage token, arrays of equal shape."""

    unconstrained: np.ndarray
    constrained: np.ndarray

    @property
    def information(self) -> np.ndarray:
        """Return I(x; y) = H(x) − H(x|y)."""
        return self.unconstrained - self.constrained


def bits_per_token(
    local: LocalModel, prefixes: Sequence[str], texts: Sequence[str], batch_size: int
) -> np.ndarray:
    """Return −1/T Σ log2 p(x_t | prefix, x_<t) of each text, over its own tokens alone.

    The text's tokens are those after the prefix's; prefix and text are joined by a space where
    neither has one.

    Raises
    ------
    SurpriseError
        A text has no token of its own.
    """
    import torch

    tokenise = local.tokenizer
    rows = []
    for prefix, text in zip(prefixes, texts, strict=True):
        joint = prefix if not prefix or prefix[-1].isspace() else prefix + " "
        head = tokenise(prefix)["input_ids"]
        whole = tokenise(joint + text)["input_ids"]
        # Where a tokenizer merges across the seam, the first changed token counts as text.
        start = next(
            (i for i, (a, b) in enumerate(zip(head, whole, strict=False)) if a != b),
            min(len(head), len(whole)),
        )
        start = max(start, 1)
        if start >= len(whole):
            raise SurpriseError(f"No passage token to score in {text[:40]!r}.")
        rows.append((whole, start))
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    bits = np.empty(len(rows))
    device = local.model.device
    for batch in batches(len(rows), batch_size):
        chosen = order[batch]
        width = max(len(rows[i][0]) for i in chosen)
        ids = torch.full((len(chosen), width), tokenise.pad_token_id)
        mask = torch.zeros((len(chosen), width), dtype=torch.long)
        for r, i in enumerate(chosen):
            whole = rows[i][0]
            ids[r, : len(whole)] = torch.tensor(whole)
            mask[r, : len(whole)] = 1
        ids, mask = ids.to(device), mask.to(device)
        with torch.inference_mode():
            logits = local.model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
            losses = torch.nn.functional.cross_entropy(
                logits.transpose(1, 2), ids[:, 1:], reduction="none"
            )
        for r, i in enumerate(chosen):
            whole, start = rows[i]
            bits[i] = losses[r, start - 1 : len(whole) - 1].mean().item() / math.log(2)
    return bits


def score(
    local: LocalModel,
    neutral: str,
    constrained: Sequence[str],
    texts: Sequence[str],
    batch_size: int,
) -> Surprise:
    """Return H(x) after the neutral prefix and H(x|y) after each text's own constraints."""
    return Surprise(
        bits_per_token(local, [neutral] * len(texts), texts, batch_size),
        bits_per_token(local, constrained, texts, batch_size),
    )


def log_odds_all_good(probabilities: np.ndarray, clip: float) -> np.ndarray:
    """Return Σ_d log2 P(good_d | x), bits a passage, from (passages, dimensions) probabilities.

    Probabilities are cut to [clip, 1 − clip], so that one certain verdict cannot carry the sum
    (our choice). A passage with a missing verdict is nan.
    """
    return np.log2(np.clip(probabilities, clip, 1 - clip)).sum(axis=1)


class PairTest(NamedTuple):
    """A paired contrast within one model: mean, Cohen's d, two-sided Wilcoxon p, pairs used."""

    mean: float
    cohens_d: float | None
    p_two_sided: float | None
    n: int


def pair_test(differences: np.ndarray) -> PairTest:
    """Test paired differences of one model.

    It measures one checkpoint's drift, not the treatment: the seed is the unit of the headline.
    Missing pairs are left out and n says how many are left; constant differences (up to
    rounding) have no d.
    """
    known = np.asarray(differences, dtype=float)
    known = known[~np.isnan(known)]
    if len(known) == 0:
        return PairTest(math.nan, None, None, 0)
    mean = float(known.mean())
    spread = float(known.std(ddof=1)) if len(known) > 1 else 0.0
    if spread <= 1e-9 * np.abs(known).max():
        return PairTest(mean, None, None, len(known))
    return PairTest(mean, mean / spread, float(stats.wilcoxon(known).pvalue), len(known))
