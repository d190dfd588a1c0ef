"""A generation with the changes that were written since it was built.

Every worker follows the log by itself. Whether there is anything new is one read of memory (index/changes/receipt.py),
so a search of an index that is never written to pays nothing. New changes are applied before the search that should
find them, a few milliseconds' worth at a time, and the rest behind it, while others have their turns; who is not asked
looks once a second. A search with a `min_seq` waits until that much has been applied.

All of it happens on the event loop's thread, except for the backlog when a generation is loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from index import Generation, IndexingError
from index.changes.delta import Delta
from index.changes.fold import folded_to
from index.changes.log_file import LOG_FILE
from index.changes.log_reader import LogReader
from index.changes.view import Searchable, View
from index.errors import GenerationError, StorageError
from service.query.admission import Deadline
from service.wire.problems import Problem

log = logging.getLogger("perwatt.service")

AT_ONCE = 128  # changes that one search applies before it goes on: some 2 ms
LOOK_S = 0.05  # between looks for a log where there is none yet
WAIT_S = 0.001  # between looks for a change that another process is about to write
AGAIN_S = 1.0  # after a disk could not be read
PATIENCE_S = 0.2  # for a change that was acknowledged elsewhere and cannot be seen here yet


class Follower:
    """Keeps up with the log of one generation's index. `now` is what searches use."""

    def __init__(self, generation: Generation) -> None:
        """Applies what the log holds. Raises GenerationError for a log that is damaged or not this generation's."""
        self._generation = generation
        self._folder = generation.path.parent
        self._folded = folded_to(generation.manifest)
        self._reader: LogReader | None = None
        self._delta: Delta | None = None
        self._view: Searchable = generation
        self._seq = self._folded.seq
        self._looked_s = 0.0
        self.failure: str | None = None  # why no later changes are applied
        self._again_s = float("inf")  # when that may have passed
        self._going_on = False
        self._open()
        while self._apply(1 << 14):
            pass

    @property
    def seq(self) -> int:
        """The last change in `now`; without changes, that of the generation."""
        return self._seq

    @property
    def acknowledged(self) -> int:
        """The last change that any caller was told of. A log that was begun a moment ago is seen, too."""
        if self._reader is None:
            self._open_safely()
        return max(self.seq, 0 if self._reader is None else self._reader.acknowledged)

    @property
    def behind(self) -> int:
        """Changes that were acknowledged and are not applied yet."""
        return 0 if self._reader is None else max(0, self._reader.acknowledged - self.seq)

    @property
    def folded(self) -> bool:
        """Whether the generation holds every change, as far as can be told without opening the log. From any thread."""
        if self.failure is not None:
            return False
        reader = self._reader
        if reader is None:
            return not (self._folder / LOG_FILE).exists()
        return reader.acknowledged <= self._folded.seq

    @property
    def delta(self) -> Delta | None:
        return self._delta

    def now(self) -> Searchable:
        self._recover()
        reader = self._reader
        if reader is None:
            now_s = time.perf_counter()
            if now_s - self._looked_s > LOOK_S:
                self._looked_s = now_s
                self._open_safely()
                reader = self._reader
            if reader is None:
                return self._view
        if reader.acknowledged > self.seq and self.failure is None and self._apply_safely(AT_ONCE) and self.behind:
            self._go_on_later()
        return self._view

    async def at(self, min_seq: int, deadline: Deadline) -> Searchable:
        """What knows every change up to `min_seq`. Raises Problem precondition-failed where there is no such change,
        deadline-exceeded when it could not be applied in time, not-ready where changes cannot be read."""
        self._recover()
        self._open_safely()
        unwritten_s = time.perf_counter() + PATIENCE_S
        while self.seq < min_seq:
            last = self._folded.seq if self._reader is None else self._reader.acknowledged
            if last < min_seq and time.perf_counter() > unwritten_s:
                raise Problem(
                    "precondition-failed",
                    f"There is no write {min_seq:,} here, the last is {last:,}; min_seq is a seq that a write gave.",
                    pointer="/min_seq",
                    seq=last,
                )
            if self.failure is not None:
                raise Problem("not-ready", f"Changes after {self.seq:,} cannot be read here: {self.failure}")
            self._open_safely()
            # Others have their turn, or the writer has.
            await deadline.limit(asyncio.sleep(0 if self._apply_safely(AT_ONCE) else WAIT_S))
        return self._view

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _go_on_later(self) -> None:
        """What is left, in turns of its own: nobody may ask for a long time. Where no event loop runs, whoever asks
        next goes on."""
        if not self._going_on:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().call_soon(self._go_on)
                self._going_on = True

    def _go_on(self) -> None:
        self._going_on = False
        if self.behind and self.failure is None and self._apply_safely(AT_ONCE) and self.behind:
            self._go_on_later()

    def _recover(self) -> None:
        """A disk that could not be read may be read again."""
        if self.failure is not None and time.perf_counter() >= self._again_s:
            self.failure, self._again_s = None, float("inf")

    def _open_safely(self) -> None:
        try:
            self._open()
        except IndexingError as error:
            self._fail(error)

    def _apply_safely(self, most: int) -> bool:
        try:
            return self._apply(most)
        except IndexingError as error:
            self._fail(error)
        except Exception as error:  # a defect; half of a change may be in the delta, and no search may meet it
            self._fail(error)
            log.exception("a change after %d could not be applied", self._seq)
        return False

    def _fail(self, error: Exception) -> None:
        self.failure = str(error) or type(error).__name__
        if isinstance(error, StorageError):
            self._again_s = time.perf_counter() + AGAIN_S
        log.error("%s goes on without later changes: %s", self._generation.id, error)

    def _open(self) -> None:
        if self._reader is not None or self.failure is not None:
            return
        try:
            reader = LogReader(self._folder)
        except FileNotFoundError:
            return
        if self._folded.log not in (0, reader.head.id):
            reader.close()
            raise GenerationError(reader.path, f"is not the log that {self._generation.id} was built from")
        self._reader = reader

    def _apply(self, most: int) -> bool:
        """Whether there was anything to apply."""
        if self._reader is None:
            return False
        found = self._reader.since(self.seq, most)
        if not found:
            return False
        if self._delta is None:
            self._delta = Delta(self._generation, self._folded.seq)
        self._delta.apply(found)
        self._view, self._seq = View(self._generation, self._delta.snapshot()), self._delta.seq
        return True
