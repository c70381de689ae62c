"""What a run works on, in the same files whatever its source.

``<run_dir>/corpus/`` holds passages, annotations, expert and recorded verdicts, pairs and the
material of probes as JSON Lines. A profile's source writes them once; every notebook reads them,
and knows no more.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from cqa_helpers import golden, overlap, paths, rewordings, splits, taxonomy
from cqa_helpers.annotations import Annotation
from cqa_helpers.params import Params, fingerprint
from cqa_helpers.provenance import sha256
from cqa_helpers.records import Pair, Passage, Verdict, read_jsonl, write_atomically, write_jsonl

# Judges with this prefix are the experts of a run; nobody else's id may begin so.
EXPERT = "expert-"
FILES: dict[str, type] = {
    "passages": Passage,
    "annotations": Annotation,
    "experts": Verdict,
    "recorded": Verdict,
    "pairs": Pair,
    "quality": Verdict,
    "reworded": Passage,
    "probes": Annotation,
}
# Arms whose annotations say an expert's judgments in other words.
RETELLINGS = ("second-voice", "prose")


class CorpusError(ValueError):
    """The material a profile needs is not there."""


class Corpus(NamedTuple):
    """The material of one run; ``experts`` and ``recorded`` are verdicts on passages.

    ``quality`` are ratings of the annotations' reasoning, if any were given. ``annotations`` are
    all there are, whatever arm they were made for; only :meth:`taught` may train. ``reworded`` are
    held-out passages told in other words, ``meta.rewords`` their original's id; ``probes`` are
    annotations of held-out passages, whose reasons are given to a judge to see whether its
    verdict follows.
    """

    passages: list[Passage]
    annotations: list[Annotation]
    experts: list[Verdict]
    recorded: list[Verdict]
    pairs: list[Pair]
    split: splits.Split
    quality: Sequence[Verdict] = ()
    reworded: Sequence[Passage] = ()
    probes: Sequence[Annotation] = ()

    def diagnoses(self) -> list[Annotation]:
        """Return the experts' own annotations, without those made for another arm."""
        return [a for a in self.annotations if _arm(a) == "cot"]

    def taught(self) -> list[Annotation]:
        """Return the annotations of training passages: no other may teach a model."""
        train = set(self.split.train)
        return [a for a in self.annotations if a.passage_id in train]

    def by_id(self) -> dict[str, Passage]:
        """Return the passages by id."""
        return {passage.id: passage for passage in self.passages}

    def twins(self, params: Params) -> list[overlap.Twins]:
        """Return the near-duplicates that a split may not part.

        None in the rehearsal: its grammar repeats itself by design, which 01 counts and shows.
        """
        return [] if params.corpus.people else rewordings.twins(self.passages, self.reworded)

    def test(self) -> list[Passage]:
        """Return the held-out passages in the split's order."""
        known = self.by_id()
        return [known[i] for i in self.split.test]


def prepare(params: Params, run_dir: Path) -> Corpus:
    """Return the run's material, written first if it is not there or was made otherwise.

    Otherwise: from other params, other files, or by another version of the simulated world.

    Raises
    ------
    CorpusError
        The source's own files are missing: which, and what to do.
    """
    folder = Path(run_dir) / "corpus"
    stamp = folder / "made.json"
    wanted = _made_from(params)
    if not stamp.is_file() or json.loads(stamp.read_text())["made_from"] != wanted:
        made = _SOURCES[params.corpus.source](params)
        splits.check(made.split, made.by_id(), made.twins(params))
        for name in FILES:
            write_jsonl(folder / f"{name}.jsonl", getattr(made, name))
        split = {"train": made.split.train, "test": made.split.test}
        write_atomically(stamp, json.dumps({"made_from": wanted, **split}) + "\n")
    return read(run_dir)


def _made_from(params: Params) -> str:
    """Return the hash of all that decides what the corpus files hold."""
    data = paths.root() / "data"
    read_files = {
        "rehearsal": (paths.PACKAGE / "rehearsal").glob("*.py"),
        "ttcw": (data / "sources.yaml", paths.PACKAGE / "ttcw.py"),
        "golden": (*(golden.files(_folder(params)) if params.corpus.folder else ()),
                   *_pair_files(params), paths.taxonomy_file(params.taxonomy)),
    }[params.corpus.source]  # fmt: skip
    names = ("controls", "corpus", "golden", "intake", "rewordings", "splits")
    makers = (paths.PACKAGE / f"{name}.py" for name in names)
    return fingerprint(
        [
            params.corpus.model_dump(mode="json"), params.seed, params.taxonomy,
            params.tuning is None, params.judging.recorded,
            {path.name: sha256(path) for path in sorted((*read_files, *makers)) if path.is_file()},
        ]
    )  # fmt: skip


def read(run_dir: Path) -> Corpus:
    """Read the material of a run that has been prepared; what older runs lack is empty."""
    folder = Path(run_dir) / "corpus"
    stamp = json.loads((folder / "made.json").read_text())
    split = splits.Split(tuple(stamp["train"]), tuple(stamp["test"]))
    return Corpus(**{path.stem: read_jsonl(path, FILES[path.stem]) for path in files(run_dir)},
                  split=split)  # fmt: skip


def files(run_dir: Path) -> list[Path]:
    """Return the files whose hashes say which data a run saw."""
    there = [Path(run_dir) / "corpus" / f"{name}.jsonl" for name in FILES]
    return [path for path in there if path.stem not in Corpus._field_defaults or path.is_file()]


def _rehearsal(params: Params) -> Corpus:
    from cqa_helpers.rehearsal import material

    return Corpus(**material.gather(params))


def _ttcw(params: Params) -> Corpus:
    from cqa_helpers import ttcw

    data = ttcw.read()
    wanted = set(params.judging.recorded)
    recorded = [v for v in data.recorded_verdicts if v.judge_id in wanted]
    if missing := wanted - {v.judge_id for v in recorded}:
        known = ", ".join(sorted({v.judge_id for v in data.recorded_verdicts}))
        raise CorpusError(
            f"judging.recorded names {', '.join(sorted(missing))}; TTCW has recorded verdicts of "
            f"{known}."
        )
    passages = list(data.passages)
    if params.tuning is None:
        split = splits.Split((), tuple(p.id for p in passages))
    else:
        with_text = [p for p in passages if p.text]
        split = splits.by_work(with_text, params.corpus.n_train, params.corpus.n_test, params.seed)
    return Corpus(
        passages=passages,
        annotations=ttcw.as_annotations(data, split.train),
        probes=ttcw.as_annotations(data, split.test),
        experts=list(data.expert_verdicts),
        recorded=recorded,
        pairs=[],
        split=split,
    )


def _golden(params: Params) -> Corpus:
    folder = _folder(params)
    if not list(folder.glob("passages*.jsonl")):
        raise CorpusError(
            f"{params.profile} runs on the golden set in {params.corpus.folder}/, and it is not "
            "here yet. Missing: passages.jsonl, with annotations.jsonl or verdicts.jsonl (or .csv, "
            ".xlsx) beside it. `cqa form annotate` makes the form to fill in, `cqa "
            "import-annotations` takes what comes back; see data/README.md."
        )
    of = taxonomy.load(params.taxonomy)
    data = golden.read(folder, of)
    wanted = set(params.judging.recorded)
    if missing := wanted - {v.judge_id for v in data.verdicts}:
        known = ", ".join(sorted({v.judge_id for v in data.verdicts})) or "none"
        raise CorpusError(
            f"judging.recorded names {', '.join(sorted(missing))}; the verdicts in "
            f"{params.corpus.folder}/ are those of {known}."
        )
    experts = [v for v in by_experts(data) if v.judge_id not in wanted]
    if not experts:
        raise CorpusError(f"no expert verdicts in {params.corpus.folder}/: only those of judges "
                          "that judging.recorded names.")  # fmt: skip
    rows = {a.passage_id for a in data.annotations} | {v.item_id for v in data.verdicts}
    told, reworded = rewordings.apart(data.passages, rows)
    judged = {v.item_id for v in experts}
    passages = [p for p in told if p.id in judged]
    if params.tuning is None:
        split = splits.Split((), tuple(p.id for p in passages))
    else:
        # Taught are the dimensions that are judged: an annotation with a gap is audited only.
        whole = {a.passage_id for a in data.annotations if _arm(a) == "cot"
                 and set(of.ids()) <= {j.dimension for j in a.judgements}}  # fmt: skip
        split = splits.by_work(
            passages, params.corpus.n_train, params.corpus.n_test, params.seed,
            strata=_strata(passages, experts), twins=rewordings.twins(passages, reworded),
            trainable=whole & {p.id for p in passages if p.text},
        )  # fmt: skip
    held_out = set(split.test)
    return Corpus(
        passages=told,
        annotations=data.annotations,
        experts=[_as_expert(v) for v in experts],
        recorded=[v for v in data.verdicts if v.judge_id in wanted],
        pairs=_pairs(params),
        quality=data.quality,
        split=split,
        reworded=[p for p in reworded if p.meta["rewords"] in held_out],
        probes=[a for a in data.annotations if a.passage_id in held_out],
    )


def by_experts(data: golden.Golden) -> list[Verdict]:
    """Return the verdicts less those that annotations made for an arm add to them.

    A retelling repeats the verdicts of what it retells; what stands in for a standard or an
    erring annotator is nobody's verdict on the passage.
    """
    made_for = {a.id: _arm(a) for a in data.annotations}
    by_arm: dict[str, list[Verdict]] = {}
    for v in data.verdicts:
        by_arm.setdefault(made_for.get(str(v.meta.get("annotation")), "cot"), []).append(v)
    own = by_arm.get("cot", [])
    seen = {(v.item_id, v.dimension, v.judge_id) for v in own}
    for v in (v for arm in RETELLINGS for v in by_arm.get(arm, [])):
        if (v.item_id, v.dimension, v.judge_id) not in seen:
            seen.add((v.item_id, v.dimension, v.judge_id))
            own.append(v)
    return own


def _arm(annotation: Annotation) -> str:
    return str(annotation.meta.get("arm", "cot"))


def _as_expert(verdict: Verdict) -> Verdict:
    """Return a verdict whose judge is known as an expert by name, whatever the person's id."""
    if verdict.judge_id.startswith(EXPERT):
        return verdict
    return verdict.model_copy(update={"judge_id": f"{EXPERT}{verdict.judge_id}"})


def _folder(params: Params) -> Path:
    assert params.corpus.folder is not None
    return paths.at(params.corpus.folder)


def _pair_files(params: Params) -> list[Path]:
    return sorted(paths.at(params.corpus.pairs).glob("*.jsonl")) if params.corpus.pairs else []


def _pairs(params: Params) -> list[Pair]:
    """Return the pairs of all files, at most ``n_pairs`` a group, in the files' order."""
    kept: list[Pair] = []
    room = {"literary": params.corpus.n_pairs, "factual": params.corpus.n_pairs}
    for path in _pair_files(params):
        for pair in read_jsonl(path, Pair):
            if room[pair.group] > 0:
                room[pair.group] -= 1
                kept.append(pair)
    return kept


def _strata(passages: list[Passage], experts: list[Verdict]) -> dict[str, str]:
    """Return each passage's stratum: language, domain, and whether it was judged above the median.

    Our choice: so both sides hold good and bad passages of each kind.
    """
    values: dict[str, list[int]] = {}
    for v in experts:
        if v.value is not None:
            values.setdefault(v.item_id, []).append(v.value)
    means = {i: statistics.fmean(v) for i, v in values.items()}
    middle = statistics.median(means.values()) if means else 0.0
    return {p.id: f"{p.language}/{p.domain}/{means.get(p.id, middle) > middle}" for p in passages}


_SOURCES: dict[str, Callable[[Params], Corpus]] = {
    "rehearsal": _rehearsal,
    "ttcw": _ttcw,
    "golden": _golden,
}


def ratings(params: Params, run_dir: Path) -> Path | None:
    """Return the file of returned ratings; the rehearsal's simulated raters fill theirs in.

    ``None`` where the profile has no blind test or nothing has been returned yet.
    """
    if params.blind is None:
        return None
    if params.corpus.source != "rehearsal":
        returned = paths.root() / "data" / "ratings" / "ratings.jsonl"
        return returned if returned.is_file() else None
    from cqa_helpers.packets import Diagnosis
    from cqa_helpers.rehearsal import material, rating

    path = Path(run_dir) / "blind" / "ratings.jsonl"
    key = read_jsonl(Path(run_dir) / "blind" / "sealed.key.json", Diagnosis)
    seen = [
        rating.Seen(d.code, d.rater_id, d.sheet, d.passage_id, d.values, d.donor is not None)
        for d in key
    ]
    criteria = taxonomy.load(params.blind.taxonomy).ids()
    write_jsonl(path, rating.rate(seen, material.planted(params), criteria, seed=params.seed + 8))
    return path
