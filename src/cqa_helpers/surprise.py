"""Calibrated surprise: I(x; y) = H(x) − H(x | y), in bits per passage token.

Pointwise estimates on one text, passage tokens only: with a neutral prefix u and the constraints
y as another prefix, ``H(x) = −1/T Σ log2 p(x_t | u, x_<t)`` and ``H(x|y)`` likewise after y
(our reconstruction; no source states prompts or normalisation). The judgment direction is the
same mutual information factored the other way, ``i = log2 p(y|x) − log2 p(y)``.
"""

from __future__ import annotations

import numpy as np


def log_odds_all_good(probabilities: np.ndarray, clip: float) -> np.ndarray:
    """Return Σ_d log2 P(good_d | x), bits a passage, from (passages, dimensions) probabilities.

    Probabilities are cut to [clip, 1 − clip], so that one certain verdict cannot carry the sum
    (our choice). A passage with a missing verdict is nan.
    """
    return np.log2(np.clip(probabilities, clip, 1 - clip)).sum(axis=1)
