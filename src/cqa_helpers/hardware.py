"""What this machine has: processors, memory, disk, graphics card, within a container's limits."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

GIB = 2**30


class Machine(NamedTuple):
    """What the machine has; memory and disk in GiB, null where it is not known or not there."""

    cpus: int
    ram_gib: float | None
    ram_free_gib: float | None
    disk_free_gib: float
    gpu: str | None
    gpu_total_gib: float | None
    gpu_free_gib: float | None
    driver: str | None
    cuda: str | None


def machine(at: Path | str = ".") -> Machine:
    """Return what this machine has: processors, memory, free disk at a path, graphics card.

    What a container's limits (cgroups) leave counts, not what the host has.
    """
    ram, free = _ram()
    card = _card()
    return Machine(_cpus(), ram, free, shutil.disk_usage(_there(Path(at))).free / GIB, *card)


def _there(path: Path) -> Path:
    """Return the nearest folder at or above a path that exists."""
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return path


def _cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _words(cgroup / "cpu.max")
    if len(quota) == 2 and quota[0] != "max":
        seen = min(seen or 1, max(1, int(quota[0]) // int(quota[1])))
    return seen or 1


def _ram(
    cgroup: Path = Path("/sys/fs/cgroup"), meminfo: Path = Path("/proc/meminfo")
) -> tuple[float | None, float | None]:
    """Return total and available memory in GiB."""
    if not meminfo.is_file():  # not Linux
        pages = os.sysconf("SC_PHYS_PAGES") if "SC_PHYS_PAGES" in os.sysconf_names else None
        return (pages * os.sysconf("SC_PAGE_SIZE") / GIB if pages else None), None
    host = dict(re.findall(r"^(\w+):\s+(\d+) kB", meminfo.read_text(), re.MULTILINE))
    total, free = int(host["MemTotal"]) * 1024, int(host["MemAvailable"]) * 1024
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        most, now = _words(cgroup / limit), _words(cgroup / used)
        if most and most[0].isdigit() and now:
            total = min(total, int(most[0]))
            # The page cache counts as used there, and is given back when it is needed.
            free = min(free, int(most[0]) - int(now[0]) + _cache(cgroup))
    return total / GIB, max(free, 0) / GIB


def _cache(cgroup: Path) -> int:
    for name in ("memory.stat", "memory/memory.stat"):
        words = _words(cgroup / name)
        if "inactive_file" in words:
            return int(words[words.index("inactive_file") + 1])
    return 0


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _card() -> tuple[str | None, float | None, float | None, str | None, str | None]:
    import torch

    if not torch.cuda.is_available():
        return None, None, None, None, None
    free, total = torch.cuda.mem_get_info()
    driver = re.search(r"Module\s+([\d.]+)", " ".join(_words(Path("/proc/driver/nvidia/version"))))
    name = torch.cuda.get_device_name()
    return name, total / GIB, free / GIB, driver[1] if driver else None, torch.version.cuda
