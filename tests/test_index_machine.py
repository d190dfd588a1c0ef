"""Limits are the cgroup's, not the host's: read from trees as containers and hosts have them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from embed.vectors.provenance import peak_rss_bytes, reset_peak_rss
from index import machine

MIB = 2**20
HOST = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "CGROUP_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
    (tmp_path / "proc" / "self").mkdir(parents=True)
    return tmp_path


def groups(tree: Path, own: str, limits: dict[str, str]) -> None:
    (tree / "proc" / "self" / "cgroup").write_text(own)
    for place, content in limits.items():
        file = tree / "cgroup" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{64 * MIB}\n"}, 64 * MIB),
        ("0::/a/b\n", {"a/b/memory.max": f"{8 * MIB}\n", "a/memory.max": f"{64 * MIB}\n"}, 8 * MIB),
        ("0::/\n", {"memory.max": f"{512 * MIB}\n"}, 512 * MIB),  # inside a container with its own namespace
        ("0::/docker/abc\n", {"memory.max": f"{512 * MIB}\n"}, 512 * MIB),  # … and without
        ("4:memory:/x\n0::/\n", {"memory/x/memory.limit_in_bytes": f"{32 * MIB}\n"}, 32 * MIB),
        ("4:cpu,memory:/x\n", {"memory/memory.limit_in_bytes": f"{32 * MIB}\n"}, 32 * MIB),
        ("4:memory:/x\n", {"memory/x/memory.limit_in_bytes": "9223372036854771712\n"}, HOST),
        ("0::/a\n", {"a/memory.max": "max\n"}, HOST),
        ("", {}, HOST),
    ],
)
def test_the_least_limit_above_the_process_holds(tree: Path, own: str, limits: dict[str, str], expected: int) -> None:
    groups(tree, own, limits)
    assert machine.memory_limit_bytes() == expected


def test_what_is_available_is_the_rest_of_the_cgroup_or_of_the_host(tree: Path) -> None:
    groups(tree, "0::/a\n", {"a/memory.max": f"{100 * MIB}\n", "a/memory.current": f"{30 * MIB}\n"})
    (tree / "cgroup" / "a" / "memory.stat").write_text(f"anon 1\ninactive_file {10 * MIB}\n")
    (tree / "proc" / "meminfo").write_text("MemTotal: 1 kB\nMemAvailable:  9999999 kB\n")
    assert machine.memory_available_bytes() == 80 * MIB
    (tree / "proc" / "meminfo").write_text("MemAvailable:  2048 kB\n")
    assert machine.memory_available_bytes() == 2 * MIB


def test_the_peak_is_of_this_step_and_not_of_the_process() -> None:
    reset_peak_rss()  # of the tests before this one
    block = np.ones(64 * MIB, np.uint8)
    high = peak_rss_bytes()
    assert high > block.nbytes
    del block
    reset_peak_rss()
    assert peak_rss_bytes() < high - 32 * MIB
    block = np.ones(128 * MIB, np.uint8)
    assert peak_rss_bytes() > high - 32 * MIB
    del block


def test_cores_are_those_of_the_affinity() -> None:
    assert 1 <= machine.cores() <= len(os.sched_getaffinity(0))
    assert machine.processor_name()
