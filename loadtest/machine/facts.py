"""The facts of one machine, as they stand in a run record and at the foot of every report.

All paths hang from `root`, so that a machine we do not have can be laid out in a folder. What cannot be read is None.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import re
from pathlib import Path

import msgspec

from loadtest.machine.cgroup import cpu_limit, memory_limit_bytes
from loadtest.machine.container import container
from loadtest.machine.cpu import cpuinfo, microarchitecture
from loadtest.machine.emulation import signs
from loadtest.machine.imds import instance
from loadtest.machine.libraries import libraries


class Machine(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`cores` are physical, `threads` the CPUs that the scheduler sees; `cpus_allowed` and the cgroup limit them."""

    identity: str  # a hash that tells machines apart without naming them
    architecture: str
    cpu: str
    microarchitecture: str
    threads: int
    cores: int | None
    threads_per_core: int | None
    sockets: int | None
    numa_nodes: int | None
    caches: dict[str, str]
    isa: list[str]
    memory_bytes: int | None
    kernel: str
    operating_system: str
    governor: str | None
    cpus_allowed: int
    cgroup_cpus: float | None
    cgroup_memory_bytes: int | None
    virtualisation: str
    container: str | None
    instance_type: str | None
    region: str | None
    emulated: list[str]
    hidden_isa: list[str] = []  # beginnings of features that are hidden from our programs, and so not in `isa`
    libraries: dict[str, str] = {}  # name → version and build, of the Python environment that was asked

    @property
    def usable_cpus(self) -> int:
        """CPUs that a process may keep busy: by affinity and by the cgroup's quota, of which a part is one too."""
        quota = self.cpus_allowed if self.cgroup_cpus is None else math.ceil(self.cgroup_cpus)
        return max(min(self.cpus_allowed, quota), 1)

    @property
    def usable_memory_bytes(self) -> int | None:
        known = [size for size in (self.memory_bytes, self.cgroup_memory_bytes) if size is not None]
        return min(known, default=None)


# What a kernel could use, in the order of width; the full flags line is long and mostly about other things.
_ISA = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "avx512_vpopcntdq", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve", "sve2", "sme",
)  # fmt: skip


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except OSError:
        return None


def read_machine(root: Path = Path("/"), *, ask_imds: bool = True, machine: str | None = None) -> Machine:
    """Facts of the machine whose file system is at `root`."""
    blocks = cpuinfo(root)
    first = blocks[0] if blocks else {}
    flags = set((first.get("flags") or first.get("Features") or "").split())
    threads = len(blocks) or (os.cpu_count() or 1)
    cores, sockets = _topology(root)
    cloud = instance() if ask_imds else {}
    memory = re.search(r"^MemTotal:\s+(\d+) kB", _read(root / "proc/meminfo") or "", re.M)
    system = re.search(r'^PRETTY_NAME="?([^"\n]*)', _read(root / "etc/os-release") or "", re.M)
    micro = microarchitecture(first)
    # Of this machine's features a test may hide some from all that runs in its environment (native/cpu.hpp).
    hidden = [word for word in os.environ.get("PERWATT_HIDE_ISA", "").split(",") if word and root == Path("/")]
    return Machine(
        identity=_identity(root),
        architecture=machine or platform.machine(),
        cpu=first.get("model name") or _midr_name(first, micro),
        microarchitecture=micro,
        threads=threads,
        cores=cores,
        threads_per_core=round(threads / cores) if cores else None,
        sockets=sockets,
        numa_nodes=len(list((root / "sys/devices/system/node").glob("node[0-9]*"))) or None,
        caches=_caches(root),
        isa=[name for name in _ISA if name in flags and not name.startswith(tuple(hidden))],
        memory_bytes=int(memory[1]) * 1024 if memory else None,
        kernel=_read(root / "proc/sys/kernel/osrelease") or platform.release(),
        operating_system=system[1] if system else platform.system(),
        governor=_read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        cpus_allowed=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else threads,
        cgroup_cpus=cpu_limit(root),
        cgroup_memory_bytes=memory_limit_bytes(root),
        virtualisation=_virtualisation(root, first, cloud.get("instance_type")),
        container=container(root),
        instance_type=cloud.get("instance_type"),
        region=cloud.get("region"),
        emulated=signs(root, machine),
        hidden_isa=hidden,
        libraries=libraries() if root == Path("/") else {},
    )


def _identity(root: Path) -> str:
    """Stable across reboots; the machine id itself does not leave the machine."""
    own = _read(root / "etc/machine-id") or _read(root / "proc/sys/kernel/random/boot_id") or platform.node()
    return hashlib.sha256(f"perwatt:{own}".encode()).hexdigest()[:16]


def _topology(root: Path) -> tuple[int | None, int | None]:
    """Physical cores and sockets, from the ids that each CPU carries."""
    cores, sockets = set(), set()
    for topology in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology"):
        package, core = _read(topology / "physical_package_id"), _read(topology / "core_id")
        siblings = _read(topology / "core_cpus_list") or _read(topology / "thread_siblings_list")
        if package is None or core is None:
            continue
        cores.add(siblings or (package, core))
        sockets.add(package)
    return len(cores) or None, len(sockets) or None


def _caches(root: Path) -> dict[str, str]:
    found = {}
    for cache in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index[0-9]*")):
        level, kind, size = (_read(cache / name) for name in ("level", "type", "size"))
        if level and size:
            found[f"L{level}{'' if kind == 'Unified' else (kind or '')[:1].lower()}"] = size
    return found


def _virtualisation(root: Path, first: dict[str, str], instance_type: str | None) -> str:
    if instance_type is not None:
        return "metal" if "metal" in instance_type else "virtual (EC2)"
    vendor = _read(root / "sys/class/dmi/id/sys_vendor") or ""
    if "hypervisor" in first.get("flags", ""):
        return f"virtual ({vendor})" if vendor else "virtual"
    if any(name in vendor for name in ("QEMU", "VMware", "Xen", "innotek", "Google")):
        return f"virtual ({vendor})"
    if "CPU part" in first and not vendor:
        return "unknown"  # Arm has no hypervisor flag; without DMI there is nothing to tell by
    return "metal"


def _midr_name(first: dict[str, str], micro: str) -> str:
    if "CPU part" not in first:
        return "unknown"
    part = f"implementer {first.get('CPU implementer')}, part {first['CPU part']}, variant {first.get('CPU variant')}"
    return f"{micro} ({part})" if micro != "unknown" else part
