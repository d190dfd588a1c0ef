"""From what the kernel says about a CPU to the microarchitecture that prices, power models and readers know it by.

x86 names itself by family and model (Linux `arch/x86/include/asm/intel-family.h`, AMD's revision guides), Arm by
implementer and part number of MIDR_EL1 (Linux `arch/arm64/include/asm/cputype.h`). A number that is not listed is
reported as unknown, never as its nearest neighbour.
"""

from __future__ import annotations

from pathlib import Path

# Intel, family 6
INTEL = {
    0x55: "Skylake",  # stepping 5 to 7 is Cascade Lake, 10 and 11 Cooper Lake
    0x6A: "Ice Lake",
    0x6C: "Ice Lake",
    0x8F: "Sapphire Rapids",
    0xCF: "Emerald Rapids",
    0xAD: "Granite Rapids",
    0xAE: "Granite Rapids",
}
# AMD: (family, first model, last model)
AMD = (
    (0x17, 0x30, 0x3F, "EPYC Rome"),
    (0x19, 0x00, 0x0F, "EPYC Milan"),
    (0x19, 0x10, 0x1F, "EPYC Genoa/Bergamo"),
    (0x19, 0xA0, 0xAF, "EPYC Genoa/Bergamo"),
    (0x1A, 0x00, 0x1F, "EPYC Turin"),
)
# Arm Ltd. cores (implementer 0x41) by part number, and the products that carry them
ARM = {
    0xD0C: "Neoverse N1",
    0xD40: "Neoverse V1",
    0xD49: "Neoverse N2",
    0xD4F: "Neoverse V2",
    0xD83: "Neoverse V3AE",
    0xD84: "Neoverse V3",
    0xD8E: "Neoverse N3",
}


def cpuinfo(root: Path) -> list[dict[str, str]]:
    """/proc/cpuinfo as one dict a processor."""
    try:
        text = (root / "proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return []
    blocks: list[dict[str, str]] = [{}]
    for line in text.splitlines():
        if not line.strip():
            if blocks[-1]:
                blocks.append({})
            continue
        key, _, value = line.partition(":")
        blocks[-1][key.strip()] = value.strip()
    return [block for block in blocks if "processor" in block]


def microarchitecture(block: dict[str, str]) -> str:
    """The microarchitecture of one /proc/cpuinfo block, or "unknown"."""
    if "CPU part" in block:
        if block.get("CPU implementer") != "0x41":
            return "unknown"
        return ARM.get(int(block["CPU part"], 16), "unknown")
    try:
        family, model = int(block["cpu family"]), int(block["model"])
        stepping = int(block.get("stepping", "0"))
    except (KeyError, ValueError):
        return "unknown"
    if block.get("vendor_id") == "GenuineIntel" and family == 6:
        if model == 0x55 and stepping >= 5:
            return "Cascade Lake" if stepping < 10 else "Cooper Lake"
        return INTEL.get(model, "unknown")
    if block.get("vendor_id") == "AuthenticAMD":
        for wanted, first, last, name in AMD:
            if family == wanted and first <= model <= last:
                return name
    return "unknown"
