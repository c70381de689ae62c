"""The golden folder: passages, annotations and verdicts that fit together.

One function reads a folder, one checks records against one another, one imports what came back.
An import checks everything first and writes nothing if anything severe is found; each file is
then replaced in one piece, passages before what refers to them, so that a stop in between leaves a
folder that reads, and running the import again completes it.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cqa_helpers import intake, paths, taxonomy
from cqa_helpers.annotations import Annotation, misfits, stance
from cqa_helpers.intake import Finding, Intake, Placed
from cqa_helpers.records import Pair, Passage, Record, Verdict, write_jsonl
from cqa_helpers.taxonomy import Taxonomy

# The instruments that judge no passage, and the file that their verdicts go to.
INSTRUMENTS = {"cot-quality": "quality", "pair-screening": "screening"}
_PATTERNS = ("passages*.jsonl", "annotations*.jsonl", "verdicts*.jsonl", "verdicts*.csv",
             "verdicts*.xlsx", "recorded*.jsonl", "quality*.jsonl", "screening*.jsonl")  # fmt: skip
# Half-width marks between two Chinese characters: read as a slip of the keyboard.
_HALF_WIDTH = re.compile(r"(?<=[\u4e00-\u9fff])[,;:?!](?=[\u4e00-\u9fff])")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f]")


class GoldenError(ValueError):
    """The material does not fit together; the message lists every fault with its place."""


class Golden(NamedTuple):
    """A golden folder: ``verdicts`` holds those of the annotations and those of tables.

    ``quality`` are ratings of the annotations' reasoning (items are annotation ids), ``screening``
    those of pairs of people.
    """

    passages: list[Passage]
    annotations: list[Annotation]
    verdicts: list[Verdict]
    quality: list[Verdict]
    screening: list[Verdict]


class Outcome(NamedTuple):
    """What an import did: numbers by kind of record, and everything that was found."""

    added: dict[str, int]
    replaced: int
    unchanged: int
    findings: list[Finding]

    def ok(self) -> bool:
        """Return whether anything could be imported: no finding is severe."""
        return not any(f.severe for f in self.findings)


def files(folder: Path) -> list[Path]:
    """Return the data files of a golden folder in a stable order."""
    return sorted({path for pattern in _PATTERNS for path in Path(folder).glob(pattern)})


def read(folder: Path, of: Taxonomy) -> Golden:
    """Read a golden folder.

    Raises
    ------
    GoldenError
        Every severe fault in it.
    """
    taken = take(files(folder), of)
    severe = [f for f in check(taken, of) if f.severe]
    if severe:
        raise GoldenError(
            f"{len(severe)} fault(s) in {folder}; nothing was read.\n" + "\n".join(map(str, severe))
        )
    return _gather([p.record for p in taken.placed], of)


def take(some: Sequence[Path], of: Taxonomy, beside: Sequence[Placed] = ()) -> Intake:
    """Read files; ratings of reasoning under a code get back the annotation's id.

    ``beside`` are records known already, whose annotations have codes too.
    """
    taken = intake.read(some, of)
    ids = [p.record.id for p in (*beside, *taken.placed) if isinstance(p.record, Annotation)]
    known = {rating_code(id): id for id in ids}
    placed = [
        p._replace(record=p.record.model_copy(update={"item_id": known[p.record.item_id]}))
        if isinstance(p.record, Verdict) and p.record.item_id in known else p
        for p in taken.placed
    ]  # fmt: skip
    return taken._replace(placed=placed)


def rating_code(annotation_id: str) -> str:
    """Return the code under which raters see an annotation: an id tells who, and by which way."""
    return "r-" + text_hash(annotation_id)[:10]


def check(taken: Intake, of: Taxonomy) -> list[Finding]:
    """Return all findings of an intake, its own and those between its records."""
    passages = {p.record.id: p.record for p in taken.of(Passage)}
    annotations = {p.record.id for p in taken.of(Annotation)}
    found = list(taken.findings)
    for placed in taken.placed:
        record = placed.record
        if isinstance(record, Passage):
            found += _passage(placed)
        elif isinstance(record, Annotation):
            known = passages.get(record.passage_id)
            shown = taken.seen.get((placed.file, record.passage_id))
            if known and known.text is not None and shown not in (None, text_hash(known.text)):
                found.append(
                    placed.finding("passage_id", f"{record.id}: the form showed another text of "
                                   f"{known.id!r} than the one known here; its spans cannot be "
                                   "trusted")
                )  # fmt: skip
            found += [
                placed.finding(m.field, f"{record.id}: {m.message}", m.severe)
                for m in misfits(record, known, of)
            ]
        elif isinstance(record, Verdict):
            found += _verdict(placed, of, passages, annotations)
    found += _repeated(taken.placed, of)
    order = {str(f): i for i, f in enumerate(dict.fromkeys(p.file for p in taken.placed))}
    return sorted(found, key=lambda f: (order.get(f.file, 0), f.file, f.line or 0, not f.severe))


def import_files(
    came_from: Sequence[Path], folder: Path, of: Taxonomy, replace: bool = False
) -> Outcome:
    """Import files into a golden folder, everything or nothing.

    A record that is there already and equal is left alone; one that differs is a fault, unless
    ``replace`` is given.
    """
    there = take(files(folder), of)
    came = take(came_from, of, there.placed)
    keys = {_key(p.record) for p in came.placed}
    known = {_key(p.record): p.record for p in there.placed}
    unchanged = sum(known.get(_key(p.record)) == p.record for p in came.placed)
    kept = [p for p in there.placed if not (replace and _key(p.record) in keys)]
    both = Intake([*kept, *came.placed], [*there.findings, *came.findings], came.seen)
    findings = check(both, of)
    pairs = [p for p in came.placed if isinstance(p.record, Pair)]
    findings += [p.finding("record", "pairs are not imported: put the file into data/pairs/")
                 for p in pairs[:1]]  # fmt: skip
    new = {k for k in keys if k not in known}
    replaced = sum(known[k] != p.record for p in came.placed if (k := _key(p.record)) in known)
    outcome = Outcome({}, replaced if replace else 0, unchanged, findings)
    if not outcome.ok():
        return outcome
    records: dict[tuple[str, ...], Record] = {}
    for placed in both.placed:
        records[_key(placed.record)] = placed.record
    by_file: dict[str, list[Record]] = {"passages": [], "annotations": [], "verdicts": [],
                                        "quality": [], "screening": []}  # fmt: skip
    for record in records.values():
        by_file[_file_of(record, of)].append(record)
    for name, rows in by_file.items():
        held = [p for p in files(folder) if p.name.startswith(name)]
        if rows or held:
            write_jsonl(Path(folder) / f"{name}.jsonl", rows)
            # What was spread over several files or a table now stands in one.
            for extra in held:
                if extra.name != f"{name}.jsonl":
                    extra.replace(extra.with_name(f".imported-{extra.name}"))
        outcome.added[name] = sum(_key(r) in new for r in rows)
    return outcome


def text_hash(text: str) -> str:
    """Return the sha256 of a passage's text in UTF-8, as the forms state it."""
    return hashlib.sha256(text.encode()).hexdigest()


# ---- single checks ---------------------------------------------------------------------------


def _passage(placed: Placed) -> Iterator[Finding]:
    passage = placed.record
    text = passage.text or ""
    if "\ufffd" in text:
        yield placed.finding("text", f"{passage.id}: holds the mark of a lost character (U+FFFD): "
                             "the file was once read in a wrong encoding")  # fmt: skip
    strange = sorted({c for c in text if unicodedata.category(c) == "Cc" and c not in "\n\t"})
    if strange:
        shown = ", ".join(f"U+{ord(c):04X}" for c in strange[:5])
        yield placed.finding("text", f"{passage.id}: control character(s) {shown}; spans count "
                             "them as characters", False)  # fmt: skip
    if _BIDI.search(text):
        yield placed.finding("text", f"{passage.id}: marks that change the direction of writing; "
                             "shown as such in the form", False)  # fmt: skip
    if passage.language.startswith("zh") and (n := len(_HALF_WIDTH.findall(text))):
        yield placed.finding("text", f"{passage.id}: {n} half-width punctuation mark(s) between "
                             "Chinese characters", False)  # fmt: skip


def _verdict(
    placed: Placed, of: Taxonomy, passages: Mapping[str, Passage], annotations: set[str]
) -> Iterator[Finding]:
    verdict = placed.record
    own = next((d for d in of.dimensions if d.id == verdict.dimension), None)
    name = _instrument(verdict.dimension, of)
    if own is None and name is None:
        yield placed.finding("dimension", f"{verdict.dimension!r} is not a dimension of taxonomy "
                             f"{of.id!r}; it has {', '.join(of.ids())}")  # fmt: skip
        return
    if own is not None:
        dimension, known = own, passages.keys() | set()
    else:
        dimension = _load(str(name), paths.root()).get(verdict.dimension)
        known = annotations if name == "cot-quality" else {verdict.item_id}
    if verdict.scale != dimension.scale:
        yield placed.finding("scale", f"{verdict.scale}; {dimension.id} is judged on "
                             f"{dimension.scale}")  # fmt: skip
    if verdict.item_id not in known:
        what = "passage" if own is not None else "annotation"
        yield placed.finding("item_id", f"no {what} {verdict.item_id!r} is known")
    said = stance(verdict.reason) if own is not None and verdict.value is not None else None
    low, high = dimension.range()
    if said is not None and verdict.value in (low, high) and said != (verdict.value == high):
        yield placed.finding("reason", f"ends by finding the choice "
                             f"{'effective' if said else 'ineffective'}, the value is "
                             f"{verdict.value}: {verdict.reason[-60:]!r}", False)  # fmt: skip


def _repeated(all_placed: Sequence[Placed], of: Taxonomy) -> Iterator[Finding]:
    first: dict[tuple[str, ...], Placed] = {}
    judged: dict[tuple[str, ...], tuple[int, Placed]] = {}
    for placed in all_placed:
        key = _key(placed.record)
        before = first.setdefault(key, placed)
        if before is not placed:
            same = before.record == placed.record
            where = before.file if before.line is None else f"{before.file}:{before.line}"
            yield placed.finding("id" if len(key) == 2 else "item_id", f"{' · '.join(key[1:])} "
                                 f"stands already in {where}, "
                                 + ("with the same content" if same else "with other content; "
                                    "give it another id, or import it with --replace"),
                                 severe=not same)  # fmt: skip
        elif isinstance(placed.record, Annotation):
            for j in placed.record.judgements:
                cell = ("verdict", placed.record.passage_id, j.dimension, placed.record.expert_id,
                        "0")  # fmt: skip
                if cell in judged and judged[cell][0] != j.value:
                    yield placed.finding("judgements", f"{cell[3]} judged {cell[1]} on {cell[2]} "
                                         f"otherwise in {judged[cell][1].record.id}")  # fmt: skip
                judged.setdefault(cell, (j.value, placed))
    for key, placed in first.items():
        if key in judged and placed.record.value != judged[key][0]:
            yield placed.finding("value", f"{' · '.join(key[1:])}: the annotation "
                                 f"{judged[key][1].record.id} says {judged[key][0]}, this row "
                                 f"{placed.record.value}")  # fmt: skip


def _key(record: Record) -> tuple[str, ...]:
    if isinstance(record, Verdict):
        return ("verdict", record.item_id, record.dimension, record.judge_id, str(record.repeat))
    assert isinstance(record, Passage | Annotation | Pair)
    return (type(record).__name__.lower(), record.id)


def _instrument(dimension: str, of: Taxonomy) -> str | None:
    if dimension in of.ids():
        return None
    return next((n for n in INSTRUMENTS if dimension in _load(n, paths.root()).ids()), None)


@cache
def _load(name: str, root: Path) -> Taxonomy:
    return taxonomy.load(name)


def _file_of(record: Record, of: Taxonomy) -> str:
    if isinstance(record, Verdict):
        return INSTRUMENTS.get(_instrument(record.dimension, of) or "", "verdicts")
    return {Passage: "passages", Annotation: "annotations"}[type(record)]


def _gather(records: Sequence[Record], of: Taxonomy) -> Golden:
    golden = Golden([], [], [], [], [])
    seen: set[tuple[str, ...]] = set()
    for record in records:
        if isinstance(record, Annotation):
            golden.annotations.append(record)
            golden.verdicts.extend(record.verdicts(of))
            seen |= {_key(v) for v in record.verdicts(of)}
    for record in records:
        if not isinstance(record, Annotation) and _key(record) not in seen:
            seen.add(_key(record))
            getattr(golden, _file_of(record, of)).append(record)
    return golden
