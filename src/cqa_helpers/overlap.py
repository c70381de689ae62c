"""Near-duplicate texts, found by MinHash (datasketch) and confirmed exactly.

A text is the set of its shingles: runs of three words, or of five characters in scripts without
spaces, after Unicode and case folding. Two texts are near-duplicates if the Jaccard index of
their shingles reaches a threshold (our choice: a half).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from datasketch import MinHash, MinHashLSH

from cqa_helpers.records import Passage

THRESHOLD = 0.5
# Candidates are sought well below the threshold: the hash only estimates, the sets decide.
MARGIN = 0.25
PERMUTATIONS = 128
_UNSPACED = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\u3040-\u30ff\U00020000-\U0003ffff]")
_WORD = re.compile(r"\w+")


class Twins(NamedTuple):
    """Two passages that share most of their wording."""

    first: str
    second: str
    similarity: float


def units(text: str) -> list[str]:
    """Return the words of a text, or its characters where most of it has no spaces; folded."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    joined = "".join(words)
    return list(joined) if len(_UNSPACED.findall(joined)) * 2 > len(joined) else words


def shingles(text: str) -> frozenset[str]:
    """Return the set of shingles of a text; a text too short for one is its own shingle."""
    parts = units(text)
    size = 5 if parts and all(len(part) == 1 for part in parts) else 3
    if len(parts) <= size:
        return frozenset({" ".join(parts)}) if parts else frozenset()
    return frozenset(" ".join(parts[i : i + size]) for i in range(len(parts) - size + 1))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Return the Jaccard index of two sets, zero where either is empty."""
    return len(a & b) / len(a | b) if a and b else 0.0


def near_duplicates(passages: Iterable[Passage], threshold: float = THRESHOLD) -> list[Twins]:
    """Return all pairs of passages with text at or above the threshold, most alike first."""
    known = {p.id: shingles(p.text) for p in passages if p.text}
    sets = {name: found for name, found in known.items() if found}
    index = MinHashLSH(threshold=max(threshold - MARGIN, 0.1), num_perm=PERMUTATIONS)
    hashes = {}
    for name, found in sets.items():
        hashes[name] = MinHash(num_perm=PERMUTATIONS, seed=1)
        hashes[name].update_batch([s.encode() for s in found])
        index.insert(name, hashes[name], check_duplication=False)
    twins = []
    for name in sets:
        for other in index.query(hashes[name]):
            if name < other and (alike := jaccard(sets[name], sets[other])) >= threshold:
                twins.append(Twins(name, other, round(alike, 3)))
    return sorted(twins, key=lambda t: (-t.similarity, t.first, t.second))
