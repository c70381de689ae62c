"""``cqa form rate`` and ``cqa import-ratings``: a blind rater's form out, and what comes back."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cqa_helpers import params, paths

if TYPE_CHECKING:
    from cqa_helpers.params import Params
    from cqa_helpers.rounds import Arrival, Round

RATINGS = "data/ratings"


def add(commands: Any, forms: Any) -> None:
    """Add the commands to a parser; ``forms`` are the kinds of ``cqa form``."""
    out = forms.add_parser(
        "rate",
        help="rate unsigned diagnoses, one file a rater",
        description="Writes one self-contained HTML file for each rater from the sealed packets; "
        "the key is not read.",
    )
    out.add_argument("profile")
    out.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    out.add_argument("--language", choices=("en", "zh"), help="default: the profile's")
    out.add_argument("--rater", nargs="+", default=[], metavar="ID", help="these raters alone")
    out.add_argument("--contact", default="", help="name or address to send the file back to")
    out.set_defaults(run=_rate)
    take = commands.add_parser(
        "import-ratings",
        help="take returned blind ratings",
        description="Keeps returned files (the form's JSON, CSV, XLSX) as they came and makes the "
        "rows of all that were ever kept. Faults are told all at once; good rows are written all "
        "the same, and the exit status is then 1.",
    )
    take.add_argument("profile")
    take.add_argument(
        "files", type=Path, nargs="+", help="a file that is kept already stands for reading again"
    )
    take.add_argument("--check", action="store_true", help="list every fault, write nothing")
    take.add_argument("--accept-edited", action="store_true", help="whatever the checksum says")
    take.add_argument(
        "--later-wins", action="store_true", help="of a rater's differing exports take the last"
    )
    take.add_argument(
        "--folder", type=Path,
        help=f"default: {RATINGS}, or the run's own folder where everything is simulated",
    )  # fmt: skip
    take.set_defaults(run=_import)


def _rate(given: argparse.Namespace) -> int:
    from cqa_helpers import rounds

    _, run, place = _round(given.profile)
    files = rounds.send(run, given.out, given.language, given.rater, given.contact)
    for file in files:
        count = len(run.sheets[file.stem])
        print(f"{file}: {count} sheet(s). Send it to {file.stem} and nobody else.")
    print(
        f"Each of the {len(files)} file(s) was read again: no judge's name, no seed, and the order "
        "of the packets."
    )
    if plain := [judge for judge in run.judges if judge not in run.names]:
        print(f"Not looked for, being ordinary words: {', '.join(sorted(plain))}.")
    print(
        f"Send nothing else. The key ({place / 'blind' / 'sealed.key.json'}) stays here, and so do "
        "the packets.\n"
        "Each rater sends back one file, cqa-blind_…_<rater>_<date>.json. Take it in with: cqa "
        f"import-ratings {given.profile} FILE …"
    )
    return 0


def _import(given: argparse.Namespace) -> int:
    from cqa_helpers import rounds

    settings, run, place = _round(given.profile)
    folder = given.folder or (
        place / "ratings" if settings.status == "simulated" else paths.at(RATINGS)
    )
    arrival = rounds.take(
        run, given.files, folder, accept_edited=given.accept_edited, later_wins=given.later_wins
    )
    findings = arrival.found.findings
    severe = sum(f.severe for f in findings)
    for finding in findings:
        print(finding, file=sys.stderr if finding.severe else sys.stdout)
    print("\n".join(_counts(run, arrival)))
    for file in arrival.aside:
        print(f"{file}: set aside, not read.")
    if not given.check:
        for copy in rounds.keep(arrival, folder, place):
            print(f"{copy}: kept as it came.")
    written = "would hold" if given.check else "holds"
    print(
        f"{folder / rounds.ROWS} {written} {len(arrival.found.rows)} rating(s): "
        f"{len(arrival.came)} new or changed, {len(arrival.gone)} gone or replaced. Beside it "
        f"{rounds.PRACTICE} ({len(arrival.found.practice)} answers to worked examples) and "
        f"{rounds.MISSING} ({len(arrival.found.missing)} answers)."
    )
    if severe:
        kept = "would be kept" if given.check else "are kept"
        print(
            f"{severe} error(s), see above; what they name does not count. The good rows {kept}. "
            f"A file that should not count goes into {folder / rounds.RETURNED / rounds.ASIDE}; "
            "then import again.",
            file=sys.stderr,
        )
    return int(severe > 0)


def _counts(run: Round, arrival: Arrival) -> list[str]:
    """Return a line for each rater: answers given, missing, and to worked examples."""
    answered = Counter(v.judge_id for v in arrival.found.rows)
    open_ = Counter(m.rater for m in arrival.found.missing)
    practised = Counter(v.judge_id for v in arrival.found.practice)
    return [
        f"{rater}: {answered[rater]} of {answered[rater] + open_[rater]} answers on "
        f"{len(run.sheets[rater])} sheet(s), {practised[rater]} to worked examples"
        for rater in run.sheets
    ]


def _round(profile: str) -> tuple[Params, Round, Path]:
    from cqa_helpers import rounds

    settings = params.load(params.file_of(profile))
    place = paths.run_dir(profile)
    return settings, rounds.load(settings, place), place
