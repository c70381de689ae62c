"""What comes out of fine-tuning, as a folder for others: adapter, card, licences, hashes.

Only finished safetensors leave, of a base that needs no code of its own, and nothing that names
this machine. The folder appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cqa_helpers import (
    adapters,
    bases,
    cohort,
    consent,
    corpus,
    merging,
    modelcards,
    paths,
    results,
    sources,
    yamlfile,
)
from cqa_helpers.agreement import Interval
from cqa_helpers.arms import TrainingRow
from cqa_helpers.choices import Spot
from cqa_helpers.cohort import Base, Member
from cqa_helpers.corpus import Corpus
from cqa_helpers.merging import Asked, Parity
from cqa_helpers.modelcards import Data, Facts, Metric
from cqa_helpers.params import Params
from cqa_helpers.portability import ADAPTER, ExportError, check, places, portable
from cqa_helpers.prompts import Dialect, parse
from cqa_helpers.provenance import git_state, sha256
from cqa_helpers.records import write_atomically

# How many training answers a merged model is compared on (our choice).
COMPARED = 8


class Exported(NamedTuple):
    """What an export holds: its folder, file to sha256, and a merged model's parity."""

    folder: Path
    files: dict[str, str]
    parity: Parity | None


def export(params: Params, run_dir: Path, name: str, out: Path, *, merge: bool = False) -> Exported:
    """Write one finished adapter of a profile for others, and with ``merge`` the merged model.

    ``name`` is a member's (``first-cot-100-1``); the merged model goes into ``out/merged``.

    Raises
    ------
    ExportError
        No such member; no finished adapter, or one of another recipe, base or data than the
        profile's; a pickle or code beside it, or a base with code; ``out`` is there already.
    MergeError
        The merged model differs from the adapter by more than is allowed. Nothing is written.
    """
    if out.exists():
        raise ExportError(f"{out} is there already: name another folder, or remove it.")
    member = _member(params, name)
    folder = Path(run_dir) / "adapters" / member.name
    record = check(folder)
    assert params.models is not None
    base = Base(params.models, member.lineage)
    known = _base(params, member)
    try:
        material = corpus.read(run_dir)
        rows = cohort.taught(member, params, material)
        tuning = cohort.schedule(member, base, params, material)
    except (OSError, KeyError) as error:
        raise ExportError(f"{run_dir} has no material to check the adapter against ({error}): run "
                          "notebook 01-annotate-audit first.") from None  # fmt: skip
    if record["recipe"] != adapters.recipe(tuning, base.identity, rows, member.seed):
        raise ExportError(
            f"{folder} was trained with other settings, on another base or on other rows than "
            f"profile {params.profile!r} has now: run notebook 02-fine-tune again."
        )
    facts = _facts(params, run_dir, member, known, record, material, rows)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as made:
        staged = Path(made) / "export"
        write_adapter(folder, staged, facts)
        parity = None
        if merge:
            asked = compared_on(rows, facts.dialect, member, params)
            parity = merging.merge(
                params.models, known.name, folder, staged / "merged", asked,
                local=base.local(), batch_size=params.judging.batch_size,
            )  # fmt: skip
            _describe(staged / "merged", facts._replace(parity=parity))
        if named := places(staged, *([known.folder] if known.folder else [])):
            raise ExportError(f"the export would name places of this machine: {'; '.join(named)}.")
        files = _manifest(staged)
        os.replace(staged, out)
    return Exported(out, files, parity)


def write_adapter(folder: Path, out: Path, facts: Facts) -> None:
    """Write an adapter for others: weights as they are, and files that name no place."""
    out.mkdir(parents=True)
    shutil.copyfile(folder / ADAPTER, out / ADAPTER)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": facts.base, "revision": facts.revision}
    write_atomically(out / "adapter_config.json", json.dumps(config, indent=2) + "\n")
    write_atomically(out / "training.json", json.dumps(facts.record, indent=1) + "\n")
    _describe(out, facts)


def compared_on(
    rows: Sequence[TrainingRow], dialect: Dialect, member: Member, params: Params
) -> Asked:
    """Return training answers, and the places of their verdicts, to compare a merged model on."""
    form, dimensions = (put := cohort.panel(params, member.arm)).form, put.taxonomy.ids()
    words = dialect.words_of(form)
    chosen, spots = rows[:COMPARED], []
    for i, row in enumerate(chosen):
        asked = dimensions if dialect.unit == "passage" else dimensions[:1]
        for answer in parse(row.completion, asked, dialect, form):
            if answer.start is not None:
                spots.append(Spot(i, row.prompt + row.completion[: answer.start]))
    return Asked(
        [(r.prompt, r.completion) for r in chosen], spots, (words[min(words)], words[max(words)])
    )


def measured(params: Params, run_dir: Path, member: Member) -> list[Metric]:
    """Return what the run measured of a member and its arm; null what it did not, or not yet."""
    place: tuple[str, ...] = ("arms", member.arm, str(member.n))
    if member.lineage == "second":
        place = ("second_base", *place[1:])
    tuned = _section(params, run_dir, "02-fine-tune") if member.plain else {}
    judged = _section(params, run_dir, "04-judge") if member.plain else {}
    assert params.tuning is not None
    sizes = [n for arm, each in params.tuning.arms.items() if arm == member.arm for n in each]
    largest = member.n == max(sizes, default=member.n)
    judge = cohort.judge_id(member) if largest else ""
    n = len(params.tuning.seeds)
    return [
        Metric("AUC of P(effective) against the experts' majority, mean over dimensions",
               "this seed", _found(tuned, *place, str(member.seed), "mean_auc")),
        Metric("Share of verdicts that equal the experts' majority", "this seed",
               _found(tuned, *place, str(member.seed), "accuracy")),
        Metric("AUC, as above", f"all {n} seeds of the arm",
               _found(tuned, *place, "summary", "mean_auc")),
        Metric("Cohen's kappa with single experts", f"all {n} seeds of the arm",
               _found(judged, "judges", judge, "kappa")),
    ]  # fmt: skip


def _section(params: Params, run_dir: Path, notebook: str) -> dict[str, Any]:
    try:
        section = results.load(run_dir, notebook)
    except results.ResultsError:
        return {}
    fresh = section.get("provenance", {}).get("params_hash") == params.fingerprint(notebook)
    return section if fresh else {}


def _found(section: Any, *keys: str) -> Interval:
    for key in keys:
        section = section.get(key) if isinstance(section, dict) else None
    if isinstance(section, dict):
        return Interval(section.get("value"), section.get("low"), section.get("high"))
    return Interval(section, None, None)


def _member(params: Params, name: str) -> Member:
    planned = {m.name: m for m in cohort.planned(params)}
    if name not in planned:
        there = ", ".join(list(planned)[:8]) + (" …" if len(planned) > 8 else "")
        raise ExportError(f"profile {params.profile!r} plans no model {name!r}; it plans "
                          f"{there or 'none: it tunes no model'}.")  # fmt: skip
    return planned[name]


def _base(params: Params, member: Member) -> bases.Known:
    assert params.models is not None
    name = params.models.base if member.lineage == "first" else params.models.second_base
    known = bases.known(params.models, name)
    if known.own_code:
        raise ExportError(
            f"base {known.name!r} comes with code of its own ({', '.join(known.own_code)}): an "
            "adapter for it could only be loaded by running that, so it is not exported."
        )
    return known


def _facts(
    params: Params,
    run_dir: Path,
    member: Member,
    known: bases.Known,
    record: dict[str, Any],
    material: Corpus,
    rows: Sequence[TrainingRow],
) -> Facts:
    base = portable(known.name)
    rest = str(record["base"])[len(known.name) :]
    put = cohort.panel(params, member.arm)
    return Facts(
        params, member, put.dialect, {d.id: d.question.en for d in put.taxonomy.dimensions},
        base, known.where != "repository", known.commit, known.licence,
        {**record, "base": base + rest},
        _data(params, run_dir, member, material, rows), measured(params, run_dir, member),
        git_state(),
    )  # fmt: skip


def _data(
    params: Params, run_dir: Path, member: Member, material: Corpus, rows: Sequence[TrainingRow]
) -> Data:
    known = material.by_id()
    taught = [known[i] for i in sorted({row.item_id for row in rows})]
    files = [p for p in corpus.files(run_dir) if p.stem in ("passages", "annotations")]
    return Data(
        member.n,
        len(taught),
        len({p.work_id for p in taught}),
        tuple(sorted({p.language for p in taught})),
        dict(Counter(p.origin for p in taught)),
        dict(Counter(p.licence for p in taught)),
        _annotation_licence(params, material),
        sum(not consent.shareable(p) for p in taught),
        material.split.fingerprint(),
        {p.name: sha256(p) for p in files},
    )


def _annotation_licence(params: Params, material: Corpus) -> str | None:
    """Return the licence that annotations are given under, or None where nobody has stated one."""
    if params.corpus.source == "ttcw":
        return sources.load().get("ttcw-annotations").licence
    if params.corpus.source == "rehearsal":
        # One program wrote passages and annotations.
        stated = {p.licence for p in material.passages}
        return stated.pop() if len(stated) == 1 else None
    assert params.corpus.folder is not None
    listed = paths.at(params.corpus.folder) / "people.yaml"
    if not listed.is_file():
        return None
    return yamlfile.read(listed, consent.People, ExportError).licence


def _describe(folder: Path, facts: Facts) -> None:
    write_atomically(folder / "README.md", modelcards.write(facts))
    write_atomically(folder / "LICENSE", modelcards.licence_note(facts))


def _manifest(folder: Path) -> dict[str, str]:
    files = {
        p.relative_to(folder).as_posix(): sha256(p)
        for p in sorted(folder.rglob("*")) if p.is_file()
    }  # fmt: skip
    write_atomically(folder / "MANIFEST.json", json.dumps(files, indent=1) + "\n")
    return files
