"""Where the published figures lie, and with what each of them was measured.

A measurement is one JSON file in deploy/figures/ with the machine, versions and date it was made with.
"""

from __future__ import annotations

import datetime
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[2]
KEPT = TOP / "deploy" / "figures"
README, BENCHMARKS = TOP / "README.md", KEPT / "BENCHMARKS.md"
VERSIONS = ("perwatt", "numpy", "faiss-cpu", "onnxruntime", "torch", "sentence-transformers")


def kept(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((KEPT / f"{name}.json").read_text())
    return content


def keep(name: str, figures: Any) -> None:
    content = {
        "measured_on": datetime.date.today().isoformat(),
        "machine": _machine(),
        "versions": {package: version(package) for package in VERSIONS},
        "figures": figures,
    }
    (KEPT / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def _machine() -> dict[str, Any]:
    from loky import cpu_count

    from index import kernels

    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return {"arch": platform.machine(), "cpu": cpu, "cores": cpu_count(), "isa": kernels.info()["isa"]}
