"""The line that people watch on a terminal while a trial runs."""

from __future__ import annotations

from typing import Any

from loadtest import units


def line(row: dict[str, Any]) -> str:
    """row: of a board."""
    parts = [
        f"{row['role']:8} {row['elapsed_s']:6.0f} s",
        f"offered {row['offered_qps']:,.4g}/s",
        f"answered {row['answered_qps']:,.4g}/s",
        *(f"{name} {_milliseconds(row[f'{name}_ms'])}" for name in ("p50", "p99")),
    ]
    if row.get("recall") is not None:
        parts.append(f"recall {row['recall']:.4f}")
    sides = [("service", row.get("service_cores")), ("generator", row["cpu"])]
    parts += [f"{side} {cores:.2f} CPU" for side, cores in sides if cores is not None]
    failed = [check for check in row["checks"] if not check["ok"]]
    parts += [f"{check['blame'].upper()}: {check['name']} {check['found']}" for check in failed]
    if not failed:
        parts.append("generator healthy")
    if row["errors"]:
        parts.append(f"errors {row['errors']:.0f}")
    return "  ".join(parts)


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else units.milliseconds(value)
