"""A golden set as a folder for others: parquet, card, Croissant, hashes, licence.

What may not be shared is not in it: a passage under another licence leaves as id, length and hash,
evidence in it as offsets, and any longer stretch of it that an annotation quotes as offsets too. A
person's words leave only where that person consented.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from cqa_helpers import card, corpus, croissant, golden, paths, taxonomy, yamlfile
from cqa_helpers import params as run_params
from cqa_helpers.annotations import Annotation
from cqa_helpers.consent import People, shareable, unquoted
from cqa_helpers.corpus import Corpus
from cqa_helpers.golden import text_hash
from cqa_helpers.params import Params
from cqa_helpers.provenance import git_state, sha256
from cqa_helpers.records import Passage, Verdict, write_atomically

Side = Literal["train", "test", "other"]
SIDES: tuple[Side, ...] = ("train", "test", "other")


class ReleaseError(ValueError):
    """The set cannot be released as it is; the message says what is missing."""


class Released(NamedTuple):
    """What a release holds: rows by table, passages withheld, people left out."""

    folder: Path
    rows: dict[str, int]
    withheld: list[str]
    without_consent: list[str]


_VERDICT = pa.schema(
    [("item_id", pa.string()), ("dimension", pa.string()), ("judge_id", pa.string()),
     ("repeat", pa.int64()), ("value", pa.int64()), ("scale", pa.string()),
     ("probability", pa.float64()), ("reason", pa.string()), ("status", pa.string()),
     ("meta", pa.string())]
)  # fmt: skip
SCHEMAS: dict[str, pa.Schema] = {
    "passages": pa.schema(
        [("id", pa.string()), ("work_id", pa.string()), ("language", pa.string()),
         ("domain", pa.string()), ("text", pa.string()), ("url", pa.string()),
         ("origin", pa.string()), ("licence", pa.string()), ("source", pa.string()),
         ("meta", pa.string()), ("characters", pa.int64()), ("sha256", pa.string())]
    ),
    "annotations": pa.schema(
        [("id", pa.string()), ("passage_id", pa.string()), ("protocol", pa.string()),
         ("expert_id", pa.string()), ("engineer_id", pa.string()), ("minutes", pa.float64()),
         ("recall", pa.string()), ("recall_closed", pa.string()), ("preamble", pa.string()),
         ("cot_body", pa.string()), ("summary", pa.string()), ("transcript", pa.string()),
         ("counterfactual_density", pa.float64()),
         ("judgements", pa.list_(pa.struct(
             [("dimension", pa.string()), ("value", pa.int64()), ("score", pa.int64()),
              ("reason", pa.string()), ("facets", pa.string()),
              ("steps", pa.list_(pa.struct([("kind", pa.string()), ("text", pa.string())])))]))),
         ("claims", pa.list_(pa.struct(
             [("text", pa.string()), ("dimension", pa.string()), ("load_bearing", pa.bool_()),
              ("counterfactuals", pa.list_(pa.struct(
                  [("premise", pa.string()), ("outcome", pa.string()),
                   ("explicit", pa.bool_())])))]))),
         ("probes", pa.list_(pa.struct(
             [("asked", pa.string()), ("why", pa.string()), ("reply", pa.string()),
              ("correction", pa.string()), ("kind", pa.string()), ("origin", pa.string()),
              ("at", pa.string())]))),
         ("evidence", pa.list_(pa.struct(
             [("start", pa.int64()), ("end", pa.int64()), ("dimension", pa.string()),
              ("quote", pa.string()), ("note", pa.string())]))),
         ("meta", pa.string())]
    ),
    "verdicts": _VERDICT,
    "quality": _VERDICT,
    "pairs": pa.schema(
        [("id", pa.string()), ("good", pa.string()), ("degraded", pa.string()),
         ("dimension", pa.string()), ("intent", pa.string()), ("audience", pa.string()),
         ("reality", pa.string()), ("group", pa.string()), ("origin", pa.string()),
         ("meta", pa.string())]
    ),
}  # fmt: skip


def release(params: Params, run: Path, out: Path) -> Released:
    """Write the release of a golden profile's set, in one piece or not at all.

    Raises
    ------
    ReleaseError
        Not a golden set, no ``people.yaml``, or someone in the set is not in it.
    """
    if params.corpus.folder is None:
        raise ReleaseError(
            f"{params.profile} reads {params.corpus.source}: only a golden set of one's own is "
            "released (source: golden). Public data belong to their authors."
        )
    folder = paths.at(params.corpus.folder)
    listed = folder / "people.yaml"
    if not listed.is_file():
        raise ReleaseError(f"{listed}: missing. It says who took part, what they were paid and "
                           "what they agreed to; data/README.md has the fields.")  # fmt: skip
    people = yamlfile.read(listed, People, ReleaseError)
    of = taxonomy.load(params.taxonomy)
    theirs = corpus.by_experts(golden.read(folder, of))
    # In a run experts are known as such by name; here by the ids that people.yaml lists.
    material = corpus.prepare(params, run)._replace(
        experts=[v for v in theirs if v.judge_id not in params.judging.recorded]
    )
    tables, withheld, silent = _tables(material, people)
    with tempfile.TemporaryDirectory(dir=_parent(out), prefix=f".{out.name}.") as name:
        staged = Path(name) / "release"
        files = _write_tables(staged, tables)
        shutil.copyfile(paths.taxonomy_file(params.taxonomy), staged / "taxonomy.yaml")
        facts = card.Facts(params, people, material, of, files, withheld, silent, git_state())
        write_atomically(staged / "README.md", card.write(facts))
        write_atomically(staged / "LICENSE", card.licence(people.licence))
        croissant.write(staged / "croissant.json", facts, staged)
        hashes = {str(p.relative_to(staged)): sha256(p)
                  for p in sorted(staged.rglob("*")) if p.is_file()}  # fmt: skip
        write_atomically(staged / "MANIFEST.json", json.dumps(hashes, indent=1) + "\n")
        if out.exists():
            out.rename(Path(name) / "old")
        staged.rename(out)
    return Released(out, {k: len(v) for k, v in tables.items()}, withheld, silent)


def _parent(out: Path) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    return out.parent


def _tables(
    material: Corpus, people: People
) -> tuple[dict[str, list[dict[str, Any]]], list[str], list[str]]:
    consents: dict[str, set[str]] = {p.id: set(p.consents) for p in people.people}
    seen = {a.expert_id for a in material.annotations}
    seen |= {a.engineer_id for a in material.annotations if a.engineer_id}
    seen |= {v.judge_id for v in (*material.experts, *material.quality)}
    if unknown := sorted(seen - consents.keys()):
        raise ReleaseError(
            f"people.yaml does not list {', '.join(unknown)}: without their consent their words "
            "cannot leave the house."
        )
    known = material.by_id()
    side = _sides(material)
    silent = sorted(p for p in seen if not consents[p])
    annotations = [
        _annotation(a, known[a.passage_id], consents) | {"side": side[a.passage_id]}
        for a in material.annotations
        if "annotations" in consents[a.expert_id]
        and (a.engineer_id is None or "annotations" in consents[a.engineer_id])
    ]
    kept = {a["id"] for a in annotations}
    tables = {
        "passages": [
            _passage(p) | {"side": side[str(p.meta.get("rewords", p.id))]}
            for p in (*material.passages, *material.reworded)
        ],
        "annotations": annotations,
        "verdicts": [
            _verdict(v, known[v.item_id]) | {"side": side[v.item_id]}
            for v in (*material.experts, *material.recorded)
            if "verdicts" in consents.get(v.judge_id, {"verdicts"})
        ],
        "quality": [
            _verdict(v, None) | {"side": "other"} for v in material.quality
            if v.item_id in kept and "verdicts" in consents[v.judge_id]
        ],
        "pairs": [
            {**p.model_dump(exclude={"constraints"}), **p.constraints.model_dump(),
             "meta": _json(p.meta), "side": "other"} for p in material.pairs
        ],
    }  # fmt: skip
    return (
        tables,
        [p.id for p in (*material.passages, *material.reworded) if not shareable(p)],
        silent,
    )


def _sides(material: Corpus) -> dict[str, Side]:
    train, test = set(material.split.train), set(material.split.test)
    return {
        p.id: "train" if p.id in train else "test" if p.id in test else "other"
        for p in material.passages
    }


def _passage(passage: Passage) -> dict[str, Any]:
    row = passage.model_dump(mode="json") | {"meta": _json(passage.meta)}
    row["characters"] = None if passage.text is None else len(passage.text)
    row["sha256"] = None if passage.text is None else text_hash(passage.text)
    if not shareable(passage):
        row["text"] = None
    return row


def _annotation(
    annotation: Annotation, passage: Passage, consents: dict[str, set[str]]
) -> dict[str, Any]:
    row = _strings(annotation.model_dump(mode="json"), passage)
    row["counterfactual_density"] = annotation.counterfactual_density()
    row["meta"] = _json(row["meta"])
    for judgement in row["judgements"]:
        judgement["facets"] = _json(judgement["facets"])
    if not shareable(passage):
        for span in row["evidence"]:
            span["quote"] = ""
    both = [annotation.expert_id, *([annotation.engineer_id] if annotation.engineer_id else [])]
    if not all("transcript" in consents[p] for p in both):
        row["transcript"] = ""
    return row


def _strings(value: Any, passage: Passage) -> Any:
    """Return a record with all its texts :func:`unquoted`."""
    if isinstance(value, str):
        return unquoted(value, passage)
    if isinstance(value, dict):
        return {k: _strings(v, passage) for k, v in value.items()}
    return [_strings(v, passage) for v in value] if isinstance(value, list) else value


def _verdict(verdict: Verdict, passage: Passage | None) -> dict[str, Any]:
    row = verdict.model_dump(mode="json") | {"meta": _json(verdict.meta)}
    if passage is not None:
        row["reason"] = unquoted(verdict.reason, passage)
    return row


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _write_tables(
    staged: Path, tables: dict[str, list[dict[str, Any]]]
) -> dict[str, dict[str, str]]:
    """Write one parquet file a table and side, and return their names; empty ones are left out."""
    files: dict[str, dict[str, str]] = {}
    for name, rows in tables.items():
        for side in SIDES:
            mine = [{k: v for k, v in r.items() if k != "side"} for r in rows if r["side"] == side]
            if mine:
                path = staged / "data" / name / f"{side}.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(pa.Table.from_pylist(mine, schema=SCHEMAS[name]), path)
                files.setdefault(name, {})[side] = str(path.relative_to(staged))
    return files


def main(arguments: Sequence[str]) -> int:
    """Release one profile's set: ``python -m cqa_helpers.release PROFILE``."""
    profile = arguments[0] if arguments else "examples"
    try:
        params = run_params.load(run_params.file_of(profile))
        run = paths.run_dir(profile)
        done = release(params, run, run / "release")
    except ValueError as fault:
        print(fault, file=sys.stderr)
        return 1
    rows = ", ".join(f"{n} {name}" for name, n in done.rows.items())
    print(f"{done.folder.relative_to(paths.root())}: {rows}.")
    print(f"Texts withheld for their licence: {', '.join(done.withheld) or 'none'}.")
    if done.without_consent:
        print(f"Left out, no consent: {', '.join(done.without_consent)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
