"""``cqa plan`` and ``cqa unblind``: the plan under lock, ratings frozen, one opening."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cqa_helpers import params, paths


def add(commands: Any) -> None:
    """Add the commands to a parser."""
    plan = commands.add_parser("plan", help="lock the plan of a blind study, and check it")
    kinds = plan.add_subparsers(required=True, metavar="kind")
    lock = kinds.add_parser("lock", help="hash params, analysis code, data and the sealed key")
    lock.add_argument("--replace", action="store_true", help="let a changed plan replace a locked")
    lock.set_defaults(run=_guarded(_lock))
    check = kinds.add_parser("check", help="name everything that changed since the lock")
    check.set_defaults(run=_guarded(_check))
    freeze = kinds.add_parser("freeze", help="hash the returned ratings, each of them")
    freeze.add_argument("--ratings", type=Path, help="default: the profile's returned ratings")
    freeze.set_defaults(run=_guarded(_freeze))
    unblind = commands.add_parser(
        "unblind",
        help="open the sealed key, once",
        description="Checks that nothing changed since the plan was locked and the ratings were "
        "frozen, and writes a record that is final. A second time is refused.",
    )
    unblind.set_defaults(run=_guarded(_unblind))
    for command in (lock, check, freeze, unblind):
        command.add_argument("profile")


def _guarded(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Return a command that says a broken blind on standard error and ends with status 1."""

    def run(given: argparse.Namespace) -> int:
        from cqa_helpers.blinding import BlindError

        try:
            return command(given)
        except BlindError as fault:
            print(fault, file=sys.stderr)
            return 1

    return run


def _lock(given: argparse.Namespace) -> int:
    from cqa_helpers import planlock

    run = params.load(params.file_of(given.profile))
    file = planlock.lock(run, paths.run_dir(given.profile), replace=given.replace)
    held = json.loads(file.read_text(encoding="utf-8"))
    print(f"{file}: plan {held['digest']}")
    print(
        f"{len(held['code'])} source files, {len(held['data'])} data files, key commitment "
        f"{held['sealed']['key']}. Commit this file: its date is the plan's."
    )
    return 0


def _check(given: argparse.Namespace) -> int:
    from cqa_helpers import planlock

    changes = planlock.verify(paths.run_dir(given.profile))
    print("\n".join(map(str, changes)) or f"{given.profile}: as it was locked.")
    return int(bool(changes))


def _freeze(given: argparse.Namespace) -> int:
    from cqa_helpers import corpus, planlock

    place = paths.run_dir(given.profile)
    file = given.ratings
    if file is None:
        file = corpus.ratings(params.load(params.file_of(given.profile)), place)
    if file is None:
        print(f"{given.profile}: no ratings have been returned.", file=sys.stderr)
        return 1
    frozen = json.loads(planlock.freeze(place, file).read_text(encoding="utf-8"))
    print(f"{frozen['file']}: {frozen['n_ratings']} rating(s) frozen, sha256 {frozen['sha256']}")
    return 0


def _unblind(given: argparse.Namespace) -> int:
    from cqa_helpers import planlock

    file = planlock.unblind(paths.run_dir(given.profile))
    print(f"{file}: unblinded. Run 05-blind-analysis again for the true labels.")
    return 0
