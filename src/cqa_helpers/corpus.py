"""What a run works on, in the same files whatever its source.

``<run_dir>/corpus/`` holds passages, annotations, expert and recorded verdicts and pairs as
JSON Lines. A profile's source writes them once; every notebook reads them, and knows no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cqa_helpers import paths, splits
from cqa_helpers.annotations import Annotation
from cqa_helpers.params import Params, fingerprint
from cqa_helpers.provenance import sha256
from cqa_helpers.records import Pair, Passage, Verdict, read_jsonl, write_atomically, write_jsonl

FILES: dict[str, type] = {
    "passages": Passage,
    "annotations": Annotation,
    "experts": Verdict,
    "recorded": Verdict,
    "pairs": Pair,
}


class CorpusError(ValueError):
    """The material a profile needs is not there."""


class Corpus(NamedTuple):
    """The material of one run; ``experts`` and ``recorded`` are verdicts."""

    passages: list[Passage]
    annotations: list[Annotation]
    experts: list[Verdict]
    recorded: list[Verdict]
    pairs: list[Pair]
    split: splits.Split

    def by_id(self) -> dict[str, Passage]:
        """Return the passages by id."""
        return {passage.id: passage for passage in self.passages}

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
        splits.check(made.split, made.by_id())
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
        "golden": (*(data / "golden").glob("*.jsonl"), data / "pairs" / "pairs.jsonl"),
    }[params.corpus.source]
    return fingerprint(
        [
            params.corpus.model_dump(mode="json"), params.seed, params.taxonomy,
            params.tuning is None, params.judging.recorded,
            {path.name: sha256(path) for path in sorted(read_files) if path.is_file()},
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
    data = paths.root() / "data"
    needed = {
        "passages": data / "golden" / "passages.jsonl",
        "annotations": data / "golden" / "annotations.jsonl",
        "experts": data / "golden" / "verdicts.jsonl",
    }
    if missing := [path for path in needed.values() if not path.is_file()]:
        raise CorpusError(
            "This profile runs on the team's golden set, and it is not here yet. Missing: "
            + ", ".join(str(path.relative_to(paths.root())) for path in missing)
            + ". Put the files there (one record a line, see data/README.md)."
        )
    passages = read_jsonl(needed["passages"], Passage)
    annotations = read_jsonl(needed["annotations"], Annotation)
    annotated = {a.passage_id for a in annotations}
    train = [p.id for p in passages if p.id in annotated][: params.corpus.n_train]
    test = [p.id for p in passages if p.id not in annotated][: params.corpus.n_test]
    pairs = data / "pairs" / "pairs.jsonl"
    recorded = data / "golden" / "recorded.jsonl"
    return Corpus(
        passages=passages,
        annotations=annotations,
        experts=read_jsonl(needed["experts"], Verdict),
        recorded=read_jsonl(recorded, Verdict) if recorded.is_file() else [],
        pairs=read_jsonl(pairs, Pair) if pairs.is_file() else [],
        split=splits.Split(tuple(train), tuple(test)),
    )


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
