"""Checks and how they are shown; those of the environment, which hold for any profile."""

from __future__ import annotations

import platform
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from importlib import metadata, util
from typing import NamedTuple

from cqa_helpers import paths
from cqa_helpers.hardware import Machine


class Check(NamedTuple):
    """One thing looked at: fine, not, or not known; what was found, and what to do."""

    name: str
    ok: bool | None
    said: str
    todo: str = ""


def environment(machine: Machine) -> list[Check]:
    """Return the checks that hold for any profile."""
    return [*_versions(), _machine(machine), *_programs()]


def failed(checks: Sequence[Check]) -> bool:
    """Return whether anything would stop the run."""
    return any(check.ok is False for check in checks)


def lines(checks: Sequence[Check]) -> Iterator[str]:
    """Yield the checks as a table, what to do below each that is not ok."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark = {True: "ok  ", False: "FAIL", None: "note"}[check.ok]
        yield f"{mark}  {check.name:<{width}}  {check.said}"
        if check.todo and check.ok is not True:
            yield f"{'':<{width + 8}}→ {check.todo}"


def _versions() -> Iterator[Check]:
    from packaging.requirements import Requirement

    project = tomllib.loads((paths.root() / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    floor = project["requires-python"]
    version = platform.python_version()
    good = Requirement(f"python{floor}").specifier.contains(version, prereleases=True)
    yield Check("Python", good, f"{version} (asked for: {floor})",
                "make the environment with one: make setup PYTHON=python3.11")  # fmt: skip
    behind = []
    for wanted in map(Requirement, project["dependencies"]):
        try:
            found = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            behind.append(f"{wanted.name} is missing (asked for: {wanted.specifier})")
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            behind.append(f"{wanted.name} is {found} (asked for: {wanted.specifier})")
    said = "; ".join(behind) or f"{len(project['dependencies'])} libraries, all as new as needed"
    yield Check("libraries", not behind, said, "run `make setup`, or update them in your own way")


def _machine(machine: Machine) -> Check:
    parts = [f"{machine.cpus} CPU(s)"]
    if machine.ram_gib is not None:
        free = machine.ram_free_gib
        parts.append(f"{machine.ram_gib:.0f} GiB RAM" + (f", {free:.0f} free" if free else ""))
    parts.append(f"{machine.disk_free_gib:.0f} GiB disk free")
    if machine.gpu and machine.gpu_total_gib is not None and machine.gpu_free_gib is not None:
        parts.append(
            f"{machine.gpu}: {machine.gpu_total_gib:.0f} GiB, {machine.gpu_free_gib:.0f} free, "
            f"driver {machine.driver or 'unknown'}, CUDA {machine.cuda or 'unknown'}"
        )
    else:
        parts.append("no CUDA device")
    return Check("machine", True, "; ".join(parts))


def _programs() -> Iterator[Check]:
    if program := shutil.which("quarto"):
        yield Check("report", True, f"quarto at {program}")
    else:
        lacking = [m for m in ("typst", "pypandoc") if util.find_spec(m) is None]
        said = "no quarto; the preview (typst and pandoc wheels) makes HTML and PDF"
        if lacking:
            said = f"no quarto, and the preview lacks {', '.join(lacking)}"
        yield Check("report", not lacking, said, "run `make setup`, or install Quarto")
    slurm = shutil.which("sinfo")
    yield Check(
        "Slurm", True, f"at {slurm}" if slurm else "not here, and not needed: it is optional"
    )
