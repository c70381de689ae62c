"""What stands before a passage when it is scored: nothing, its constraints, and controls.

A constraint that saves bits only because some text stands there, or because it holds the
passage's words, says nothing about what the passage was meant to do. So each pair is also read
after another pair's constraints, after its own in another order, and after filler of equal length.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from cqa_helpers import prompts
from cqa_helpers.prompts import Dialect, Source
from cqa_helpers.records import Constraints, Pair

NEUTRAL, JOINT = "neutral", "joint"
SOURCES: tuple[Source, ...] = get_args(Source)
CONTROLS = ("irrelevant", "shuffled", "length-matched")
CONDITIONS = (NEUTRAL, JOINT, *SOURCES, *CONTROLS)


class ConditionError(ValueError):
    """A pair cannot be read under its constraints."""


def language_of(pair: Pair) -> str:
    """Return ``"zh"`` or ``"en"``."""
    return "zh" if str(pair.meta.get("language", "en")).startswith("zh") else "en"


def check(pairs: Sequence[Pair]) -> None:
    """Refuse pairs that no constraint or contrast can be read from, all at once.

    Raises
    ------
    ConditionError
        Constraints that are empty, or two texts that are equal: which pairs.
    """
    empty = [p.id for p in pairs if not p.constraints.joint().strip()]
    equal = [p.id for p in pairs if p.good.split() == p.degraded.split()]
    said = [
        f"{what}: {', '.join(ids[:8])}" + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
        for what, ids in (("no constraint", empty), ("good equals degraded", equal))
        if ids
    ]
    if said:
        raise ConditionError(
            f"{len(empty) + len(equal)} pair(s) cannot be read ({'; '.join(said)}): correct or "
            "leave them out."
        )


def prefixes(
    pairs: Sequence[Pair], dialects: Mapping[str, Dialect], tokenizer: Any, seed: int
) -> dict[str, dict[str, str]]:
    """Return the prefix of each condition, by pair.

    A source of constraint that a pair or a dialect is silent about has no prefix; nor has a
    control that cannot be made (no other pair of the language and group to take constraints
    from). Prefixes are in the pair's own language.

    Parameters
    ----------
    dialects
        By language, ``en`` and ``zh``.
    tokenizer
        Its tokens are what ``length-matched`` filler is counted in.
    """
    check(pairs)
    found: dict[str, dict[str, str]] = {}
    for pair in pairs:
        dialect = dialects[language_of(pair)]
        joint = prompts.prefix(dialect, pair.constraints)
        made = {NEUTRAL: prompts.prefix(dialect, None), JOINT: joint}
        for source in SOURCES:
            if getattr(pair.constraints, source).strip() and source in dialect.alone:
                made[source] = prompts.alone(dialect, pair.constraints, source)
        rng = random.Random(f"{seed} {pair.id}")
        if other := _another(pair, pairs, rng):
            made["irrelevant"] = prompts.prefix(dialect, other.constraints)
        mixed = _shuffled(pair.constraints, language_of(pair), rng)
        if mixed != pair.constraints:
            made["shuffled"] = prompts.prefix(dialect, mixed)
        if dialect.padded and dialect.filler:
            made["length-matched"] = _padded(dialect, joint, tokenizer)
        found[pair.id] = made
    return found


def _another(pair: Pair, pairs: Sequence[Pair], rng: random.Random) -> Pair | None:
    others = [
        p
        for p in pairs
        if p.group == pair.group
        and language_of(p) == language_of(pair)
        and p.constraints != pair.constraints
    ]
    if not others:
        return None

    def apart(other: Pair) -> int:
        return sum(getattr(other.constraints, s) != getattr(pair.constraints, s) for s in SOURCES)

    farthest = max(map(apart, others))
    return rng.choice([p for p in others if apart(p) == farthest])


def _shuffled(constraints: Constraints, language: str, rng: random.Random) -> Constraints:
    """Return constraints with the words of each part in another order; in Chinese, its signs."""
    made = {}
    for source in SOURCES:
        text = getattr(constraints, source)
        parts = list(text) if language == "zh" else text.split()
        rng.shuffle(parts)
        made[source] = ("" if language == "zh" else " ").join(parts)
    return Constraints(**made)


def _padded(dialect: Dialect, joint: str, tokenizer: Any) -> str:
    """Return filler as long as the joint constraint, in tokens, or next to it."""
    wanted = len(tokenizer(joint)["input_ids"])
    best = prompts.padded(dialect, 0)
    for n in range(1, wanted + 1):
        made = prompts.padded(dialect, n)
        lengths = (len(tokenizer(text)["input_ids"]) for text in (best, made))
        before, now = (abs(n_tokens - wanted) for n_tokens in lengths)
        if now >= before:
            break
        best = made
    return best
