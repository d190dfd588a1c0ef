"""Where the published figures lie, and with what each of them was measured.

A measurement is one JSON file in deploy/figures/ with the machine, versions and date it was made with. Of some,
those of each make of processor are kept beside each other: NAME.amd.json, NAME.intel.json.
"""

from __future__ import annotations

import datetime
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[2]
KEPT = TOP / "deploy" / "figures"
README, BENCHMARKS = TOP / "README.md", KEPT / "BENCHMARKS.md"
# What says as much of a processor as of us.
BY_MAKE = ("ann", "ann-others", "filtered", "growth", "growth-alone", "disk-alone")
VERSIONS = ("perwatt", "numpy", "faiss-cpu", "onnxruntime", "torch", "sentence-transformers")


def kept(name: str) -> dict[str, Any]:
    """The figures of a name; of one that is kept by make, the newest."""
    if name in BY_MAKE:
        return kept_by_make(name)[0]
    return _read(KEPT / f"{name}.json")


def kept_by_make(name: str) -> list[dict[str, Any]]:
    """What every make of processor gave, the newest first."""
    every = [_read(path) for path in sorted(KEPT.glob(f"{name}.*.json"))]
    return sorted(every, key=lambda each: str(each["measured_on"]), reverse=True)


def kept_of(name: str, machine: dict[str, Any]) -> dict[str, Any] | None:
    """What the make of this machine gave; None where it was not measured there."""
    return next((each for each in kept_by_make(name) if make_of(each["machine"]) == make_of(machine)), None)


def make_of(machine: dict[str, Any]) -> str:
    """Of its processor, as file names have it: "amd", "intel", or the architecture."""
    words = machine["cpu"].lower()
    return next((make for make in ("amd", "intel") if make in words), str(machine["arch"]))


def keep(name: str, figures: Any) -> None:
    machine = this_machine()
    content = {
        "measured_on": datetime.date.today().isoformat(),
        "machine": machine,
        "versions": {package: found for package in VERSIONS if (found := _installed(package))},
        "figures": figures,
    }
    make = f".{make_of(machine)}" if name in BY_MAKE else ""
    (KEPT / f"{name}{make}.json").write_text(json.dumps(content, indent=1) + "\n")


def _installed(package: str) -> str | None:
    """Its version; None of one that this measurement had no need of."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def this_machine() -> dict[str, Any]:
    from loky import cpu_count

    from index import kernels

    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return {"arch": platform.machine(), "cpu": cpu, "cores": cpu_count(), "isa": kernels.info()["isa"]}
