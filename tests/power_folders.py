"""Sensors laid out as files, as Linux shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def lay(root: Path, files: dict[str, object]) -> Path:
    for name, value in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return root


def zone(name: str, label: str, micro: int, wraps: int | None = 262143328850) -> dict[str, object]:
    base = f"sys/class/powercap/{name}"
    files: dict[str, object] = {f"{base}/name": label, f"{base}/energy_uj": micro}
    return files if wraps is None else {**files, f"{base}/max_energy_range_uj": wraps}


def only(found: Any) -> Any:
    assert len(found) == 1, found
    return found[0]


# ---- hwmon
def acpi(number: int, label: str, micro: int, interval_ms: int = 50) -> dict[str, object]:
    base = f"sys/class/hwmon/hwmon{number}"
    return {
        f"{base}/name": "power_meter",
        f"{base}/device/power1_average": micro,
        f"{base}/device/power1_oem_info": label,
        f"{base}/device/power1_average_interval": interval_ms,
    }
