"""What a run works on, in the same files whatever its source.

``<run_dir>/corpus/`` holds passages, annotations, expert and recorded verdicts and pairs as
JSON Lines. A profile's source writes them once; every notebook reads them, and knows no more.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cqa_helpers import golden, overlap, paths, splits, taxonomy
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
}


class CorpusError(ValueError):
    """The material a profile needs is not there."""


class Corpus(NamedTuple):
    """The material of one run; ``experts`` and ``recorded`` are verdicts on passages.

    ``quality`` are ratings of the annotations' reasoning, if any were given.
    """

    passages: list[Passage]
    annotations: list[Annotation]
    experts: list[Verdict]
    recorded: list[Verdict]
    pairs: list[Pair]
    split: splits.Split
    quality: Sequence[Verdict] = ()

    def by_id(self) -> dict[str, Passage]:
        """Return the passages by id."""
        return {passage.id: passage for passage in self.passages}

    def twins(self, params: Params) -> list[overlap.Twins]:
        """Return the near-duplicates that a split may not part.

        None in the rehearsal: its grammar repeats itself by design, which 01 counts and shows.
        """
        return [] if params.corpus.people else overlap.near_duplicates(self.passages)

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
    makers = (paths.PACKAGE / f"{name}.py" for name in ("corpus", "golden", "intake", "splits"))
    return fingerprint(
        [
            params.corpus.model_dump(mode="json"), params.seed, params.taxonomy,
            params.tuning is None, params.judging.recorded,
            {path.name: sha256(path) for path in sorted((*read_files, *makers)) if path.is_file()},
        ]
    )  # fmt: skip


def read(run_dir: Path) -> Corpus:
    """Read the material of a run that has been prepared."""
    folder = Path(run_dir) / "corpus"
    stamp = json.loads((folder / "made.json").read_text())
    split = splits.Split(tuple(stamp["train"]), tuple(stamp["test"]))
    return Corpus(**{name: read_jsonl(folder / f"{name}.jsonl", kind)
                     for name, kind in FILES.items()}, split=split)  # fmt: skip


def files(run_dir: Path) -> list[Path]:
    """Return the files whose hashes say which data a run saw."""
    return [Path(run_dir) / "corpus" / f"{name}.jsonl" for name in FILES]


def _rehearsal(params: Params) -> Corpus:
    from cqa_helpers.rehearsal import people, world

    declared = params.corpus.people
    assert declared is not None
    seed = params.seed
    train, test = _stories(params)
    stories = [*train, *test]
    return Corpus(
        passages=[world.to_passage(story) for story in stories],
        annotations=[*people.annotate(train, seed + 2), *people.imitate(train, seed + 3)],
        experts=people.panel(stories, declared.n_experts, declared.expert_accuracy, seed + 4),
        recorded=people.reference(test, declared.reference_accuracy, seed + 5),
        pairs=[
            *world.literary_pairs(params.corpus.n_pairs, seed + 6),
            *world.factual_pairs(params.corpus.n_pairs, seed + 7),
        ],
        split=splits.Split(tuple(s.id for s in train), tuple(s.id for s in test)),
    )


def _stories(params: Params) -> tuple[list[Any], list[Any]]:
    from cqa_helpers.rehearsal import world

    sizes = {"train": params.corpus.n_train, "test": params.corpus.n_test}
    sets = world.story_sets(sizes, params.seed)
    return sets["train"], sets["test"]


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
    experts = [v for v in data.verdicts if v.judge_id not in wanted]
    if not experts:
        raise CorpusError(f"no expert verdicts in {params.corpus.folder}/: only those of judges "
                          "that judging.recorded names.")  # fmt: skip
    judged = {v.item_id for v in experts}
    passages = [p for p in data.passages if p.id in judged]
    if params.tuning is None:
        split = splits.Split((), tuple(p.id for p in passages))
    else:
        # Taught are the dimensions that are judged: an annotation with a gap is audited only.
        whole = {a.passage_id for a in data.annotations
                 if set(of.ids()) <= {j.dimension for j in a.judgements}}  # fmt: skip
        split = splits.by_work(
            passages, params.corpus.n_train, params.corpus.n_test, params.seed,
            strata=_strata(passages, experts), twins=overlap.near_duplicates(passages),
            trainable=whole & {p.id for p in passages if p.text},
        )  # fmt: skip
    return Corpus(
        passages=data.passages,
        annotations=data.annotations,
        experts=[_as_expert(v) for v in experts],
        recorded=[v for v in data.verdicts if v.judge_id in wanted],
        pairs=_pairs(params),
        quality=data.quality,
        split=split,
    )


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
    from cqa_helpers.blinding import Diagnosis
    from cqa_helpers.rehearsal import people

    assert params.corpus.people is not None
    path = Path(run_dir) / "blind" / "ratings.jsonl"
    key = read_jsonl(Path(run_dir) / "blind" / "sealed.key.json", Diagnosis)
    diagnoses = {d.code: people.Diagnosis(d.passage_id, d.values) for d in key}
    rated = people.rate(
        diagnoses, planted(params), params.corpus.people.n_raters, seed=params.seed + 8
    )
    write_jsonl(path, rated)
    return path


def planted(params: Params) -> dict[str, dict[str, int]]:
    """Return the rehearsal's planted truth by passage and dimension, for its own checks alone."""
    train, test = _stories(params)
    return {story.id: dict(story.truth) for story in (*train, *test)}
