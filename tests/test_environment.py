"""pyproject.toml, environment.yml and requirements.lock say the same."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cqa_helpers import paths

ROOT = paths.root()
# What conda-forge calls otherwise.
CONDA = {"torch": "pytorch", "snakemake": "snakemake-minimal", "matplotlib": "matplotlib-base"}
FIXED = {
    "jupyterlab", "papermill", "jupytext", "transformers", "peft", "bitsandbytes", "pytorch",
    "datasets", "openai", "seaborn", "statsmodels", "quarto",
}  # fmt: skip
# Torch's own build decides on these, and pip freeze never lists its own tools.
NOT_LOCKED = re.compile(r"nvidia-|cuda-|triton$|pip$|setuptools$")


def wanted() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [r for group in project["optional-dependencies"].values() for r in group]
    return [Requirement(r) for r in (*project["dependencies"], *extras)]


def conda() -> dict[str, str]:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    flat = [e for e in entries if isinstance(e, str)]
    flat += [p for e in entries if isinstance(e, dict) for p in e["pip"]]
    split = [re.match(r"([\w.-]+)(.*)", entry) for entry in flat]
    return {canonicalize_name(m[1]): m[2] for m in split if m}


def lock() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pin) == 2 for pin in pins), [p for p in pins if len(p) != 2]
    return {canonicalize_name(name): version for name, version in pins}


@pytest.mark.parametrize("requirement", wanted(), ids=lambda r: r.name)
def test_conda_and_lock_hold_every_dependency(requirement: Requirement) -> None:
    name = canonicalize_name(CONDA.get(requirement.name, requirement.name))
    assert conda().get(name) == str(requirement.specifier), f"environment.yml: {name}"
    pinned = lock().get(canonicalize_name(requirement.name))
    assert pinned is not None, f"requirements.lock lacks {requirement.name}"
    assert requirement.specifier.contains(pinned), f"{requirement.name} is pinned at {pinned}"


def test_the_lock_holds_all_that_its_packages_ask_for() -> None:
    pins = lock()
    todo = [(r.name, frozenset(r.extras)) for r in wanted()]
    seen, missing = set(todo), set()
    while todo:
        name, extras = todo.pop()
        if canonicalize_name(name) not in pins:
            missing.add(name)
            continue
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            asked = (needed.name, frozenset(needed.extras))
            marker = needed.marker
            applies = not marker or any(marker.evaluate({"extra": e}) for e in {"", *extras})
            if applies and asked not in seen and not NOT_LOCKED.match(needed.name):
                seen.add(asked)
                todo.append(asked)
    assert len(seen) > 100  # the walk went into the packages and did not stop at their names
    assert not missing, f"requirements.lock leaves to chance: {', '.join(sorted(missing))}"


def test_what_the_study_fixed_is_in_the_conda_environment() -> None:
    assert set(conda()) >= FIXED


def test_conda_packages_come_from_one_channel() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge"]


def test_the_lock_takes_no_gpu_build_and_no_address() -> None:
    pins = lock()
    assert not [name for name in pins if name.startswith(("nvidia", "cuda", "triton"))]
    assert not [version for version in pins.values() if "+" in version or "/" in version]
