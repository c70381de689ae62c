"""What a blind rater is shown: sheets of one passage and unsigned diagnoses, and worked examples.

A sheet knows no judge. Who makes sheets draws ids, codes and order so that they tell nothing; the
checks here catch what would break a form, and names that stand in the open.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cqa_helpers.taxonomy import Taxonomy, Text

RANK = "rank"
# Ids travel as keys of the file that comes back and must sort alike everywhere.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Sheet(NamedTuple):
    """One passage and the unsigned diagnoses of it that a rater compares, as (code, text).

    Neither ids, codes nor order may tell who wrote what: whoever makes sheets sees to that.
    ``language`` is that of passage and diagnoses.
    """

    id: str
    passage: str
    language: str
    diagnoses: tuple[tuple[str, str], ...]

    def sha256(self) -> str:
        """Return the hash of all that is shown: the passage, the codes and texts in order."""
        shown = json.dumps([self.passage, [[c, even(t)] for c, t in self.diagnoses]])
        return hashlib.sha256(shown.encode()).hexdigest()


class Worked(NamedTuple):
    """A worked example: a sheet, the study's own values and why, by code.

    ``values`` holds each dimension of the taxonomy and ``rank`` (1 is best); both are shown to a
    rater only after their own answer.
    """

    sheet: Sheet
    values: Mapping[str, Mapping[str, int]]
    why: Mapping[str, Text]


def misfits(sheets: Sequence[Sheet], rater_id: str, names: Sequence[str]) -> list[str]:
    """Return what is wrong with ids, codes and texts, a line each."""
    told = re.compile("|".join(rf"\b{re.escape(n)}\b" for n in names) or r"(?!)", re.I)
    ids = [("rater", rater_id)] + [("sheet", s.id) for s in sheets]
    ids += [(f"sheet {s.id}: code", c) for s in sheets for c, _ in s.diagnoses]
    faults = [f"{what} {id!r}: use letters, digits, dot, dash and underline alone"
              for what, id in ids if not _PLAIN.fullmatch(id)]  # fmt: skip
    times = Counter(id for _, id in ids)
    faults += [f"{id!r} is given {n} times; ids and codes must differ" for id, n in times.items()
               if n > 1]  # fmt: skip
    for s in sheets:
        if not 1 <= len(s.diagnoses) <= 26:
            faults.append(f"sheet {s.id}: {len(s.diagnoses)} diagnoses; a sheet takes 1 to 26")
        faults += [f"sheet {s.id}: {c or 'the passage'} has no text to show"
                   for c, t in (("", s.passage), *s.diagnoses) if not t.strip()]  # fmt: skip
        faults += [f"sheet {s.id}: the diagnosis {c} names {found[0]!r}: take the name out"
                   for c, t in s.diagnoses if (found := told.search(t))]  # fmt: skip
    return faults + [f"{what} {id!r} names {found[0]!r}: choose an id that tells nothing"
                     for what, id in ids
                     if (found := told.search(id.replace("_", " ")))]  # fmt: skip


def unanswered(worked: Sequence[Worked], taxonomy: Taxonomy) -> list[str]:
    """Return which worked examples lack a value or a reason, a line each."""
    needed = set(taxonomy.ids())
    return [
        f"example {w.sheet.id}: the diagnosis {code} needs values of {', '.join(sorted(lack))}"
        if lack else f"example {w.sheet.id}: the diagnosis {code} needs a why"
        for w in worked for code, _ in w.sheet.diagnoses
        if (lack := (needed | ({RANK} if len(w.sheet.diagnoses) > 1 else set()))
            - set(w.values.get(code, {}))) or code not in w.why
    ]  # fmt: skip


def even(text: str) -> str:
    """Return a text without blanks at its ends and more than one empty line between paragraphs.

    How a program ends its answers could otherwise be seen.
    """
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
