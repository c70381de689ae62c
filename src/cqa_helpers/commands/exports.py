"""``cqa export``: what leaves a run for other tools: a spreadsheet, a model, preferences."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from cqa_helpers import params, paths, spreadsheets
from cqa_helpers.records import Verdict, read_jsonl


def add(commands: Any) -> None:
    """Add the group to the commands of a parser; its first two go by an older name too."""
    group = commands.add_parser("export", help="verdicts, a model or preferences for other tools")
    kinds = group.add_subparsers(required=True, metavar="kind")
    _table_arguments(kinds.add_parser("table", help="write verdicts as a spreadsheet (XLSX)"))
    _table_arguments(commands.add_parser("export-table"))
    _model_arguments(
        kinds.add_parser("model", help="write a finished adapter as a folder to share")
    )
    _model_arguments(commands.add_parser("export-model"))
    _preferences_arguments(
        kinds.add_parser(
            "preferences",
            help="write a judge's verdicts as preference pairs that TRL reads",
            description="Asks a judge about texts that answer one task, and writes which of two "
            "it prefers. What a live judge is asked is paid for, within its budget, and recorded.",
        )
    )


def _table_arguments(table: argparse.ArgumentParser) -> None:
    table.add_argument("verdicts", type=Path, help="a JSON Lines file of verdicts")
    table.add_argument("out", type=Path)
    table.set_defaults(run=_table)


def _model_arguments(model: argparse.ArgumentParser) -> None:
    model.add_argument("profile")
    model.add_argument("member", help="a folder of runs/PROFILE/adapters, such as first-cot-100-1")
    model.add_argument("out", type=Path, help="a folder that is not there yet")
    model.add_argument("--merge", action="store_true", help="also the whole model, parity measured")
    model.set_defaults(run=_model)


def _preferences_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("profile")
    command.add_argument("out", type=Path, help="JSON Lines, or Parquet if it ends in .parquet")
    command.add_argument("--judge", required=True, metavar="ID")
    command.add_argument(
        "--of",
        choices=("pairs", "works"),
        default="pairs",
        help="good and degraded texts, or the held-out passages of each work",
    )
    command.add_argument(
        "--source",
        choices=("pointwise", "pairwise"),
        default="pointwise",
        help="each text judged alone, or both side by side in both orders",
    )
    command.add_argument(
        "--each-dimension",
        action="store_true",
        help="a preference on each dimension, not one on all",
    )
    command.add_argument("--tie", type=float, help="a margin below it is a tie (default: 0.05)")
    command.add_argument("--dialect", help="ask in the words of data/prompts/DIALECT.yaml")
    command.set_defaults(run=_preferences)


def _table(given: argparse.Namespace) -> int:
    rows = [v.model_dump(exclude={"meta"}) for v in read_jsonl(given.verdicts, Verdict)]
    spreadsheets.write(given.out, rows, "verdicts")
    print(f"{given.out}: {len(rows)} verdict(s); text cells are text, never formulas.")
    return 0


def _model(given: argparse.Namespace) -> int:
    from cqa_helpers import exports, merging, models, portability

    models.quiet()
    run = params.load(params.file_of(given.profile))
    try:
        made = exports.export(
            run, paths.run_dir(given.profile), given.member, given.out, merge=given.merge
        )
    except (portability.ExportError, merging.MergeError, models.ModelError) as fault:
        print(fault, file=sys.stderr)
        return 1
    print(f"{made.folder}: {', '.join(sorted(made.files))}")
    if made.parity is not None:
        print(made.parity.said())
    return 0


def _preferences(given: argparse.Namespace) -> int:
    from cqa_helpers import comparisons, judges, models, preferences, prompts
    from cqa_helpers.finetuning import TuningError

    models.quiet()
    run = params.load(params.file_of(given.profile))
    try:
        found = comparisons.gather(
            run,
            paths.run_dir(given.profile),
            given.judge,
            of=given.of,
            source=given.source,
            dialect=given.dialect,
        )
    except (
        comparisons.ComparisonError,
        prompts.DialectError,
        judges.JudgeError,
        TuningError,
        models.ModelError,
    ) as fault:
        print(fault, file=sys.stderr)
        return 1
    compare = preferences.pairwise if given.source == "pairwise" else preferences.pointwise
    made = compare(
        found.tasks,
        found.verdicts,
        tie=preferences.TIE if given.tie is None else given.tie,
        each_dimension=given.each_dimension,
        dialect=found.dialect,
    )
    preferences.write(given.out, made)
    print("\n".join([f"{given.out}, by {given.judge}.", *preferences.said(made, given.source)]))
    print("The study measures with these texts: what is trained on them cannot be tested on them.")
    return 0
