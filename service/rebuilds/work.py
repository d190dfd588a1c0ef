"""The process that rebuilds: `python -m service.rebuilds.work ROOT ID LOCK [MODEL]`, started by `starting.py`.

It runs what a person would run, `perwatt embed` and `perwatt build`, at the lowest priority and within the memory that
the plan allows, then removes generations that are no longer needed. A fitted query encoder of the served generation is
measured again on the new rows, and stays where it keeps what was asked of it; MODEL is where the service has found the
model that this takes. Sparse weights are made anew by the model that the served generation names. The servers of the
index see the new alias. The plan comes on standard input, as it was when the service started; editing its file does not
affect a running rebuild.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import click
import msgspec

from embed.vectors.provenance import now_utc
from service.rebuilds.plan import RebuildPlan, RebuildSource, source_of
from service.rebuilds.records import RebuildRecord, RebuildRecords

NICENESS = 19
TOLD_S = 1.0  # between writings of how far it is


class Said:
    """Standard error of the steps: kept in the log, and its last line in the record."""

    def __init__(self, records: RebuildRecords, record: RebuildRecord) -> None:
        self._records, self.record = records, record
        self._log = records.log_of(record.answer.id).open("a", encoding="utf-8", errors="replace")
        self._line, self._told_s = "", 0.0

    def write(self, text: str) -> int:
        self._log.write(text)
        self._log.flush()
        *lines, self._line = (self._line + text).split("\n")
        for line in filter(None, map(str.strip, lines)):
            if time.monotonic() - self._told_s > TOLD_S:
                self._told_s = time.monotonic()
                self.tell(progress=line)
        return len(text)

    def tell(self, **changes: Any) -> None:
        self.record = self._records.update(self.record.answer.id, **changes)

    def flush(self) -> None:
        self._log.flush()

    def isatty(self) -> bool:
        return False


def main(root: Path, id_: str, plan: RebuildPlan, model: str | None = None) -> int:
    records = RebuildRecords(root)
    record = records.get(id_)
    assert record is not None, f"there is no rebuild {id_} under {root}"
    _lower(plan)
    said = Said(records, record)
    sys.stderr = said
    index = record.answer.index
    try:
        generation = _rebuild(said, root, index, source_of(plan, index, record.answer.source), plan, model)
    except BaseException as error:
        if records.cancelling(id_):
            said.tell(state="cancelled", ended_at=now_utc())
        else:
            said.tell(state="failed", ended_at=now_utc(), detail=_reason(error, plan))
        return 1
    said.tell(state="succeeded", ended_at=now_utc(), generation=generation, switched=True)
    return 0


def _rebuild(
    said: Said, root: Path, index: str, source: RebuildSource | None, plan: RebuildPlan, model: str | None
) -> str:
    from embed.encoders.fitted.of_vectors import query_fitter
    from embed.sparse.encoder import sparse_of_build
    from index import IndexingError, Root
    from index.build.rows.models import BuildModels
    from index.cli import build

    threads = ["--threads", str(plan.threads)]
    options = ["--index", index, "--root", str(root), "--max-slowdown", str(plan.max_slowdown), "--json", *threads]
    options += [] if model is None else ["--model", model]
    if source is None:
        options.append("--from-changes")
    else:
        from embed.cli import embed

        said.tell(step="embed")
        _run(embed, [*source.inputs, "--out", source.vectors, *threads, *source.embed])
        options += [source.vectors, *source.build]
    said.tell(step="build", progress=None)
    _run(build, options, obj=lambda: BuildModels(query_fitter, sparse_of_build))
    place = Root(root)
    generation = place.alias(index).generation
    said.tell(generation=generation, switched=True)  # at once: whatever becomes of the rest, servers have to follow
    try:
        place.gc(index, plan.keep)
    except (OSError, IndexingError) as error:
        said.write(f"generations that nobody needs are still there: {error}\n")
    return generation


def _run(command: click.Command, arguments: list[str], obj: object = None) -> None:
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        command.main(arguments, prog_name=f"perwatt {command.name}", standalone_mode=False, obj=obj)


def _reason(error: BaseException, plan: RebuildPlan) -> str:
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, MemoryError):
        return f"it needs more memory than it may use ({plan.memory or 'that of the machine'})"
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return "it was told to end"
    from embed.errors import EmbedError
    from index import IndexingError

    if not isinstance(error, EmbedError | IndexingError | OSError | ValueError):
        traceback.print_exc()
    return f"{error}" or type(error).__name__


def _lower(plan: RebuildPlan) -> None:
    """Lowers the priority below that of searches, and limits the memory of this process to that of the plan."""
    os.nice(NICENESS)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    if plan.memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (plan.memory_bytes, plan.memory_bytes))


if __name__ == "__main__":
    _, _root, _id, _lock, *_model = sys.argv
    _status = main(Path(_root), _id, msgspec.json.decode(sys.stdin.buffer.read(), type=RebuildPlan), *_model)
    fcntl.flock(int(_lock), fcntl.LOCK_UN)  # who has seen its end can start the next one, while this process goes away
    sys.exit(_status)
