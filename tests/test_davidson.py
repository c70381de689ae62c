from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from cqa_helpers import davidson

# Chocolate puddings: brands, then how often the first was liked better, the second, neither
# (Davidson 1970, example 2).
PUDDINGS = [
    (1, 2, 19, 22, 16), (1, 3, 16, 19, 12), (2, 3, 19, 19, 10), (1, 4, 18, 23, 13),
    (2, 4, 23, 19, 9), (3, 4, 19, 20, 15), (1, 5, 13, 19, 18), (2, 5, 16, 20, 12),
    (3, 5, 16, 15, 17), (4, 5, 17, 14, 16), (1, 6, 18, 21, 12), (2, 6, 22, 20, 12),
    (3, 6, 13, 18, 10), (4, 6, 14, 19, 18), (5, 6, 11, 21, 12),
]  # fmt: skip
# How often each journal (row) was cited by each: Biometrika, Communications in Statistics, JASA,
# JRSS-B (Stigler 1994; Agresti 2002, page 448; recalled, not looked up: R's glm is the judge).
CITATIONS = np.array(
    [[714, 730, 498, 221], [33, 425, 68, 17], [320, 813, 1072, 142], [284, 276, 325, 188]]
)


def test_puddings_have_the_published_worths_and_ties() -> None:
    """Davidson 1970; errors and deviance as in the vignette of R's PlackettLuce."""
    found = davidson.fit([row[2:] for row in PUDDINGS], [(i - 1, j - 1) for i, j, *_ in PUDDINGS])
    worth = np.exp(found.strengths) / np.exp(found.strengths).sum()
    # The published figures stop after seven rounds of a slow search: three digits are common.
    assert worth == pytest.approx(
        [0.1388005, 0.1729985, 0.1617420, 0.1653930, 0.1586805, 0.2023855], abs=3e-5
    )
    assert found.tie == pytest.approx(0.7468147, abs=1e-5)
    errors = np.sqrt(np.diag(found.covariance))
    assert errors == pytest.approx(
        [0.121949, 0.121818, 0.126823, 0.122003, 0.127054, 0.126594], abs=1e-6
    )
    assert -2 * found.loglik == pytest.approx(1619.4, abs=0.05)


def test_journals_have_the_published_strengths_without_ties() -> None:
    """Turner and Firth 2012, section 2.1, against Biometrika; figures recalled, not looked up."""
    pairs = list(combinations(range(4), 2))
    counts = [(CITATIONS[i, j], CITATIONS[j, i], 0) for i, j in pairs]
    found = davidson.fit(counts, pairs)
    assert found.strengths - found.strengths[0] == pytest.approx(
        [0, -2.94907, -0.47957, 0.26895], abs=1e-5
    )
    against = np.eye(4) - np.eye(4)[0]
    errors = np.sqrt(np.einsum("ij,jk,ik->i", against, found.covariance, against))
    assert errors[1:] == pytest.approx([0.10255, 0.06059, 0.07083], abs=1e-5)
    assert found.tie == 0


def test_two_judges_have_their_log_odds() -> None:
    found = davidson.fit([(30, 10, 20)], [(0, 1)])
    assert found.strengths[0] - found.strengths[1] == pytest.approx(np.log(3))
    assert found.tie == pytest.approx(20 / np.sqrt(300))


def test_a_table_alone_and_among_others_has_the_same_estimate() -> None:
    rng = np.random.default_rng(1)
    pairs = list(combinations(range(4), 2))
    tables = rng.integers(1, 30, (5, len(pairs), 3)).astype(float)
    together, _ = davidson.newton(tables, pairs, 4)
    for table, x in zip(tables, together, strict=True):
        alone = davidson.fit(table, pairs)
        assert davidson.centred(x[None], 4)[0] == pytest.approx(alone.strengths, abs=1e-8)


def test_what_has_no_finite_estimate_is_refused() -> None:
    with pytest.raises(ValueError, match="never compared"):
        davidson.fit([(1, 2, 0), (0, 0, 0)], [(0, 1), (1, 2)])
    with pytest.raises(ValueError, match="never lose"):
        davidson.fit([(3, 0, 2)], [(0, 1)])
    with pytest.raises(ValueError, match="never lose"):
        davidson.fit([(0, 0, 5)], [(0, 1)])
    with pytest.raises(ValueError, match="all zero"):
        davidson.fit([(0, 0, 0)], [(0, 1)])
