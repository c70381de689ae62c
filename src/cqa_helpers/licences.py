"""Licences as people write them, and what the hub calls them."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Licences by the names that the hub knows them under.
LICENCES = (
    "apache-2.0", "mit", "bsd-3-clause", "bsd-2-clause", "isc", "unlicense", "cc0-1.0", "cc-by-4.0",
    "cc-by-3.0", "cc-by-sa-4.0", "cc-by-sa-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "gpl-3.0",
)  # fmt: skip


def identifier(text: str) -> str | None:
    """Return the one licence that a text names, as the hub calls it; None for none or several."""
    found = [
        name for name in LICENCES
        if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text.lower().replace(" ", "-"))
        or re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text.lower())
    ]  # fmt: skip
    return found[0] if len(found) == 1 else None


def joint(stated: Sequence[str | None]) -> str:
    """Return the licence of what comes of several: one where all agree, ``other``, ``unknown``."""
    if not all(stated):
        return "unknown"
    known = {identifier(text or "") for text in stated}
    return (known.pop() or "other") if len(known) == 1 else "other"
