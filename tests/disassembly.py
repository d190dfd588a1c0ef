"""The instructions of each unit in a built library. Tests of answers cannot see a kernel that was compiled to something
slower, so these count what a unit is named for.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

# Arithmetic on several lanes, on aarch64.
PACKED = r"(\w*mulh?|\w*add|\w*sub|\w*ml[as]l?2?|\w*dot|\w*mmla|\w*adalp|\w*mull2?)p? [vz]\d+\."


class Function(NamedTuple):
    """code: its instructions in order, each with its address and single-spaced."""

    unit: str
    name: str
    code: list[tuple[int, str]]


@cache
def functions(binary: Path, namespace: str, objdump: str = "objdump") -> list[Function]:
    """Those that lie in `namespace`::UNIT; a library is taken apart once."""
    assert shutil.which(objdump), (
        f"{objdump} is needed to look into {binary.name}; install binutils of its architecture"
    )
    text = subprocess.run(
        [objdump, "-d", "-C", "--no-show-raw-insn", str(binary)], capture_output=True, text=True, check=True
    ).stdout
    found: list[Function] = []
    current: Function | None = None
    for line in text.splitlines():
        if re.match(r"[0-9a-f]+ <", line):
            header = re.search(rf"{namespace}::(\w+)::(?:\(anonymous|\w+\()", line)
            current = Function(header.group(1), line.partition("<")[2].rstrip(">:"), []) if header else None
            found += [current] if current else []
        elif current is not None and (code := re.match(r" *([0-9a-f]+):\t(.*)", line)):
            current.code.append((int(code.group(1), 16), " ".join(code.group(2).split())))
    return found


def instructions(binary: Path, namespace: str, objdump: str = "objdump") -> dict[str, list[str]]:
    """Of each unit in `namespace`, one string an instruction."""
    found: dict[str, list[str]] = {}
    for function in functions(binary, namespace, objdump):
        found.setdefault(function.unit, []).extend(line for _, line in function.code)
    return found


def count(found: list[Function], unit: str, name: str, pattern: str) -> int:
    """How many instructions match it in a function of that unit."""
    return sum(
        bool(re.match(pattern, line))
        for function in found
        if function.unit == unit and f"::{name}(" in function.name
        for _, line in function.code
    )


def check(units: dict[str, list[str]], unit: str, demands: dict[str, tuple[dict[str, int], str]]) -> None:
    """Fails unless the unit's code matches each pattern that it requires so often at least, and what it forbids
    nowhere; and unless just that tells it from every other unit."""
    assert _complaint(units[unit], *demands[unit]) == ""
    for other, demand in demands.items():
        assert other == unit or _complaint(units[unit], *demand), f"{unit} would pass for {other}"


def _complaint(code: list[str], required: dict[str, int], forbidden: str) -> str:
    counts = {pattern: sum(bool(re.match(pattern, line)) for line in code) for pattern in required}
    if not all(counts[pattern] >= least for pattern, least in required.items()):
        return f"{counts} of {required}"
    return ", ".join(sorted({line for line in code if re.match(forbidden, line)})[:20])
