"""How many processes the suite is shared out over: by the cores that it may use and the memory that is left to it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GIGABYTE = 2**30
# Spark's JVM takes 2.7 GB, Python beside it 1.3; encoders and training processes are processes of their own.
A_PROCESS = 5 * GIGABYTE


def processes_for(cores: int, memory: int) -> int:
    """A driver of Spark plans on one thread and waits for its tasks: three of them keep two cores busy.

    Args:
        cores: that may be used.
        memory: in bytes, that nobody uses yet.
    """
    return max(1, min(cores * 3 // 2, memory // A_PROCESS))


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may run on, or fewer where its control group is given less of their time."""
    cores = len(os.sched_getaffinity(0))
    for folder in _control_groups(root, "cpu"):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if not quota:  # the first version of control groups has a file for either
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal():
            cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(1, cores)


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that can be had without swapping: of the machine, or fewer where a control group has a limit."""
    (line,) = [line for line in _text(root / "proc/meminfo").splitlines() if line.startswith("MemAvailable:")]
    left = int(line.split()[1]) * 1024
    for folder in _control_groups(root, "memory"):
        for limit, held in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            if _text(folder / limit).isdecimal():  # "max" where there is none
                left = min(left, int(_text(folder / limit)) - int(_text(folder / held)) + _file_cache(folder))
    return max(0, left)


def _control_groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's control groups that limit ``controller``, from its own up to the outermost.

    In a container the path of the group is often that of the machine outside: then its root is there and it is not.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / controllers
        group = top / path.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top) and folder.is_dir())


def _file_cache(folder: Path) -> int:
    """Bytes of files that a control group holds and gives back when they are needed."""
    known = dict(line.split() for line in _text(folder / "memory.stat").splitlines())
    return sum(int(known.get(name, 0)) for name in ("active_file", "inactive_file"))


def _text(file: Path) -> str:
    """What a file says, nothing where there is none."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
