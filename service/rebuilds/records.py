"""Rebuilds on disk: one small file each under ROOT/.rebuilds, and the lock of the process at work.

    ID.json     what callers see, who asked, and the process
    ID.log      what that process said
    .running    locked (flock) while a rebuild runs; holds its id
    .lock       locked while a record is changed

Every worker of a service reads the same files, so any of them can answer. The lock tells a rebuild that runs from one
whose process died: it belongs to the process and is released with it, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from embed.vectors.durable import TEMPORARY, WriteError, write_durably
from embed.vectors.provenance import now_utc
from index.disk.stamps import next_stamp
from service.wire.answer.rebuilds import RebuildAnswer

FOLDER, RUNNING, LOCK = ".rebuilds", ".running", ".lock"
KEPT = 100  # records; older ones are forgotten
# For a lock that others only look at, or that is still held by a rebuild that has ended and settles its last words.
TRIES, PAUSE_S = 500, 0.01
LAST_BYTES = 2000  # of a log, where a process died without a word


class RebuildRecord(msgspec.Struct):
    """What is kept of a rebuild.

    Args:
        answer: what callers see.
        asked_by: of an `Idempotency-Key`: who sent which, hashed; None where none was sent.
        trigger: whether the service started it by itself.
        pid: of the process; 0 before there is one.
    """

    answer: RebuildAnswer
    asked_by: str | None = None
    trigger: bool = False
    pid: int = 0


_DECODE = msgspec.json.Decoder(RebuildRecord).decode


class RebuildRecords:
    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / FOLDER

    def create(
        self, lock: int, index: str, source: str, asked_by: str | None = None, trigger: bool = False
    ) -> RebuildRecord:
        """
        Args:
            lock: as `lock` gives it. The id is in it before there is a record, which others would take for one whose
                process has died.
        """
        id_ = next_stamp(self.ids(), digits=6)  # the newest is the last one, also after the clock was set back
        os.ftruncate(lock, 0)
        os.pwrite(lock, id_.encode(), 0)
        record = RebuildRecord(RebuildAnswer(id_, index, source, "running", now_utc()), asked_by, trigger)
        with self._changing():
            for leftover in self.folder.glob(f"{TEMPORARY}*"):  # of a process that died while it changed a record
                leftover.unlink(missing_ok=True)
            self._write(record)
        for old in self.ids()[KEPT:]:
            for suffix in (".json", ".log"):
                (self.folder / f"{old}{suffix}").unlink(missing_ok=True)
        return record

    def update(self, id_: str, *, pid: int | None = None, **changes: Any) -> RebuildRecord:
        """The record with other members of its answer, written; one that has ended stays as it is."""
        with self._changing():
            record = self._read(id_)
            if record.answer.ended_at is None:
                answer = msgspec.structs.replace(record.answer, **changes)
                record = msgspec.structs.replace(record, answer=answer, pid=record.pid if pid is None else pid)
                self._write(record)
            return record

    def get(self, id_: str) -> RebuildRecord | None:
        """The record as it stands, or None; one whose process is gone is marked as ended."""
        record = self._readable(id_) if id_ in self.ids() else None
        return None if record is None else self._settled(record)

    def all(self) -> list[RebuildRecord]:
        """The newest first; without those whose file is damaged."""
        return [self._settled(record) for id_ in self.ids() if (record := self._readable(id_)) is not None]

    def switched(self, known: Collection[str]) -> dict[str, str]:
        """Of rebuilds that have ended and are not in `known`: id → the index that was switched, "" where none was."""
        read = (self._readable(id_) for id_ in self.ids() if id_ not in known)
        ended = [record.answer for record in read if record is not None and record.answer.ended_at is not None]
        return {answer.id: answer.index if answer.switched else "" for answer in ended}

    def running(self) -> str | None:
        """The id of the rebuild whose process holds the lock."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            handle = os.open(self.folder / RUNNING, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return os.pread(handle, 64, 0).decode() or None
            finally:
                os.close(handle)
        return None

    def cancelling(self, id_: str) -> bool:
        return self._read(id_).answer.state == "cancelling"

    def changed_at(self) -> int:
        """Grows whenever a record is written; 0 where there has been none."""
        try:
            return self.folder.stat().st_mtime_ns
        except OSError:
            return 0

    def log_of(self, id_: str) -> Path:
        return self.folder / f"{id_}.log"

    @contextlib.contextmanager
    def lock(self) -> Iterator[int | None]:
        """The lock that a rebuild holds, as a descriptor to be inherited; None where one runs."""
        self.folder.mkdir(exist_ok=True)
        handle = os.open(self.folder / RUNNING, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            yield handle if self._take(handle) else None
        finally:
            os.close(handle)

    def _take(self, handle: int) -> bool:
        """Whoever looks what runs holds the lock for a moment, too, and so does a rebuild that has just said that it
        has ended; so another try is made where nothing runs."""
        for _ in range(TRIES):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                id_ = self.running()
                record = None if id_ is None else self._readable(id_)
                if id_ is not None and (record is None or record.answer.ended_at is None):
                    return False
                time.sleep(PAUSE_S)
            else:
                return True
        return False

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        handle = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _write(self, record: RebuildRecord) -> None:
        write_durably(self.folder / f"{record.answer.id}.json", msgspec.json.encode(record))

    def _settled(self, record: RebuildRecord) -> RebuildRecord:
        answer = record.answer
        if answer.ended_at is not None or self.running() == answer.id:
            return record
        ended: dict[str, Any] = {"state": "cancelled"}
        if answer.state != "cancelling":
            ended = {"state": "failed", "detail": self._last_words(answer.id)}
        ended["ended_at"] = now_utc()
        try:
            return self.update(answer.id, **ended)  # one that has come to its own end meanwhile stays as it is
        except (OSError, WriteError):  # a root that can only be read is still told of truly
            return msgspec.structs.replace(record, answer=msgspec.structs.replace(answer, **ended))

    def _last_words(self, id_: str) -> str:
        """Of a process that ended without saying why, as one does that was killed or found no memory."""
        said = ""
        with contextlib.suppress(OSError):
            said = self.log_of(id_).read_bytes()[-LAST_BYTES:].decode(errors="replace").strip()
        last = said.splitlines()[-1] if said else "nothing"
        return f"the process ended before it was done, as one does that is killed; the last it said: {last}"

    def _read(self, id_: str) -> RebuildRecord:
        return _DECODE((self.folder / f"{id_}.json").read_bytes())

    def _readable(self, id_: str) -> RebuildRecord | None:
        """None for one that is damaged, or was forgotten meanwhile."""
        try:
            return self._read(id_)
        except (OSError, msgspec.MsgspecError):
            return None

    def ids(self) -> list[str]:
        """The newest first."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return sorted((path.stem for path in self.folder.glob("*.json") if path.stem[:1] != "."), reverse=True)
        return []
