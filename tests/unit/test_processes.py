"""How many processes the suite takes, on machines and in control groups that are written down here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.processes import GIGABYTE, available_memory, processes_for, usable_cores


@pytest.mark.parametrize(
    ("cores", "gigabytes", "processes"),
    [(2, 22, 3), (2, 14.9, 2), (2, 3, 1), (1, 64, 1), (4, 64, 6), (16, 24, 4), (16, 0, 1)],
)
def test_processes_follow_cores_and_memory(cores: int, gigabytes: float, processes: int) -> None:
    assert processes_for(cores, int(gigabytes * GIGABYTE)) == processes


def machine(root: Path, groups: str, files: dict[str, str], available: int = 20 * GIGABYTE) -> Path:
    """The files of a machine: its free memory, the control groups of this process, and what those say."""
    told = {
        "proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {available // 1024} kB",
        "proc/self/cgroup": groups,
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }
    for name, text in told.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n", encoding="utf-8")
    return root


def test_a_machine_without_control_groups_gives_all_that_it_has(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/", {})
    assert usable_cores(root) == len(os.sched_getaffinity(0))
    assert available_memory(root) == 20 * GIGABYTE


def test_a_container_gives_what_its_group_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota of two and a half cores is three of them; pages of files are given back when they are needed."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    files = {
        "cpu.max": "250000 100000",
        "memory.max": str(8 * GIGABYTE),
        "memory.current": str(5 * GIGABYTE),
        "memory.stat": f"anon {3 * GIGABYTE}\nactive_file {GIGABYTE}\ninactive_file {GIGABYTE // 2}",
    }
    root = machine(tmp_path, "0::/machine/of/another/name", files)
    assert usable_cores(root) == 3
    assert available_memory(root) == 4.5 * GIGABYTE


def test_the_tightest_of_nested_groups_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    files = {
        "outer/cpu.max": "400000 100000",
        "outer/inner/cpu.max": "max 100000",
        "outer/memory.max": "max",
        "outer/inner/memory.max": str(6 * GIGABYTE),
        "outer/inner/memory.current": str(GIGABYTE),
        "beside/cpu.max": "100000 100000",
    }
    root = machine(tmp_path, "0::/outer/inner", files)
    assert (usable_cores(root), available_memory(root)) == (4, 5 * GIGABYTE)


def test_groups_of_the_first_version_limit_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    files = {
        "cpu,cpuacct/one/cpu.cfs_quota_us": "50000",
        "cpu,cpuacct/one/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "memory/memory.limit_in_bytes": str(2**63 - 4096),
        "memory/memory.usage_in_bytes": str(30 * GIGABYTE),
        "memory/one/memory.limit_in_bytes": str(2 * GIGABYTE),
        "memory/one/memory.usage_in_bytes": str(3 * GIGABYTE),
    }
    root = machine(tmp_path, "4:memory:/one\n2:cpu,cpuacct:/one\n0::/", files)
    assert usable_cores(root) == 1
    assert available_memory(root) == 0
