"""Packets and their key: unsigned diagnoses on sheets under random codes, and whose they are."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from cqa_helpers import unsigned
from cqa_helpers.design import Design, Kind
from cqa_helpers.records import Passage, Record, Verdict
from cqa_helpers.sheets import Sheet

LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# The rater of packets that are the same for everyone.
EVERYONE = "everyone"


class Shown(Record):
    """An unsigned diagnosis under its label and code."""

    label: str
    code: str = Field(min_length=1)
    diagnosis: dict[str, str]


class Packet(Record):
    """A sheet: what a rater sees at one position, a passage and unsigned diagnoses of it."""

    sheet: str = Field(min_length=1)
    rater_id: str
    position: int = Field(ge=1)
    language: str
    passage: str
    diagnoses: tuple[Shown, ...]


class Diagnosis(Record):
    """Who wrote a coded diagnosis, and what it said (the key; not for raters).

    ``repeat`` is the judge's own (its seed). ``of`` is the code of the same diagnosis where it was
    first shown, on a hidden repeat. ``donor`` is the passage that a wrong diagnosis of an attention
    sheet was written for. ``words`` is its length as shown, ``struck`` what was taken out and
    ``standing`` what may name a judge and was left. Every row holds the commitment's ``salt``.
    """

    code: str
    judge_id: str
    passage_id: str
    repeat: int
    values: dict[str, int | None]
    rater_id: str = EVERYONE
    sheet: str = ""
    label: str = ""
    position: int = 0
    kind: Kind = "item"
    of: str | None = None
    donor: str | None = None
    words: int = 0
    struck: tuple[str, ...] = ()
    standing: tuple[str, ...] = ()
    salt: str = ""


class Sheets(NamedTuple):
    """How diagnoses are dealt to raters; see :func:`cqa_helpers.design.design`.

    Without ``raters`` there is one packet for everyone. ``seeds`` says whether a judge of several
    repeats shows its first alone or deals them over passages. Beyond ``most_words`` a dimension's
    text loses its last sentences.
    """

    raters: Sequence[str] = ()
    per_sheet: int | None = None
    sheets_a_rater: int | None = None
    raters_a_passage: int | None = None
    repeats: float = 0.0
    attention: int = 0
    seeds: Literal["first", "spread"] = "first"
    most_words: int | None = None
    names: Sequence[str] = ()
    excluded: Collection[tuple[str, str]] = ()


# Rows of a whole diagnosis by judge, passage and the judge's repeat.
Written = Mapping[str, Mapping[str, Mapping[int, Sequence[Verdict]]]]


def written(verdicts: Sequence[Verdict], judges: Sequence[str]) -> Written:
    """Return the diagnoses that speak of every dimension, by judge, passage and repeat."""
    found: dict[str, dict[str, dict[int, list[Verdict]]]] = {}
    for v in verdicts:
        # A call that failed or was refused is no diagnosis, and raters must not be sent its error.
        if v.judge_id in judges and v.status in ("ok", "unparsed") and v.reason:
            repeats = found.setdefault(v.judge_id, {}).setdefault(v.item_id, {})
            repeats.setdefault(v.repeat, []).append(v)
    rows = [r for of in found.values() for repeats in of.values() for r in repeats.values()]
    dimensions = {v.dimension for r in rows for v in r}
    return {
        judge: {
            passage: whole
            for passage, repeats in of.items()
            if (whole := {k: r for k, r in repeats.items() if len(r) == len(dimensions)})
        }
        for judge, of in found.items()
    }


def pack(
    design: Design,
    passages: Mapping[str, Passage],
    diagnoses: Written,
    words: Mapping[int, str],
    sheets: Sheets,
    names: Collection[str],
    rng: np.random.Generator,
    secret: bool,
) -> tuple[list[Packet], list[Diagnosis]]:
    """Return the sheets of a design as raters see them, and the key.

    ``names`` are struck where diagnoses say them. With ``secret``, codes and salt follow from no
    seed: whoever knows the generator's past could else tell what it will draw.
    """
    code = _Codes(rng, secret)
    salt = secrets.token_hex(16) if secret else rng.bytes(16).hex()
    dealt = Counter[tuple[str, int]]()
    once: dict[tuple[str, str], tuple[int, dict[str, str], unsigned.Unsigned]] = {}

    def said(judge: str, passage: str) -> tuple[int, dict[str, str], unsigned.Unsigned]:
        if (judge, passage) not in once:
            least = min(diagnoses[judge][passage], key=lambda k: (dealt[judge, k], k))
            dealt[judge, least] += 1
            rows = diagnoses[judge][passage][least]
            once[judge, passage] = (
                least,
                *unsigned.diagnosis(
                    {v.dimension: v.reason for v in rows},
                    {v.dimension: _word(v, words) for v in rows},
                    names,
                    sheets.most_words,
                ),
            )
        return once[judge, passage]

    packets: list[Packet] = []
    key: list[Diagnosis] = []
    first: dict[tuple[str, int, str], str] = {}
    for sheet in design.sheets:
        named = code.new()
        shown = []
        for at, judge in enumerate(sheet.judges):
            donor = sheet.donor if at == sheet.swapped else None
            source = donor or sheet.passage
            repeat, texts, went = said(judge, source)
            mine = code.new()
            first.setdefault((sheet.rater, sheet.position, judge), mine)
            shown.append(Shown(label=LABELS[at], code=mine, diagnosis=texts))
            key.append(
                Diagnosis(
                    code=mine,
                    judge_id=judge,
                    passage_id=sheet.passage,
                    repeat=repeat,
                    values={v.dimension: v.value for v in diagnoses[judge][source][repeat]},
                    rater_id=sheet.rater,
                    sheet=named,
                    label=LABELS[at],
                    position=sheet.position,
                    kind=sheet.kind,
                    of=None if sheet.of is None else first[sheet.rater, sheet.of, judge],
                    donor=donor,
                    words=unsigned.n_words(went.text),
                    struck=went.struck,
                    standing=went.standing,
                    salt=salt,
                )
            )
        passage = passages[sheet.passage]
        packets.append(
            Packet(
                sheet=named,
                rater_id=sheet.rater,
                position=sheet.position,
                language=passage.language,
                passage=passage.text or "",
                diagnoses=tuple(shown),
            )
        )
    # By code: the order of labels is the packets' own, and the key's must add nothing to it.
    return packets, sorted(key, key=lambda d: d.code)


def sheets_of(packets: Sequence[Packet], rater: str, titles: Mapping[str, str]) -> list[Sheet]:
    """Return a rater's sheets in order as a form shows them; ``titles`` are those of dimensions.

    What is for everyone is every rater's.
    """
    mine = [p for p in packets if p.rater_id in (rater, EVERYONE)]
    return [
        Sheet(
            p.sheet,
            p.passage,
            p.language,
            tuple(
                (
                    d.code,
                    "\n\n".join(
                        f"{titles.get(k, k)}{'：' if p.language.startswith('zh') else ': '}{t}"
                        for k, t in d.diagnosis.items()
                    ),
                )
                for d in p.diagnoses
            ),
        )
        for p in sorted(mine, key=lambda p: p.position)
    ]


def commitment(key: Sequence[Diagnosis]) -> str:
    """Return the sha256 of the salt and the key, whatever the order of its rows."""
    salts = sorted({d.salt for d in key})
    rows = sorted((d.model_dump(mode="json", exclude={"salt"}) for d in key), key=_code)
    text = json.dumps(rows, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256("".join([*salts, text]).encode()).hexdigest()


def shuffled_key(key: Sequence[Diagnosis], seed: int) -> list[Diagnosis]:
    """Return a key on which the analysis may run before the opening: judges permuted on sheets.

    Judges are dealt anew from their sorted names: nobody who knows the seed can turn it back.
    What belongs to a judge is gone or moves with the name (its repeat); what belongs to a code
    stays (its sheet, kind, length, what it repeats). Each showing is dealt for itself.
    """
    rng = np.random.default_rng([seed, 17])
    on_sheet: dict[tuple[str, str], list[Diagnosis]] = defaultdict(list)
    for d in key:
        on_sheet[d.rater_id, d.sheet].append(d)
    made = {}
    for _, rows in sorted(on_sheet.items()):
        who = sorted((d.judge_id, d.repeat) for d in rows)
        order = rng.permutation(len(who))
        for d, i in zip(sorted(rows, key=lambda d: d.code), order, strict=True):
            made[d.code] = d.model_copy(
                update={
                    "judge_id": who[i][0], "repeat": who[i][1], "values": {}, "struck": (),
                    "standing": (), "salt": "",
                }
            )  # fmt: skip
    return [made[d.code] for d in sorted(key, key=lambda d: d.code)]


class _Codes:
    """Random names that are given once."""

    def __init__(self, rng: np.random.Generator, secret: bool) -> None:
        self._rng, self._secret = rng, secret
        self._taken: set[str] = set()

    def new(self) -> str:
        while (name := secrets.token_hex(4) if self._secret else self._rng.bytes(4).hex()) in (
            self._taken
        ):
            pass
        self._taken.add(name)
        return name


def _code(row: Mapping[str, object]) -> str:
    return str(row["code"])


def _word(verdict: Verdict, words: Mapping[int, str]) -> str:
    return "no verdict" if verdict.value is None else words[verdict.value]
