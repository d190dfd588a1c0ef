"""Runs Python on a disk that fails, records what was written to it, and replays that as a power cut would leave it; and
kills a process where it has told the disk a certain thing."""

import os
import random
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from preloading import library

_HEAD = struct.Struct("<iiqq")
WRITE, SYNC, TRUNCATE, DELETE = 1, 2, 3, 4
SECTOR = 512  # bytes that a disk writes whole or not at all


class Operation(NamedTuple):
    """What a disk was told. bytes: of a write; offset: where, or the new size of a truncation."""

    kind: int
    name: str
    offset: int
    bytes: bytes


class KillPoint(NamedTuple):
    """Where a process is killed. when: "before" or "after" a `call` on files whose path contains `file`; call: "write",
    "sync", "truncate", "delete" or "rename"."""

    file: str
    call: str
    when: str

    def environment(self, nth: int) -> dict[str, str]:
        """Of a process that does not outlive the nth of these calls. Its children inherit it, and each counts anew."""
        armed = {"FAULT_FILE": self.file, "FAULT_CALL": self.call, "FAULT_KILL": self.when, "FAULT_AT": str(nth)}
        return {"LD_PRELOAD": str(library("faults.c")), **armed}


def run_python(
    code: str,
    arguments: Sequence[str],
    *,
    file: str,
    error: int = 0,
    record: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs `code` with every write and fsync of files whose name contains `file` under watch.

    error: what they fail with from the one on that FAULT_AT names, which `code` puts into its own environment.
    """
    environment = os.environ | {"LD_PRELOAD": str(library("faults.c")), "FAULT_FILE": file}
    environment["FAULT_ERRNO"] = str(error)
    if record is not None:
        environment["FAULT_RECORD"] = str(record)
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def operations(record: Path) -> list[Operation]:
    """What a recorded run told the disk, in order."""
    raw, place, found = record.read_bytes(), 0, []
    while place < len(raw):
        kind, name, offset, size = _HEAD.unpack_from(raw, place)
        place += _HEAD.size
        path = raw[place : place + name].decode()
        place += name
        found.append(Operation(kind, path, offset, raw[place : place + size]))
        place += size
    return found


def after_power_cut(told: Sequence[Operation], rng: random.Random) -> dict[str, bytes]:
    """Contents of the files by name: what came before a file's last fsync is there, of the rest any sectors or none.

    A file that was deleted is gone for certain once its folder was fsynced."""
    last = {operation.name: place for place, operation in enumerate(told) if operation.kind == SYNC}
    contents: dict[str, bytearray] = {}
    for place, operation in enumerate(told):
        if operation.kind == SYNC:
            continue
        if operation.kind == DELETE:
            if place < last.get(str(Path(operation.name).parent), -1) or rng.random() < 0.5:
                contents.pop(operation.name, None)
            continue
        content = contents.setdefault(operation.name, bytearray())
        certain = place < last.get(operation.name, -1)
        if operation.kind == TRUNCATE and (certain or rng.random() < 0.5):
            del content[operation.offset :]
        elif operation.kind == WRITE:
            for start in range(0, len(operation.bytes), SECTOR):
                if certain or rng.random() < 0.5:
                    _put(content, operation.offset + start, operation.bytes[start : start + SECTOR])
    return {name: bytes(content) for name, content in contents.items()}


def _put(content: bytearray, offset: int, new: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(new)] = new
