"""What this process may use of the machine: the limits of its control groups, version 2 and version 1.

A limit binds everything below it, so the tightest of all groups from the process's own to the root is the one that
counts. In a container the own group is often seen as the root ("/"); where the path that `/proc/self/cgroup` names is
not mounted, as in containers of version 1, the mount's top is the container's group. Documented in the kernel's
`admin-guide/cgroup-v2.rst` and `cgroup-v1/memory.rst`, `scheduler/sched-bwc.rst`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

UNLIMITED_BYTES = 1 << 60  # version 1 says "no limit" with a number near 2^63


def cpu_limit(root: Path) -> float | None:
    """CPUs' worth of time a period, None without a quota."""
    found = []
    for group in _groups(root, "cpu"):
        quota, _, period = _read(group / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            found.append(int(quota) / int(period))
        quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):  # −1 is none
            found.append(int(quota) / int(period))
    return min(found, default=None)


def memory_limit_bytes(root: Path) -> int | None:
    """Bytes, None without a limit."""
    found = []
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            value = _read(group / name)
            if value.isdigit() and int(value) < UNLIMITED_BYTES:
                found.append(int(value))
    return min(found, default=None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the process's groups that could limit `controller`, of either version, up to the top of the mount."""
    top = root / "sys/fs/cgroup"
    seen: set[Path] = set()
    for line in (_read(root / "proc/self/cgroup") or "0::/").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        mount = top if not controllers else next((p for p in (top / controllers, top / controller) if p.is_dir()), None)
        if mount is None:
            continue
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder not in seen and folder.is_relative_to(mount):
                seen.add(folder)
                yield folder


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", errors="replace").strip()
    except OSError:
        return ""
