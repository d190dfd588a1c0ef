"""The facts of a machine in words, the same in `perwatt info`, in `perwatt loadtest machine` and in every report."""

from __future__ import annotations

from loadtest import units
from loadtest.machine.facts import Machine


def in_words(machine: Machine) -> list[tuple[str, str]]:
    """(what, fact), in reading order; always the same rows, so that machines can stand beside each other."""
    limits = []
    if machine.cgroup_cpus is not None:
        limits.append(_several(machine.cgroup_cpus, "CPU"))
    if machine.cgroup_memory_bytes is not None:
        limits.append(units.size_bytes(machine.cgroup_memory_bytes))
    memory = machine.usable_memory_bytes
    usable = [_several(machine.usable_cpus, "CPU"), *([units.size_bytes(memory)] if memory is not None else [])]
    threads = _several(machine.threads, "CPU")
    threads += f" ({machine.threads_per_core} a core)" if machine.threads_per_core else ""
    sockets, nodes = _several(machine.sockets, "socket"), _several(machine.numa_nodes, "NUMA node")
    kind = "" if machine.microarchitecture in machine.cpu else f" ({machine.microarchitecture})"
    return [
        ("Architecture", machine.architecture),
        ("CPU", f"{machine.cpu}{kind}"),
        ("Cores", f"{_several(machine.cores, 'physical core')}, {threads}, {sockets}, {nodes}"),
        ("Memory", units.size_bytes(machine.memory_bytes) if machine.memory_bytes else "–"),
        ("Limits (cgroup)", ", ".join(limits) or "none"),
        ("May use", ", ".join(usable)),
        ("Container", machine.container or "none"),
        ("Runs on", machine.virtualisation),
        ("Instance", " ".join(filter(None, (machine.instance_type, machine.region))) or "not on EC2"),
        ("Caches", ", ".join(f"{level} {size}" for level, size in machine.caches.items()) or "–"),
        ("Vector units", (", ".join(machine.isa) or "–") + hidden_in_words(machine.hidden_isa)),
        ("Governor", machine.governor or "not visible"),
        ("Kernel", f"{machine.kernel}, {machine.operating_system}"),
        ("Libraries", "; ".join(f"{name}: {build}" for name, build in machine.libraries.items()) or "not recorded"),
    ]


def hidden_in_words(words: list[str] | None) -> str:
    """What to say behind the units of a machine or a service that PERWATT_HIDE_ISA made a plainer one."""
    return f"; PERWATT_HIDE_ISA hides {', '.join(words)} for a test" if words else ""


def _several(count: float | None, what: str) -> str:
    return f"{'?' if count is None else f'{count:g}'} {what}{'' if count == 1 else 's'}"
