"""``cqa calls``: a run's calls written out, taken in and counted."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cqa_helpers import calls, ledger, params, paths
from cqa_helpers.ledger import Account

# So many models of one judge are named in a line.
SHOWN = 3


def add(commands: Any) -> None:
    """Add the group to the commands of a parser."""
    group = commands.add_parser("calls", help="the record of calls: publish, replay, count")
    kinds = group.add_subparsers(required=True, metavar="kind")
    out = kinds.add_parser("export", help="write a run's calls as JSON Lines")
    out.add_argument("profile")
    out.add_argument("out", type=Path)
    out.add_argument("--judge", nargs="+", metavar="ID", help="these judges' calls alone")
    out.set_defaults(run=_export)
    take = kinds.add_parser("import", help="take calls into a run, for 04-judge to replay")
    take.add_argument("file", type=Path)
    take.add_argument("profile")
    take.add_argument("--replace", action="store_true", help="let other responses replace old ones")
    take.set_defaults(run=_import)
    count = kinds.add_parser("count", help="calls, tokens, dates and models by judge")
    count.add_argument("profile")
    count.set_defaults(run=_count)


def _export(given: argparse.Namespace) -> int:
    made = ledger.export(_files(given.profile), given.out, given.judge)
    print(f"{given.out}: {made.calls:,} call(s), one a line.")
    if made.differing:
        print(
            f"{made.differing:,} of them stand in several files of the run with different "
            "responses; a later notebook's is the one that was written."
        )
    return 0


def _import(given: argparse.Namespace) -> int:
    from cqa_helpers import cohort

    run = params.load(params.file_of(given.profile))
    with cohort.record(run, paths.run_dir(given.profile), "04-judge") as record:
        taken = ledger.import_calls(given.file, record, replace=given.replace)
    print(
        f"{given.profile}: {taken.new:,} call(s) taken in, {taken.replaced:,} replaced, "
        f"{taken.known:,} there already."
    )
    return 0


def _count(given: argparse.Namespace) -> int:
    found = ledger.accounts(_files(given.profile))
    print("\n".join(map(_line, found)) or f"{given.profile}: no calls are on record.")
    return 0


def _line(account: Account) -> str:
    parts = [f"{account.calls:,} call(s)"]
    if account.input_tokens is not None or account.output_tokens is not None:
        told = [account.input_tokens, account.output_tokens]
        asked, written = ("?" if n is None else f"{n:,}" for n in told)
        parts.append(f"{asked} tokens in, {written} out")
    if account.untold:
        parts.append(f"{account.untold:,} without a count of tokens")
    if account.first is not None:
        parts.append(f"{account.first} to {account.last}")
    named, more = account.snapshots[:SHOWN], len(account.snapshots) - SHOWN
    parts.append(", ".join(named) + (f" and {more} more" if more > 0 else ""))
    return f"{account.judge_id}: {'; '.join(part for part in parts if part)}"


def _files(profile: str) -> list[Path]:
    params.file_of(profile)
    return calls.files_of(paths.run_dir(profile))
