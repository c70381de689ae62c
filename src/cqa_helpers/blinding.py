"""Blind packets, the sealed key, and an opening that refuses to be repeated on changed terms.

Sealing writes what raters may see (``packets.jsonl``), the key, and ``seal.json`` with the hashes
of both and of the plan. Opening checks them all and records which ratings were opened under which
plan; the same opening may be replayed, another is refused.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from cqa_helpers.params import Params, fingerprint
from cqa_helpers.provenance import sha256
from cqa_helpers.records import (
    Passage,
    Record,
    Verdict,
    read_jsonl,
    write_atomically,
    write_jsonl,
)


class BlindError(RuntimeError):
    """The blind test would be broken: changed plan, changed files, or a second opening."""


class Packet(Record):
    """What a rater sees: a passage and an unsigned diagnosis under a code."""

    code: str = Field(min_length=1)
    passage_id: str
    passage: str
    diagnosis: dict[str, str]


class Diagnosis(Record):
    """Who wrote a coded diagnosis, and what it said (the key; not for raters)."""

    code: str
    judge_id: str
    passage_id: str
    repeat: int
    values: dict[str, int | None]


def plan_hash(params: Params) -> str:
    """Return the hash of what is decided beforehand: the study and the blind sections."""
    whole = params.model_dump(mode="json")
    return fingerprint({"study": whole["study"], "blind": whole["blind"]})


def seal(
    params: Params,
    run_dir: Path,
    verdicts: Sequence[Verdict],
    passages: Sequence[Passage],
    words: Mapping[int, str],
) -> Path:
    """Write packets, key and seal for ``blind.n_items`` drawn passages that all judges answered.

    Every judge's diagnosis of a passage becomes one packet, in an order that tells nothing.
    Judges with several seeds give the diagnosis of their first repeat. What a funded study has
    once sealed stays: its packets may be with the raters, and nobody could draw that key again.

    Raises
    ------
    BlindError
        A judge is absent, too few passages are answered, or what a funded study sealed has
        changed, its plan included.
    """
    assert params.blind is not None
    folder = Path(run_dir) / "blind"
    if (folder / "seal.json").is_file() and params.status == "funded-study":
        if changed := _changed(params, folder):
            raise BlindError(
                f"{folder} is sealed, and {' and '.join(changed)} changed since: the packets may "
                "be with the raters. Restore what was sealed; a second test needs a new run folder."
            )
        return folder
    by_judge: dict[str, dict[str, list[Verdict]]] = {}
    for v in verdicts:
        # A call that failed or was refused is no diagnosis, and raters must not be sent its error.
        written = v.status in ("ok", "unparsed") and v.reason
        if v.judge_id in params.blind.judges and v.repeat == 0 and written:
            by_judge.setdefault(v.judge_id, {}).setdefault(v.item_id, []).append(v)
    if absent := sorted(set(params.blind.judges) - set(by_judge)):
        raise BlindError(f"blind.judges names judges without a diagnosis: {', '.join(absent)}.")
    dimensions = {v.dimension for d in by_judge.values() for rows in d.values() for v in rows}
    answered = [
        p
        for p in passages
        if p.text and all(len(d.get(p.id, ())) == len(dimensions) for d in by_judge.values())
    ]
    if len(answered) < params.blind.n_items:
        raise BlindError(
            f"{len(answered)} passages have a diagnosis of every judge; blind.n_items asks for "
            f"{params.blind.n_items}."
        )
    funded = params.status == "funded-study"
    # The seed stands in the repository, so a real key must not follow from it.
    entropy = secrets.randbits(128) if funded else params.seed
    rng = np.random.default_rng([entropy, 6])
    chosen = [answered[i] for i in rng.permutation(len(answered))[: params.blind.n_items]]
    work = [(p, judge) for p in chosen for judge in params.blind.judges]
    packets: list[Packet] = []
    key: list[Diagnosis] = []
    taken: set[str] = set()
    for i in rng.permutation(len(work)):
        passage, judge = work[i]
        code = rng.bytes(4).hex()
        while code in taken:
            code = rng.bytes(4).hex()
        taken.add(code)
        # In one order for all: a judge's own order of dimensions would give it away.
        rows = sorted(by_judge[judge][passage.id], key=lambda v: v.dimension)
        packets.append(
            Packet(
                code=code,
                passage_id=passage.id,
                passage=passage.text or "",
                diagnosis={v.dimension: _unsigned(v, words) for v in rows},
            )
        )
        key.append(
            Diagnosis(
                code=code,
                judge_id=judge,
                passage_id=passage.id,
                repeat=0,
                values={v.dimension: v.value for v in rows},
            )
        )
    write_jsonl(folder / "packets.jsonl", packets)
    write_jsonl(folder / "sealed.key.json", key)
    content = {
        "plan": plan_hash(params),
        "packets": sha256(folder / "packets.jsonl"),
        "key": sha256(folder / "sealed.key.json"),
        "n_packets": len(packets),
    }
    write_atomically(folder / "seal.json", json.dumps(content, indent=1) + "\n")
    if not funded:
        (folder / "opened.json").unlink(missing_ok=True)
    return folder


def open_key(params: Params, run_dir: Path, ratings: Path) -> list[Diagnosis]:
    """Return the key, once everything is as it was sealed; record the opening.

    Raises
    ------
    BlindError
        There is no seal; plan, packets or key changed since; or other ratings or another plan
        were opened before.
    """
    folder = Path(run_dir) / "blind"
    if not (folder / "seal.json").is_file():
        raise BlindError(f"No seal in {folder}: run notebook 04-judge first.")
    if changed := _changed(params, folder):
        raise BlindError(
            f"Not opened: {' and '.join(changed)} changed since the seal in {folder}. Restore what "
            "was sealed, or seal a new test by running 04-judge again into a new run folder."
        )
    opening = {**_terms(params, folder), "ratings": sha256(ratings)}
    record = folder / "opened.json"
    if record.is_file() and json.loads(record.read_text()) != opening:
        raise BlindError(
            f"Not opened: {folder} was opened before, with other ratings. An unblinding is final; "
            "new ratings belong to a new test."
        )
    write_atomically(record, json.dumps(opening, indent=1) + "\n")
    return read_jsonl(folder / "sealed.key.json", Diagnosis)


def _terms(params: Params, folder: Path) -> dict[str, str | None]:
    """Return the hashes of what must not change; null for a file that is not there."""
    files = {"packets": folder / "packets.jsonl", "key": folder / "sealed.key.json"}
    return {
        "plan": plan_hash(params),
        **{what: sha256(path) if path.is_file() else None for what, path in files.items()},
    }


def _changed(params: Params, folder: Path) -> list[str]:
    sealed = json.loads((folder / "seal.json").read_text(encoding="utf-8"))
    return [what for what, now in _terms(params, folder).items() if now != sealed[what]]


def _unsigned(verdict: Verdict, words: Mapping[int, str]) -> str:
    said = "no verdict" if verdict.value is None else words[verdict.value]
    return f"{verdict.reason} [{said}]"
