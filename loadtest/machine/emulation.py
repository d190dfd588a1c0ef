"""Is this CPU real? Emulated timings say nothing about the CPU that is emulated, so they are refused, not labelled.

A user-mode qemu translates one process at a time and the kernel underneath is the host's; a full-system qemu without
KVM (TCG) emulates everything. Hardware virtualisation is neither: the instructions run on the CPU itself.

What a process reads of itself is no proof: qemu 10 in user mode answers for /proc/cpuinfo and for the
process's own command line as the emulated machine would. The kernel's clocks it does not answer for, and they are those
of one architecture.
"""

from __future__ import annotations

import platform
from pathlib import Path

from loadtest.machine.cpu import cpuinfo

_ARM = ("aarch64", "arm64")
_X86 = ("x86_64", "AMD64")
_CLOCKS = Path("sys/devices/system/clocksource/clocksource0/available_clocksource")
# Linux drivers/clocksource/arm_arch_timer.c; arch/x86/kernel/{tsc,hpet,kvmclock}.c, drivers/clocksource/acpi_pm.c.
_CLOCKS_OF = {"an Arm": {"arch_sys_counter"}, "an x86": {"tsc", "hpet", "acpi_pm", "kvm-clock"}}


def signs(root: Path, machine: str | None = None) -> list[str]:
    """Reasons to believe that this process is emulated; empty on real and on hardware-virtualised CPUs."""
    machine = machine or platform.machine()
    found = []
    blocks = cpuinfo(root)
    first = blocks[0] if blocks else {}
    if machine in _ARM and ("vendor_id" in first or "GenuineIntel" in str(first)):
        found.append(f"the process is {machine}, but the kernel's CPU is {first.get('model name', 'an x86')}")
    if machine in _X86 and ("CPU implementer" in first or "VirtualApple" in str(first)):
        found.append(f"the process is {machine}, but the kernel's CPU is an Arm one")
    other = "an x86" if machine in _ARM else "an Arm" if machine in _X86 else None
    if other and (betray := sorted(_CLOCKS_OF[other] & _clocks(root))):
        found.append(
            f"the process is {machine}, but the kernel keeps time with {betray[0]}, which is {other} machine's"
        )
    name = first.get("model name", "")
    if "QEMU" in name or "TCG" in name:
        found.append(f"the CPU calls itself {name!r}")
    for pid in ("1", "self"):
        try:
            words = (root / "proc" / pid / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        program = words[0].rsplit(b"/", 1)[-1].decode("utf-8", "replace")
        if program.startswith("qemu-") and not program.startswith("qemu-system"):
            found.append(f"process {pid} runs under {program}")
    found += _full_system(root, machine)
    return found


def _clocks(root: Path) -> set[str]:
    """What the kernel can keep time with; empty where it does not say."""
    try:
        return set((root / _CLOCKS).read_text("ascii").split())
    except OSError:
        return set()


def _full_system(root: Path, machine: str) -> list[str]:
    """qemu without KVM: its DMI says QEMU, and no hypervisor that runs guests on the CPU has left a trace."""
    try:
        maker = (root / "sys/class/dmi/id/sys_vendor").read_text("ascii", errors="replace").strip()
    except OSError:
        return []
    if maker != "QEMU":
        return []
    clocks = _clocks(root)
    if clocks and machine in _X86 and "kvm-clock" not in clocks:
        return ["the machine is qemu's and offers no kvm-clock: it is emulated without KVM"]
    return []
