"""A round of blind ratings: forms out to raters, files back, and the rows that they make.

It reads packets and never the key. What comes back is kept as it came (``returned/``), and every
taking in reads all that was kept: the rows follow from the files, whatever the order in which they
arrived.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cqa_helpers import forms, ratings, sheets, standing, taxonomy, unsigned
from cqa_helpers.packets import EVERYONE, Packet, sheets_of
from cqa_helpers.params import Params
from cqa_helpers.provenance import sha256
from cqa_helpers.records import RecordError, Verdict, read_jsonl, write_atomically
from cqa_helpers.sheets import RANK, Sheet, Worked
from cqa_helpers.taxonomy import Language, Taxonomy

ROWS, PRACTICE, MISSING = "ratings.jsonl", "practice.jsonl", "missing.csv"
# Files as they came back; what lies in the folder below counts no more.
RETURNED, ASIDE = "returned", "set-aside"
_DATA = re.compile(r'(<script type="application/json" id="data">)(.*?)(</script>)', re.DOTALL)


class RoundError(RecordError):
    """A round cannot be sent out or taken in: why, and what to do."""


class Round(NamedTuple):
    """Who is sent which sheets, in order. ``names`` must not be read in what is sent.

    ``taxonomy`` is that of the criteria. ``judges`` and ``seeds`` are those of the run: together
    they would name a model.
    """

    profile: str
    language: Language
    sheets: dict[str, list[Sheet]]
    taxonomy: Taxonomy
    names: tuple[str, ...]
    judges: tuple[str, ...]
    seeds: frozenset[int]


class Arrival(NamedTuple):
    """What all files together give. ``new`` are files that are not kept yet; nothing is written.

    ``came`` and ``gone`` are rows that the file of rows did not hold before, and holds no more.
    ``aside`` are files that were set aside by hand and are not read.
    """

    found: ratings.Returned
    new: list[Path]
    came: list[Verdict]
    gone: list[str]
    aside: list[Path]


def load(params: Params, run_dir: Path) -> Round:
    """Return the round that a run has sealed.

    Raises
    ------
    RoundError
        The profile has no blind test, nothing is sealed, or the packets changed since.
    """
    if params.blind is None:
        raise RoundError(f"{params.profile} has no blind test: its params say blind: null.")
    folder = Path(run_dir) / "blind"
    file = folder / "packets.jsonl"
    if not (file.is_file() and (folder / "seal.json").is_file()):
        raise RoundError(
            f"No packets in {folder}: run notebook 04-judge first (make report "
            f"PROFILE={params.profile}); it writes and seals them."
        )
    if sha256(file) != json.loads((folder / "seal.json").read_text(encoding="utf-8"))["packets"]:
        raise RoundError(
            f"{file} changed since it was sealed. Restore it: ratings of other packets have no "
            "place in the sealed key."
        )
    try:
        packets = read_jsonl(file, Packet)
    except RecordError as fault:
        raise RoundError(
            f"{file} holds no sheets, an older version wrote it: run notebook 04-judge again. "
            f"{str(fault).splitlines()[1]}"
        ) from None
    asked = taxonomy.load(params.taxonomy)
    raters = dict.fromkeys(p.rater_id for p in packets)
    if EVERYONE in raters:
        raters = dict.fromkeys(params.blind.raters)
    everything = {*params.blind.judges, *(live.model for live in params.judging.live)}
    everything |= {standing.name_of(judge, params) for judge in params.blind.judges}
    if params.models is not None:
        everything |= {params.models.base, Path(params.models.base).name}
    return Round(
        params.profile,
        params.language,
        {rater: list(_dealt(packets, rater, asked)) for rater in raters},
        taxonomy.load(params.blind.taxonomy),
        # What unsigning leaves standing as ordinary language cannot be forbidden here.
        tuple(sorted(n for n in everything if unsigned.unsigned(n, [n]).struck)),
        tuple(params.blind.judges),
        frozenset({params.seed, *(params.tuning.seeds if params.tuning else ())}),
    )


def _dealt(packets: Sequence[Packet], rater: str, asked: Taxonomy) -> Iterator[Sheet]:
    """Yield a rater's sheets in order, each with titles in its own language."""
    mine = [p for p in packets if p.rater_id in (rater, EVERYONE)]
    for packet in sorted(mine, key=lambda p: p.position):
        language: Language = "zh" if packet.language.startswith("zh") else "en"
        titles = {d.id: d.label.in_language(language) for d in asked.dimensions}
        yield from sheets_of([packet], rater, titles)


# ---- out ---------------------------------------------------------------------------------------


def send(
    given: Round,
    out: Path,
    language: Language | None = None,
    raters: Sequence[str] = (),
    contact: str = "",
) -> list[Path]:
    """Write a form for each rater, or for these alone, as ``<out>/<rater>.html``.

    ``language`` is that of interface and worked examples, the run's unless given; ``contact``
    is whom the raters send their file to. Files are read again before they are put in place.

    Raises
    ------
    RoundError
        An unknown rater, or a file that would tell of a judge; then none is written.
    FormError
        Packets that make no form.
    """
    if unknown := sorted(set(raters) - set(given.sheets)):
        raise RoundError(
            f"Unknown rater(s): {', '.join(unknown)}. {given.profile} has packets for "
            f"{', '.join(sorted(given.sheets))}."
        )
    chosen = language or given.language
    examples = sheets.worked(chosen)
    made: dict[str, bytes] = {}
    told: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for rater in raters or given.sheets:
            file = forms.blind(
                given.sheets[rater], given.taxonomy, Path(folder) / "form.html", chosen, rater,
                worked=examples, names=given.names, contact=contact,
            )  # fmt: skip
            told += [f"{rater}: {fault}" for fault in tells(file, given, rater, examples)]
            made[rater] = file.read_bytes()
    if told:
        raise RoundError(f"{len(told)} fault(s), no form was written.\n" + "\n".join(told))
    for rater, content in made.items():
        write_atomically(Path(out) / f"{rater}.html", content)
    return [Path(out) / f"{rater}.html" for rater in made]


def tells(file: Path, given: Round, rater: str, examples: Sequence[Worked]) -> list[str]:
    """Return what a written form tells of judges: names, seeds, or other sheets than were dealt.

    Passages are left out of the search: all diagnoses of a sheet share it.
    """
    raw = file.read_text(encoding="utf-8")
    parts = _DATA.search(raw)
    if parts is None:
        return ["the form holds no data"]
    data = json.loads(parts[2])
    order = [(i["id"], [d["code"] for d in i["diagnoses"]]) for i in data["items"]]
    dealt = [*(w.sheet for w in examples), *given.sheets[rater]]
    faults = []
    if order != [(s.id, [c for c, _ in s.diagnoses]) for s in dealt]:
        faults.append("sheets, codes or their order are not those of the packets")
    for item in data["items"]:
        item["text"] = ""
    rest = raw[: parts.start()] + json.dumps(data, ensure_ascii=False) + raw[parts.end() :]
    faults += [f"{m!r} names a judge" for m in sorted({*sheets.naming(given.names).findall(rest)})]
    judges = "|".join(map(re.escape, given.judges))
    run = rf"(?<![A-Za-z\d])(?:{judges})(?:[-_@#/:]?(?:seed[-_ ]?)?|\s+seed[-_ ]?)\d+(?![A-Za-z\d])"
    faults += [f"{m[0]!r} names a judge's run" for m in re.finditer(run, rest, re.IGNORECASE)]
    ids = [id for s in given.sheets[rater] for id in (s.id, *(c for c, _ in s.diagnoses))]
    seeds = {str(seed) for seed in given.seeds}
    faults += [f"the id {id!r} holds a seed" for id in ids if seeds & set(re.split(r"[._-]", id))]
    return faults


# ---- back --------------------------------------------------------------------------------------


def take(
    given: Round,
    files: Sequence[Path],
    folder: Path,
    *,
    accept_edited: bool = False,
    later_wins: bool = False,
) -> Arrival:
    """Read these files and all that were kept before; see :func:`cqa_helpers.ratings.read`.

    A file whose content is kept already is not read a second time.
    """
    kept = _files(folder / RETURNED)
    known = {_hash(file) for file in kept}
    new: list[Path] = []
    for file in map(Path, files):
        # What cannot be read is told of by the reading itself.
        if (content := _hash(file)) is None or content not in known:
            new.append(file)
            known.add(content)
    worked = [w.sheet for code in ("en", "zh") for w in sheets.worked(code)]
    found = ratings.read(
        [*kept, *new], given.sheets, given.taxonomy, worked=worked, accept_edited=accept_edited,
        later_wins=later_wins,
    )  # fmt: skip
    place = {d: n for n, d in enumerate((*given.taxonomy.ids(), RANK))}
    for rows in (found.rows, found.practice):
        rows.sort(key=lambda v: (v.judge_id, v.meta["turn"], v.meta["position"],
                                 place[v.dimension]))  # fmt: skip
    before = folder / ROWS
    held = before.read_text(encoding="utf-8").splitlines() if before.is_file() else []
    now = {v.model_dump_json(): v for v in found.rows}
    came = [v for line, v in now.items() if line not in set(held)]
    gone = [line for line in held if line not in now]
    return Arrival(found, new, came, gone, _files(folder / RETURNED / ASIDE))


def keep(arrival: Arrival, folder: Path, run_dir: Path) -> list[Path]:
    """Keep the files and write rows, practice and what is missing; return the copies.

    Raises
    ------
    RoundError
        The ratings are frozen and these rows would be others; nothing is written.
    """
    rows = _lines(arrival.found.rows)
    frozen = Path(run_dir) / "blind" / "frozen.json"
    if frozen.is_file():
        fixed = json.loads(frozen.read_text(encoding="utf-8"))
        if hashlib.sha256(rows.encode()).hexdigest() != fixed["sha256"]:
            raise RoundError(
                f"Not imported: {fixed['n_ratings']} ratings are frozen ({frozen}), and these "
                f"files make {len(arrival.found.rows)}, of which {len(arrival.came)} are not in "
                f"{folder / ROWS} and {len(arrival.gone)} there would go. What comes after the "
                "freeze does not count; nothing was written."
            )
    copies = []
    for file in arrival.new:
        if _hash(file) is not None:
            copies.append(_free(folder / RETURNED, file.name))
            write_atomically(copies[-1], file.read_bytes())
    write_atomically(folder / ROWS, rows)
    write_atomically(folder / PRACTICE, _lines(arrival.found.practice))
    write_atomically(folder / MISSING, _missing(arrival.found.missing))
    return copies


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))


def _hash(file: Path) -> str | None:
    return sha256(file) if file.is_file() else None


def _free(folder: Path, name: str) -> Path:
    """Return a name that is not taken: ``r.json``, ``r.2.json``, …"""
    target, n = folder / name, 1
    while target.exists():
        n += 1
        target = folder / f"{Path(name).stem}.{n}{Path(name).suffix}"
    return target


def _lines(rows: Sequence[Verdict]) -> str:
    return "".join(row.model_dump_json() + "\n" for row in rows)


def _missing(missing: Sequence[ratings.Missing]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(ratings.Missing._fields)
    writer.writerows(missing)
    return text.getvalue()
