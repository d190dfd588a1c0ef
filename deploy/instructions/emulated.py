"""Instructions counted on an arm64 processor that QEMU is told to be, from its log of the blocks it translated and ran.

QEMU says once, for each block, which instructions it holds, and then a line each time a block runs. Its filter keeps
that to the addresses of one library, which a first run finds: in a fixed space of addresses the others have it in the
same place. What was there before the work is in both of two logs, and is taken away: one of the work
done twice, one of the work done once.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from deploy.errors import CountingError
from deploy.instructions.stepped import WORK

# The size of the space in which the emulated program's addresses lie; where it is given, they do not vary.
ADDRESSES = str(1 << 36)
ATTEMPTS = 3


def count(python: Path, processor: str, arguments: Sequence[str]) -> float:
    """Instructions a query of what `work.py` does with these arguments, the library's alone.

    Args:
        python: Of arm64, which starts itself under QEMU: build/arm64/python of `make test-arm64`.
        processor: As QEMU names it, such as "neoverse-v1".

    Raises:
        CountingError: There is no such Python, or it failed, or its libraries lie elsewhere in each run.
    """
    if not python.exists():
        raise CountingError(f"{python} is needed: run deploy/ci/arm64-tools.sh and deploy/ci/arm64-python.sh .venv")
    found, places = _run(python, processor, [*arguments, "--times", "0"], {}), []
    for _ in range(ATTEMPTS):
        places.append(found)
        once, before = _logged(python, processor, [*arguments, "--times", "1"], found)
        if once == found:
            twice, counted = _logged(python, processor, [*arguments, "--times", "2"], found)
            if twice == found:
                return (counted - before) / found["queries"]
            once = twice
        found = once  # a run that found no compiled Python modules, and made them, lays memory out in another way
    raise CountingError(f"the library lay at {places}, then at {found}: addresses are randomised here")


def _logged(
    python: Path, processor: str, arguments: Sequence[str], place: dict[str, int]
) -> tuple[dict[str, int], int]:
    """Where the library lay in this run, and the instructions that ran where it was expected."""
    with tempfile.TemporaryDirectory(prefix="perwatt-instructions-") as made:
        pipe, counted = Path(made, "log"), list[int]()
        os.mkfifo(pipe)
        filtered = f"0x{place['start']:x}..0x{place['end'] - 1:x}"
        settings = {"QEMU_LOG": "in_asm,exec,nochain", "QEMU_LOG_FILENAME": str(pipe), "QEMU_DFILTER": filtered}
        reader = threading.Thread(target=lambda: counted.append(_read(pipe)), daemon=True)
        reader.start()
        found = _run(python, processor, arguments, settings)
        reader.join()
    return found, counted[0]


def _run(python: Path, processor: str, arguments: Sequence[str], settings: dict[str, str]) -> dict[str, int]:
    fixed = {"QEMU_CPU": processor, "QEMU_RESERVED_VA": ADDRESSES, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(python), str(WORK), *arguments],
        env=os.environ | fixed | settings,
        cwd=python.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CountingError(f"{processor}: {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
    place: dict[str, int] = json.loads(done.stdout)
    return place


def _read(pipe: Path) -> int:
    with pipe.open(errors="replace") as log:
        return total(log)


def total(log: Iterable[str]) -> int:
    """Instructions that ran, by a log of QEMU's with in_asm, exec and nochain."""
    lengths: dict[int, int] = {}
    block, ran = -1, 0
    for line in log:
        if line.startswith("Trace "):
            ran += lengths[int(line.split("[", 1)[1].split("/", 2)[1], 16)]
        elif line.startswith("IN:"):
            block = -1
        elif line.startswith("0x"):
            if block < 0:
                block = int(line.split(":", 1)[0], 16)
                lengths[block] = 0
            lengths[block] += 1
    return ran
