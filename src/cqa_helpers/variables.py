"""Results as words: what ``{{< var a.b.c >}}`` in a page stands for.

Every number that a reader meets in prose goes through here, so it is rounded in one place. A
null becomes *not measured*, never a zero.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

MISSING = "not measured"
MINUS = "\N{MINUS SIGN}"
INTERVAL = frozenset({"value", "low", "high"})


def number_text(value: float | int | None, decimals: int | None = None) -> str:
    """Return a number as a reader should see it.

    Whole numbers get thousands separators; others as many decimals as their size calls for
    (our choice: two below ten, three below a tenth unless two say it all, none from a hundred
    on), unless ``decimals`` says how many. What rounds to nothing is given as a bound.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, float) and math.isinf(value):
        return f"{MINUS if value < 0 else ''}\N{INFINITY}"
    if isinstance(value, int):
        return f"{value:,}".replace("-", MINUS)
    size = abs(value)
    if decimals is None:
        if 0 < size < 0.001:
            return f"above {MINUS}0.001" if value < 0 else "below 0.001"
        decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.0995 else 3
        if decimals == 3 and round(size, 2) == size:
            decimals = 2
    text = f"{value:,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def interval_decimals(value: float, low: float, high: float) -> int:
    """Return the decimals an interval supports: the leading digit of its half width.

    At least two below ten, one below a hundred, none above; at most four.
    """
    largest = max(abs(value), abs(low), abs(high))
    least = 2 if largest < 10 else 1 if largest < 100 else 0
    half = (high - low) / 2
    needed = -math.floor(math.log10(half)) if half > 0 else least
    return max(least, min(4, needed))


def interval_words(interval: Mapping[str, Any]) -> dict[str, str]:
    """Return ``value``, ``low``, ``high`` and ``text``, for example *0.08 (0.05 to 0.12)*."""
    value, low, high = (interval[key] for key in ("value", "low", "high"))
    if value is None:
        return {"value": MISSING, "low": MISSING, "high": MISSING, "text": MISSING}
    if low is None or high is None:
        lone = number_text(float(value))
        ends = {"low": number_text(low), "high": number_text(high)}
        return {"value": lone, **ends, "text": f"{lone} (interval {MISSING})"}
    decimals = interval_decimals(value, low, high)
    words = {
        key: number_text(float(number), decimals)
        for key, number in (("value", value), ("low", low), ("high", high))
    }
    return {**words, "text": f"{words['value']} ({words['low']} to {words['high']})"}


def key_name(key: str) -> str:
    """Return a key that a variable path can hold: no dots; a bare number ``100`` is ``n100``."""
    name = re.sub(r"[.\s/]+", "-", str(key))
    return f"n{name}" if name.isdigit() else name


def escape(text: str) -> str:
    """Return text that Markdown leaves as it is, on one line."""
    return re.sub(r"([\\`*_$@\[\]<>#^~|{}])", r"\\\1", " ".join(text.split()))


def plain(text: str) -> str:
    """Undo :func:`escape`, for places that Markdown does not read (code)."""
    return re.sub(r"\\([\\`*_$@\[\]<>#^~|{}])", r"\1", text)


def in_words(value: Any) -> Any:
    """Return results with every leaf a text; lists of plain values become one text."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number_text(value)
    if isinstance(value, str):
        return escape(value) if value.strip() else MISSING
    if isinstance(value, Mapping):
        words: dict[str, Any] = {}
        for key, part in value.items():
            name = key_name(key)
            if name in words:
                raise ValueError(
                    f"two keys of the results give the variable name {name!r}: "
                    f"{', '.join(repr(k) for k in value if key_name(k) == name)}; rename one"
                )
            words[name] = in_words(part)
        if value.keys() >= INTERVAL and not any(
            isinstance(value[key], Mapping | str) for key in INTERVAL
        ):
            words.update(interval_words(value))
        return words
    if isinstance(value, Sequence):
        if any(isinstance(part, Mapping) for part in value):
            return {f"n{i}": in_words(part) for i, part in enumerate(value, start=1)}
        return ", ".join(str(in_words(part)) for part in value) if value else "none"
    raise TypeError(f"results hold a {type(value).__name__}: {value!r}; JSON values are expected")


def look_up(variables: Mapping[str, Any], path: str) -> str | None:
    """Return the text at a dotted path, or ``None`` where there is none (or a branch)."""
    here: Any = variables
    for name in path.split("."):
        if not isinstance(here, Mapping) or name not in here:
            return None
        here = here[name]
    return here if isinstance(here, str) else None


def paths(variables: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted path of every text."""
    found: list[str] = []
    for name, part in variables.items():
        found += paths(part, f"{prefix}{name}.") if isinstance(part, Mapping) else [prefix + name]
    return found
