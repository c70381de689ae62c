"""Calibrated surprise: I(x; y) = H(x) − H(x | y), in bits per passage token.

Pointwise estimates on one text, passage tokens only: with a neutral prefix u and the constraints
y as another prefix, ``H(x) = −1/T Σ log2 p(x_t | u, x_<t)`` and ``H(x|y)`` likewise after y
(our reconstruction; no source states prompts or normalisation). The judgment direction is the
same mutual information factored the other way, ``i = log2 p(y|x) − log2 p(y)``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats


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
