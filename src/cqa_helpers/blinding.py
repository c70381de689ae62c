"""Blind packets, the sealed key, and an opening that refuses to be repeated on changed terms.

Sealing writes what raters may see (``packets.jsonl``), the key (``sealed.key.json``, never shared
before the opening), and ``seal.json``: the hashes of plan and packets, the commitment to the key,
and what was struck. Opening checks them all and records which ratings were opened under which
plan; the same opening may be replayed, another is refused.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cqa_helpers import design, packets, taxonomy
from cqa_helpers.packets import (
    EVERYONE,
    Diagnosis,
    Packet,
    Sheets,
    Shown,
    commitment,
    shuffled_key,
)
from cqa_helpers.params import Params, fingerprint
from cqa_helpers.provenance import sha256
from cqa_helpers.records import (
    Passage,
    RecordError,
    Verdict,
    read_jsonl,
    write_atomically,
    write_jsonl,
)

__all__ = [
    "EVERYONE", "BlindError", "Diagnosis", "Packet", "Sheets", "Shown", "changes", "commitment",
    "dealt", "open_key", "plan_hash", "read_key", "seal", "shuffled_key",
]  # fmt: skip
# What is written after the seal; a rehearsal sealed anew starts over.
AFTER = ("opened.json", "plan.lock.json", "frozen.json", "unblinded.json")


class BlindError(RuntimeError):
    """The blind test would be broken: changed plan, changed files, or a second opening."""


def plan_hash(params: Params) -> str:
    """Return the hash of what is decided beforehand: the study and the blind sections."""
    whole = params.model_dump(mode="json")
    return fingerprint({"study": whole["study"], "blind": whole["blind"]})


def dealt(params: Params, names: Sequence[str] = ()) -> Sheets:
    """Return how the plan deals diagnoses to raters; ``names`` are those judges go by.

    Raises
    ------
    TaxonomyError
        The primary criterion is none of the plan's.
    """
    plan = params.blind
    assert plan is not None
    taxonomy.load(plan.taxonomy).get(plan.criterion)
    return Sheets(
        raters=plan.raters,
        per_sheet=plan.per_sheet,
        sheets_a_rater=plan.sheets_a_rater,
        raters_a_passage=plan.raters_a_passage,
        repeats=plan.repeats,
        attention=plan.attention,
        seeds=plan.seeds,
        most_words=plan.most_words,
        names=names,
        excluded={(rater, p) for rater, passages in plan.excluded.items() for p in passages},
    )


def seal(
    params: Params,
    run_dir: Path,
    verdicts: Sequence[Verdict],
    passages: Sequence[Passage],
    words: Mapping[int, str],
    sheets: Sheets | None = None,
) -> Path:
    """Write packets, key and seal for ``blind.n_items`` drawn passages that all judges answered.

    Sheets are dealt as the plan says unless given.

    What a funded study has once sealed stays: its packets may be with the raters, and nobody
    could draw that key again. Sealing a rehearsal anew takes back what was opened before.

    Raises
    ------
    BlindError
        A judge is absent, too few passages are answered, or what a funded study sealed has
        changed, its plan included.
    DesignError
        The sheets cannot be dealt so.
    """
    assert params.blind is not None
    folder = Path(run_dir) / "blind"
    funded = params.status == "funded-study"
    if (folder / "seal.json").is_file() and funded:
        if changed := changes(params, run_dir):
            raise BlindError(
                f"{folder} is sealed, and {' and '.join(changed)} changed since: the packets may "
                "be with the raters. Restore what was sealed; a second test needs a new run folder."
            )
        return folder
    wanted = sheets or dealt(params)
    judges = params.blind.judges
    first = [v for v in verdicts if v.repeat == 0 or wanted.seeds == "spread"]
    written = packets.written(first, judges)
    if absent := sorted(set(judges) - set(written)):
        raise BlindError(f"blind.judges names judges without a diagnosis: {', '.join(absent)}.")
    answered = [p for p in passages if p.text and all(p.id in written[j] for j in judges)]
    if len(answered) < params.blind.n_items:
        raise BlindError(
            f"{len(answered)} passages have a diagnosis of every judge; blind.n_items asks for "
            f"{params.blind.n_items}."
        )
    # The seed stands in the repository, so a real key must not follow from it.
    rng = np.random.default_rng([secrets.randbits(128) if funded else params.seed, 6])
    drawn = [answered[i] for i in rng.permutation(len(answered))]
    of_id = {p.id: p for p in drawn}
    chosen = [p.id for p in drawn[: params.blind.n_items]]
    made = design.design(
        chosen,
        [judges[i] for i in rng.permutation(len(judges))],
        wanted.raters or [EVERYONE],
        wanted.per_sheet,
        sheets_a_rater=wanted.sheets_a_rater,
        raters_a_passage=wanted.raters_a_passage,
        repeats=wanted.repeats,
        attention=wanted.attention,
        spare=[p.id for p in drawn[params.blind.n_items :]],
        excluded=wanted.excluded,
        works={p.id: p.work_id for p in drawn},
        seed=rng,
    )
    names = [*judges, *wanted.names]
    shown, key = packets.pack(made, of_id, written, words, wanted, names, rng, funded)
    write_jsonl(folder / "packets.jsonl", shown)
    write_jsonl(folder / "sealed.key.json", key)
    content = {
        "plan": plan_hash(params),
        "packets": sha256(folder / "packets.jsonl"),
        "key": commitment(key),
        "n_packets": len(shown),
        "n_diagnoses": len(key),
        "n_raters": len(made.raters),
        "imbalance": design.imbalance(made)._asdict(),
        "struck": sum(len(d.struck) for d in key if d.kind == "item"),
        "standing": sum(len(d.standing) for d in key if d.kind == "item"),
    }
    write_atomically(folder / "seal.json", json.dumps(content, indent=1) + "\n")
    if not funded:
        for name in AFTER:
            (folder / name).unlink(missing_ok=True)
    return folder


def open_key(params: Params, run_dir: Path, ratings: Path) -> list[Diagnosis]:
    """Return the key, once everything is as it was sealed; record the opening.

    A funded study's key opens after its unblinding alone (:mod:`cqa_helpers.planlock`).

    Raises
    ------
    BlindError
        There is no seal; plan, packets or key changed since; other ratings or another plan were
        opened before; or a funded study has not been unblinded.
    """
    folder = Path(run_dir) / "blind"
    if not (folder / "seal.json").is_file():
        raise BlindError(f"No seal in {folder}: run notebook 04-judge first.")
    if changed := changes(params, run_dir):
        raise BlindError(
            f"Not opened: {' and '.join(changed)} changed since the seal in {folder}. Restore what "
            "was sealed, or seal a new test by running 04-judge again into a new run folder."
        )
    if params.status == "funded-study" and not (folder / "unblinded.json").is_file():
        raise BlindError(
            f"Not opened: {folder} is not unblinded. Lock the plan (cqa plan lock), freeze the "
            "ratings (cqa plan freeze), then cqa unblind; until then labels are shuffled."
        )
    opening = {**_terms(params, folder), "ratings": sha256(ratings)}
    record = folder / "opened.json"
    if record.is_file() and json.loads(record.read_text(encoding="utf-8")) != opening:
        raise BlindError(
            f"Not opened: {folder} was opened before, with other ratings. An unblinding is final; "
            "new ratings belong to a new test."
        )
    write_atomically(record, json.dumps(opening, indent=1) + "\n")
    return read_key(run_dir)


def read_key(run_dir: Path) -> list[Diagnosis]:
    """Return the key as it lies in the run, unchecked: for simulated raters and for shuffling."""
    return read_jsonl(Path(run_dir) / "blind" / "sealed.key.json", Diagnosis)


def changes(params: Params, run_dir: Path) -> list[str]:
    """Return which of plan, packets and key are no longer what was sealed."""
    folder = Path(run_dir) / "blind"
    sealed = json.loads((folder / "seal.json").read_text(encoding="utf-8"))
    return [what for what, now in _terms(params, folder).items() if now != sealed[what]]


def _terms(params: Params, folder: Path) -> dict[str, str | None]:
    """Return the hashes of what must not change; null for a file that is gone or unreadable."""
    shown = folder / "packets.jsonl"
    try:
        key = commitment(read_key(folder.parent))
    except (OSError, RecordError):
        key = None
    return {
        "plan": plan_hash(params),
        "packets": sha256(shown) if shown.is_file() else None,
        "key": key,
    }
