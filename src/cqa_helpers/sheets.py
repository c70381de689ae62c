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

from pydantic import Field

from cqa_helpers import paths, yamlfile
from cqa_helpers.taxonomy import Entry, Language, Taxonomy, TaxonomyError, Text

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


class _Rated(Entry):
    text: str = Field(min_length=1)
    values: dict[str, int]
    why: str = Field(min_length=1)


class _Example(Entry):
    passage: str = Field(min_length=1)
    diagnoses: tuple[_Rated, ...] = Field(min_length=2, max_length=26)


class _Examples(Entry):
    """A file of worked examples in one language."""

    language: Language
    origin: str = Field(min_length=1)
    source: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    sheets: tuple[_Example, ...] = Field(min_length=1)


def worked(language: Language) -> list[Worked]:
    """Read the worked examples of the calibration round: ``data/ratings/examples/worked.*.yaml``.

    Passages and diagnoses are those of the language; reasons come in both, for the interface can be
    switched.

    Raises
    ------
    TaxonomyError
        A file does not fit, with its line; or the two files do not tell the same examples.
    """
    of = {}
    for code in ("en", "zh"):
        file = paths.at(f"data/ratings/examples/worked.{code}.yaml")
        of[code] = yamlfile.read(file, _Examples, TaxonomyError).sheets
        valued = [[d.values for d in s.diagnoses] for s in of[code]]
        if valued != [[d.values for d in s.diagnoses] for s in of["en"]]:
            raise TaxonomyError(f"{file}: sheets or values differ from worked.en.yaml")
    found = []
    for n, sheet in enumerate(of[language]):
        id = f"example-{n + 1}-{language}"
        codes = [f"{id}-{k}" for k in range(1, len(sheet.diagnoses) + 1)]
        texts = tuple(zip(codes, (d.text for d in sheet.diagnoses), strict=True))
        values = {c: d.values for c, d in zip(codes, sheet.diagnoses, strict=True)}
        why = {
            c: Text(en=of["en"][n].diagnoses[k].why, zh=of["zh"][n].diagnoses[k].why)
            for k, c in enumerate(codes)
        }
        found.append(Worked(Sheet(id, sheet.passage, language, texts), values, why))
    return found


def misfits(sheets: Sequence[Sheet], rater_id: str, names: Sequence[str]) -> list[str]:
    """Return what is wrong with ids, codes and texts, a line each."""
    told = naming(names)
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
                     if (found := told.search(id))]  # fmt: skip


def naming(names: Sequence[str]) -> re.Pattern[str]:
    """Return what finds any of the names as a whole word, in whatever case."""
    # Chinese has no spaces: only letters and digits of a Latin word go on with a name.
    told = "|".join(map(re.escape, names)) or r"(?!)"
    return re.compile(rf"(?<![A-Za-z\d])(?:{told})(?![A-Za-z\d])", re.IGNORECASE)


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
