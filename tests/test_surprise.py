from __future__ import annotations

import numpy as np
import pytest

from cqa_helpers import surprise


def test_judgment_bits_are_clipped_and_missing_where_a_verdict_is() -> None:
    bits = surprise.log_odds_all_good(np.array([[1.0, 0.5], [0.0, 0.25], [np.nan, 0.5]]), 0.05)
    assert bits[:2] == pytest.approx([np.log2(0.95) - 1, np.log2(0.05) - 2])
    assert np.isnan(bits[2])
