"""Starting a rebuild, ending one, and seeing that one has ended."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping

import msgspec

from index import Root
from service.rebuilds.plan import RebuildPlan, source_of
from service.rebuilds.records import RebuildRecord, RebuildRecords
from service.wire.answer.rebuilds import RebuildAnswer
from service.wire.problems import Problem

log = logging.getLogger("perwatt.service")

TICK_NS = 1_000_000_000  # longer than any clock of files needs to go on
END_S = 10.0  # from being told to end to being killed


class Rebuilds:
    """The rebuilds of one root, as one worker sees them; the other workers see the same files."""

    def __init__(self, root: Root, plan: RebuildPlan, environment: Mapping[str, str], model: str | None = None) -> None:
        """
        Args:
            plan: what may be rebuilt, from what.
            environment: of the process that rebuilds.
            model: where the service has its model from; None where the vectors say it.
        """
        self.plan, self._environment, self._model = plan, environment, model
        self.records = RebuildRecords(root.folder)
        self._seen_at = 0
        self._ended = set(self.records.switched(()))

    def start(self, index: str, source: str, *, asked_by: str | None = None, trigger: bool = False) -> RebuildAnswer:
        """Raises Problem: for a source that is not in the plan, and while another rebuild runs.

        Args:
            asked_by: whose `Idempotency-Key` it came with; what was started for the same one is answered again.
        """
        try:
            source_of(self.plan, index, source)
        except ValueError as error:
            raise Problem("invalid-value", f"{error}.", pointer="/source") from None
        if asked_by is not None and (before := self._asked_before(asked_by)) is not None:
            return self._again(before, index, source)
        try:
            return self._started(index, source, asked_by, trigger)
        except OSError as error:
            raise Problem("not-ready", f"A rebuild cannot be started here: {error}") from error

    def _started(self, index: str, source: str, asked_by: str | None, trigger: bool) -> RebuildAnswer:
        with self.records.lock() as handle:
            if handle is None:
                running = self.records.running()
                raise Problem(
                    "rebuild-running",
                    f"Rebuild {running} is running, and there is one at a time; wait for it, or cancel it.",
                    rebuild=running,
                )
            record = self.records.create(handle, index, source, asked_by, trigger)
            id_ = record.answer.id
            words = [str(self.records.root), id_, str(handle), *([] if self._model is None else [self._model])]
            with self.records.log_of(id_).open("ab") as said:
                process = subprocess.Popen(
                    [sys.executable, "-m", "service.rebuilds.work", *words],
                    stdin=subprocess.PIPE,
                    stdout=said,
                    stderr=said,
                    pass_fds=(handle,),
                    start_new_session=True,
                    env=self._environment,
                )
            self.records.update(id_, pid=process.pid)
            with contextlib.suppress(BrokenPipeError), process.stdin as plan:  # type: ignore[union-attr]
                plan.write(msgspec.json.encode(self.plan))
        threading.Thread(target=process.wait, name="rebuild", daemon=True).start()
        log.info("rebuild %s of %s from %s runs in process %d", id_, index, source, process.pid)
        return record.answer

    def cancel(self, record: RebuildRecord) -> RebuildAnswer:
        """Tells a rebuild to end, and kills it when it does not; builds and embeddings survive both."""
        if record.answer.ended_at is not None:
            return record.answer
        record = self.records.update(record.answer.id, state="cancelling")
        threading.Thread(target=self._end, args=(record,), name="cancel", daemon=True).start()
        return record.answer

    @property
    def changed(self) -> bool:
        """Whether a rebuild may have ended since the last call of `ended`; one look at a folder."""
        return self.records.changed_at() != self._seen_at

    def ended(self) -> set[str]:
        """Indexes that were switched by a rebuild since the last call. Reads files, so it is for another thread than
        the event loop's."""
        changed_at = self.records.changed_at()
        # Else it may change again without another time. One that is to come is of a clock that was set back since.
        if abs(time.time_ns() - changed_at) > TICK_NS:
            self._seen_at = changed_at
        new = self.records.switched(self._ended)
        self._ended |= new.keys()
        return set(new.values()) - {""}

    def _end(self, record: RebuildRecord) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            until_s = time.monotonic() + END_S
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if self.records.running() == record.answer.id and (pid := self._pid(record)) > 0:
                    os.kill(pid, number)
            while time.monotonic() < until_s:
                if self.records.running() != record.answer.id:
                    self.records.get(record.answer.id)  # which brings it to its end
                    return
                time.sleep(0.05)

    def _pid(self, record: RebuildRecord) -> int:
        """0 while its process is not known: signals would go to the group of this one."""
        now = self.records.get(record.answer.id)
        return 0 if now is None else now.pid

    def _asked_before(self, asked_by: str) -> RebuildRecord | None:
        return next((record for record in self.records.all() if record.asked_by == asked_by), None)

    def _again(self, record: RebuildRecord, index: str, source: str) -> RebuildAnswer:
        if (record.answer.index, record.answer.source) != (index, source):
            raise Problem(
                "precondition-failed",
                f"This Idempotency-Key came with a rebuild of {record.answer.index} from {record.answer.source}; "
                "another request needs another key.",
            )
        return record.answer


def asked_by(caller: str, key: str) -> str:
    """The part of an `Idempotency-Key` that is stored: enough to recognise it, from the same caller only."""
    return hashlib.sha256(f"{caller}\0{key}".encode()).hexdigest()
