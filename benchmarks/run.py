"""Time what a newcomer waits for, on a fresh clone: install, reports, tests. Run by hand.

    python3 benchmarks/run.py                      # everything: half an hour on two cores
    python3 benchmarks/run.py --profiles smoke --no-test

Needs python3, make and git; prints a Markdown table. The clone is of the last commit.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
# What would make the clone use this checkout's files or another environment's packages.
OURS = ("CQA_ROOT", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "MAKEFLAGS", "MAKELEVEL")


class Step(NamedTuple):
    """One measured command: wall seconds, and the memory of its largest process in MiB."""

    what: str
    seconds: float
    peak_mib: float


def measure(what: str, command: list[str], folder: Path, log: Path) -> Step:
    """Run a command in a folder and measure it.

    Raises
    ------
    SystemExit
        It failed: the end of its output.
    """
    env = {k: v for k, v in os.environ.items() if k not in OURS}
    print(f"{what} …", file=sys.stderr, flush=True)
    start = time.monotonic()
    with log.open("w", encoding="utf-8") as sink:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=sink, stderr=subprocess.STDOUT
        )
        # In place of process.wait(): this also says what the process tree used.
        _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-25:])
        failed = f"{' '.join(command)} failed ({process.returncode}) after {seconds:.0f} s"
        sys.exit(f"{failed}:\n{tail}")
    return Step(what, seconds, used.ru_maxrss / 1024)


def git(*arguments: str, folder: Path = ROOT) -> str:
    """Return what git says."""
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def sizes(clone: Path) -> tuple[float, float]:
    """Return MiB of the tracked files, and of git's packed history."""
    tracked = sum((clone / f).stat().st_size for f in git("ls-files", folder=clone).splitlines())
    pairs = (line.split(": ") for line in git("count-objects", "-v", folder=clone).splitlines())
    counts = {key: int(value) for key, value in pairs}
    return tracked / 2**20, (counts["size"] + counts["size-pack"]) / 1024


def machine() -> str:
    """Return processor, usable cores, memory and systems as one line."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"{memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"
    )


def main() -> None:
    """Clone, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--profiles", nargs="*", default=["smoke", "ttcw", "rehearsal"])
    parser.add_argument("--no-test", action="store_true", help="leave out make test")
    parser.add_argument("--cold", action="store_true", help="install without pip's cache")
    parser.add_argument("--repository", type=Path, default=ROOT, help="what to clone")
    args = parser.parse_args()
    if args.cold:
        os.environ["PIP_NO_CACHE_DIR"] = "1"
    cache = "without pip's cache" if args.cold else "with pip's cache as it was"
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="cqa-benchmark-") as name:
        clone, log = Path(name) / "clone", Path(name) / "log.txt"
        # Packed anew and not hard-linked: the size is that of a clone over the network.
        git("clone", "--quiet", "--no-local", str(args.repository), str(clone))
        tracked, history = sizes(clone)
        steps = [measure(f"`make setup`, {cache}", ["make", "setup"], clone, log)]
        for profile in args.profiles:
            report = ["make", "report", f"PROFILE={profile}"]
            steps.append(measure(f"`make report PROFILE={profile}`, first", report, clone, log))
            steps.append(measure(f"`make report PROFILE={profile}`, unchanged", report, clone, log))
        if not args.no_test:
            steps.append(measure("`make test`", ["make", "test"], clone, log))
        commit = git("rev-parse", "--short", "HEAD", folder=clone)
    print(f"{datetime.date.today()}, commit {commit}, load {load:.1f} at the start  ")
    print(f"{machine()}  ")
    print(f"Tracked files {tracked:.1f} MiB, history {history:.1f} MiB\n")
    print("| step | seconds | largest process, MiB |\n|---|---:|---:|")
    for step in steps:
        print(f"| {step.what} | {step.seconds:.1f} | {step.peak_mib:.0f} |")


if __name__ == "__main__":
    main()
