"""What a run has to compare, and a judge asked about it: the material of preferences.

Texts are the good and the degraded one of a pair, or the held-out passages of one work.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from cqa_helpers import calls, cohort, consent, corpus, paths, preferences, yamlfile
from cqa_helpers.corpus import Corpus
from cqa_helpers.judges import Panel
from cqa_helpers.judges.endpoint import Endpoint
from cqa_helpers.params import Params
from cqa_helpers.preferences import Source, Task
from cqa_helpers.prompts import Dialect, file_of, load_dialect
from cqa_helpers.provenance import sha256
from cqa_helpers.records import Verdict, from_table

Of = Literal["pairs", "works"]
# Notebook 03 asks local models about the pairs: what they said is not asked again.
ASKED_BEFORE = ("03-calibrated-surprise", "04-judge")


class ComparisonError(ValueError):
    """There is nothing to compare, or nobody to ask; the message says what is missing."""


class Compared(NamedTuple):
    """Tasks, one judge's verdicts on their texts, and the dialect it was asked in, if known."""

    tasks: list[Task]
    verdicts: list[Verdict]
    dialect: str | None


def gather(
    params: Params,
    run_dir: Path,
    judge_id: str,
    *,
    of: Of = "pairs",
    source: Source = "pointwise",
    dialect: str | None = None,
) -> Compared:
    """Return what a run has to compare and what a judge says of it.

    Works judged pointwise are read off 04's verdicts, whoever gave them; all else is asked now, of
    a live judge (which costs, within its budget), the base or a tuned model (seeds are repeats),
    and recorded in ``calls/preferences.sqlite``. ``dialect`` asks in other words than the judge's
    own.

    Raises
    ------
    ComparisonError
        No texts, no verdicts, or a judge that cannot be asked.
    """
    tasks = _tasks(params, run_dir, of)
    if of == "works" and source == "pointwise":
        return Compared(tasks, _judged(run_dir, judge_id), None)
    verdicts, named = _asked(params, run_dir, judge_id, tasks, source, dialect)
    return Compared(tasks, verdicts, f"{named}@{sha256(file_of(named))[:16]}")


def _tasks(params: Params, run_dir: Path, of: Of) -> list[Task]:
    try:
        material = corpus.read(run_dir)
    except OSError:
        raise ComparisonError(
            f"{run_dir} has no texts yet: run notebook 01-annotate-audit first."
        ) from None
    if of == "works":
        tasks = preferences.of_works(material.test(), _writers(params))
        missing = "no work has two held-out passages with a text"
    else:
        tasks = preferences.of_pairs(material.pairs, _writers(params), _licence(params, material))
        missing = "it has no pairs"
    if not tasks:
        raise ComparisonError(f"{params.profile}: nothing to compare, because {missing}.")
    return tasks


def _writers(params: Params) -> Dialect:
    """Return the dialect that tells a writer what is wanted."""
    if params.models is not None:
        return load_dialect(params.models.dialect)
    return load_dialect("question-zh" if params.language == "zh" else "question")


def _licence(params: Params, material: Corpus) -> str | None:
    """Return the licence of pairs that state none: that of the set, or of all its passages."""
    if params.corpus.folder is None:
        stated = {p.licence for p in material.passages}
        return stated.pop() if len(stated) == 1 else None
    listed = paths.at(params.corpus.folder) / "people.yaml"
    if not listed.is_file():
        return None
    return yamlfile.read(listed, consent.People, ComparisonError).licence


def _judged(run_dir: Path, judge_id: str) -> list[Verdict]:
    file = Path(run_dir) / "verdicts.parquet"
    if not file.is_file():
        raise ComparisonError(f"{file}: missing. Run notebook 04-judge first.")
    table = pd.read_parquet(file)
    mine = table[table["judge_id"] == judge_id]
    if mine.empty:
        known = ", ".join(sorted(set(table["judge_id"])))
        raise ComparisonError(f"{file} has no verdicts of {judge_id!r}; it has those of {known}.")
    return from_table(mine)


def _asked(
    params: Params,
    run_dir: Path,
    judge_id: str,
    tasks: Sequence[Task],
    source: Source,
    dialect: str | None,
) -> tuple[list[Verdict], str]:
    pairwise = source == "pairwise"
    live = {judge.judge_id: judge for judge in params.judging.live}
    planned = [m for m in cohort.planned(params) if m.plain and cohort.at_full_size(m, params)]
    local = {cohort.judge_id(member): member for member in planned}
    if judge_id in live:
        own = cohort.live_panel(live[judge_id], params)
    elif judge_id in local or (judge_id == "base" and params.models):
        own = cohort.panel(params, local[judge_id].arm if judge_id in local else "cot")
    else:
        known = [*live, *local, *(["base"] if params.models else [])]
        raise ComparisonError(
            f"{params.profile} can ask no judge {judge_id!r} about these texts; it can ask "
            f"{', '.join(known) or 'nobody'}."
        )
    words = load_dialect(dialect) if dialect else own.dialect
    panel = Panel(own.taxonomy, words, "pairwise" if pairwise else own.form)
    passages = (preferences.side_by_side if pairwise else preferences.alone)(tasks)
    questions = panel.questions(passages)
    said: list[list[Verdict]] = []
    with calls.opened(run_dir, "preferences", ASKED_BEFORE) as record:
        if one := live.get(judge_id):
            assert params.judging.prices is not None
            endpoint = Endpoint(one, record, params.judging.prices, seed=params.seed)
            said = [endpoint.ask(questions, panel, repeat=r) for r in range(one.repeats)]
        elif params.models is not None and judge_id in local:
            base = cohort.Base(params.models, local[judge_id].lineage)
            for member in (m for m in planned if cohort.judge_id(m) == judge_id):
                said.append(cohort.ask(member, base, params, passages, run_dir, record, put=panel))
        elif params.models is not None:
            base = cohort.Base(params.models)
            said = [cohort.ask_base(base, params, passages, record, put=panel)]
    return [verdict for verdicts in said for verdict in verdicts], words.id
