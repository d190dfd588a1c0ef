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


def count(python: Path, processor: str, arguments: Sequence[str]) -> float:
    """Instructions a query of what `work.py` does with these arguments, the library's alone.

    Args:
        python: Of arm64, which starts itself under QEMU: build/arm64/python of `make test-arm64`.
        processor: As QEMU names it, such as "neoverse-v1".

    Raises:
        CountingError: There is no such Python, or it failed.
    """
    if not python.exists():
        raise CountingError(f"{python} is needed: run deploy/ci/arm64-tools.sh and deploy/ci/arm64-python.sh .venv")
    with tempfile.TemporaryDirectory(prefix="perwatt-instructions-") as made:
        pipe = Path(made, "log")
        found = _run(python, processor, [*arguments, "--times", "0"], {})
        place, counted = f"0x{found['start']:x}..0x{found['end'] - 1:x}", []
        for times in ("1", "2"):
            os.mkfifo(pipe)
            settings = {"QEMU_LOG": "in_asm,exec,nochain", "QEMU_LOG_FILENAME": str(pipe), "QEMU_DFILTER": place}
            total: list[int] = []
            reader = threading.Thread(target=lambda held=total: held.append(_read(pipe)), daemon=True)
            reader.start()
            again = _run(python, processor, [*arguments, "--times", times], settings)
            reader.join()
            pipe.unlink()
            if again != found:
                raise CountingError(f"the library lay at {found}, then at {again}: addresses are randomised here")
            counted += total
    return (counted[1] - counted[0]) / int(found["queries"])


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
