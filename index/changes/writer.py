"""Group commit: many callers hand in writes, one thread makes them durable, each caller learns its own seq.

An fsync takes some milliseconds whatever is in it. So what arrives while one runs goes into the next, and a thousand
callers at once cost a few transactions. The writes of one caller are never split: all of them are in one transaction.
"""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

from index.changes.log import Log
from index.changes.log_file import LogClosedError, Write
from index.changes.repeats import KeyedRequest
from index.errors import IndexingError

# Writes in one transaction. On an fsync of 4 ms, groups of 1,024 vectors of 384 are written at twice the rate of groups
# of 128; larger ones win little and make every caller in them wait for all of it.
MOST = 1024


class Full(Exception):  # noqa: N818 – the name that the standard library's queue gives it
    """More writes wait for the disk than `Writer` lets wait."""


class _Job(NamedTuple):
    writes: Sequence[Write]
    done: "Future[int]"
    request: KeyedRequest | None


class Writer:
    """Owns a log and the one thread that appends to it. `submit` may be called from any thread."""

    def __init__(self, log: Log, *, waiting: int = 50_000) -> None:
        """waiting: how many writes may wait for the disk before `submit` refuses."""
        self.log = log
        self._most = waiting
        self._jobs: deque[_Job] = deque()
        self._count = 0
        self._ending = False
        self._trim_to = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"changes-{log.path.parent.name}", daemon=True)
        self._thread.start()

    def submit(self, writes: Sequence[Write], request: KeyedRequest | None = None) -> "Future[int]":
        """A future of the seq of the last of `writes`, set once they are on the disk. Where the request's key is in the
        log, it is the seq of then, and nothing is written; the future raises KeyReusedError where that was another
        request.

        Raises Full while too many wait, LogClosedError after a commit that failed or after `close`.
        """
        job = _Job(writes, Future(), request)
        with self._changed:
            if self._ending or self.log.failure is not None:
                reason = self.log.failure or "the writer was closed"
                raise LogClosedError(f"{self.log.path} takes no more changes until the service is restarted: {reason}")
            if self._count and self._count + len(writes) > self._most:
                raise Full(f"{self._count:,} writes wait for the disk already")
            self._jobs.append(job)
            self._count += len(writes)
            self._changed.notify()
        return job.done

    def trim(self, upto: int) -> None:
        """`Log.trim`, between two transactions; nobody waits for it."""
        with self._changed:
            self._trim_to = max(self._trim_to, upto)
            self._changed.notify()

    def close(self) -> None:
        """Writes what was handed in, then lets go of the log."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()
        self.log.close()

    def _run(self) -> None:
        while (jobs := self._next()) or not self._ending:
            while jobs:
                fresh, twins = self._fresh(jobs)
                try:
                    self._write(fresh)
                except BaseException as error:
                    for job in (*fresh, *twins):
                        job.done.set_exception(error)
                    break
                jobs = twins  # whose keys are in the log now, or were forgotten for newer ones

    def _write(self, jobs: Sequence[_Job]) -> None:
        count, ends, keyed = 0, [], []
        for job in jobs:
            count += len(job.writes)
            ends.append(count)
            if job.request is not None:
                keyed.append((count, job.request))
        last = self.log.append([write for job in jobs for write in job.writes], keyed)
        for job, end in zip(jobs, ends, strict=True):
            job.done.set_result(last - count + end)

    def _fresh(self, jobs: Sequence[_Job]) -> tuple[list[_Job], list[_Job]]:
        """Answers the jobs whose key is in the log; those to write, and those that have the key of one of them."""
        fresh: list[_Job] = []
        twins: list[_Job] = []
        keys: set[bytes] = set()
        for job in jobs:
            if job.request is not None:
                if job.request.key in keys:
                    twins.append(job)
                    continue
                try:
                    before = self.log.answered(job.request)
                except IndexingError as error:
                    job.done.set_exception(error)
                    continue
                if before is not None:
                    job.done.set_result(before.seq)
                    continue
                keys.add(job.request.key)
            fresh.append(job)
        return fresh, twins

    def _next(self) -> list[_Job]:
        """What waits, up to MOST writes; nothing once the writer ends."""
        with self._changed:
            while not self._jobs and not self._ending:
                upto, self._trim_to = self._trim_to, 0
                if upto < self.log.first:
                    self._changed.wait()
                    continue
                self._changed.release()  # others hand in meanwhile: of very many changes it takes long
                try:
                    self.log.trim(upto)
                finally:
                    self._changed.acquire()
            jobs: list[_Job] = []
            count = 0
            while self._jobs and (not jobs or count + len(self._jobs[0].writes) <= MOST):
                job = self._jobs.popleft()
                self._count -= len(job.writes)
                if job.done.set_running_or_notify_cancel():  # else its caller gave up before it began
                    jobs.append(job)
                    count += len(job.writes)
            return jobs
