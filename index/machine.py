"""The machine as this process may use it: cores and memory after the cgroup's limits, and the memory that was used.

A container with 2 of 64 cores and 8 GiB of 256 still sees the host's numbers in /proc; building for those gets it
killed. Limits are read from cgroup v2 and v1, along the path from this process's group to the root.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import loky

CGROUP_ROOT, PROC = Path("/sys/fs/cgroup"), Path("/proc")


def cores() -> int:
    """Cores this process may use: the least of its affinity and of every cgroup's quota above it, rounded up."""
    quotas = [int(loky.cpu_count())]
    for group in groups("cpu"):
        quota, _, period = _read(group / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
        if quota.strip().isdigit() and period.strip().isdigit() and int(period):
            quotas.append(math.ceil(int(quota) / int(period)))
    return max(min(quotas), 1)


def memory_limit_bytes() -> int:
    """The least of the machine's memory and every cgroup limit above this process."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([total, *(limit for limit, _ in _cgroup_limits())])


def memory_available_bytes() -> int:
    """What could be allocated now without swapping or being killed: the least of the host's and the cgroups' rest.

    A cgroup counts the page cache as used; the part that was not read lately can be given back and counts as free.
    """
    available = [memory_limit_bytes()]
    for line in _read(PROC / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            available.append(int(line.split()[1]) * 1024)
    for limit, group in _cgroup_limits():
        used = _read(group / "memory.current") or _read(group / "memory.usage_in_bytes") or "0"
        cache = [int(line.split()[1]) for line in _read(group / "memory.stat").splitlines() if "inactive_file" in line]
        available.append(limit - int(used) + max(cache, default=0))
    return max(0, min(available))


def processor_name() -> str:
    """The model name of the first core, or the architecture's name where /proc/cpuinfo has none (most Arm)."""
    for line in _read(PROC / "cpuinfo").splitlines():
        if line.lower().startswith("model name"):
            return line.split(":", 1)[1].strip()
    return os.uname().machine


def _cgroup_limits() -> list[tuple[int, Path]]:
    """Every memory limit above this process, in bytes, with the folder of its cgroup."""
    limits = []
    for group in groups("memory"):
        value = (_read(group / "memory.max") or _read(group / "memory.limit_in_bytes")).strip()
        if value.isdigit():
            limits.append((int(value), group))
    return limits


def groups(controller: str) -> Iterator[Path]:
    """Folders of the cgroups of this process that could limit `controller`, of either version, the innermost first."""
    for line in (_read(PROC / "self" / "cgroup") or "0::/").splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mounts = (CGROUP_ROOT / controllers, CGROUP_ROOT / controller) if controllers else (CGROUP_ROOT,)
        base = next((mount for mount in mounts if mount.is_dir()), None)
        if base is None:
            continue
        # Inside a container the path may be the host's; the group itself is then mounted as the root.
        parts = Path(place.lstrip("/")).parts
        for depth in range(len(parts), -1, -1):
            yield base.joinpath(*parts[:depth])


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def busy_s() -> float:
    """Of all processors, since the machine started: what was neither idle nor waiting for a disk."""
    user, nice, system, _idle, _waiting, *more = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    busy = [int(each) for each in (user, nice, system, *more[:3])]  # more: interrupts, and what another guest took
    return sum(busy) / os.sysconf("SC_CLK_TCK")
