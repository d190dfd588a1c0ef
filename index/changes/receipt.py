"""Up to where a log was acknowledged: one number in a small file that every process on the machine maps.

The writer stores it after each commit, so a reader learns of new changes by looking at memory, without a system call,
and a log whose end was cut off or damaged can be told from one that merely ends: it ends before what was acknowledged.
The file is never forced to the disk. After a power cut it may name an earlier change than the last, never a later one.

    bytes 0–7    magic            8–15   the log's identity
         16–23   seq             24–31   its complement, so that a flipped bit is seen

A writer that is killed between the two leaves two numbers. Both were acknowledged or about to be, so a log that holds
the later of them has lost nothing, and its next writer makes the receipt whole again; a log that does not is refused.
"""

import mmap
import os
from pathlib import Path
from typing import Self

import numpy as np

from index.changes.log_file import LOG_FILE, cut_off
from index.errors import GenerationError

MAGIC = int.from_bytes(b"pwattseq", "little")
_BYTES = 32
_MAGIC, _LOG, _SEQ, _INVERSE = range(4)
_ONES = (1 << 64) - 1


class Receipt:
    """The mapped file. `store` is for the one writer; everyone may read `seq`."""

    def __init__(self, path: Path, log_id: int, *, write: bool) -> None:
        """Opens it, and creates it where `write` and it is not there. Raises FileNotFoundError otherwise, and
        GenerationError where it belongs to another log or is damaged."""
        self.path = path
        handle = os.open(path, (os.O_RDWR | os.O_CREAT if write else os.O_RDONLY) | os.O_CLOEXEC, 0o644)
        try:
            if write and os.fstat(handle).st_size == 0:
                os.pwrite(handle, np.array([MAGIC, log_id, 0, _ONES], "<u8").tobytes(), 0)
            if os.fstat(handle).st_size != _BYTES:
                raise GenerationError(path, f"has {os.fstat(handle).st_size} bytes, expected {_BYTES}; {_MEND}")
            access = mmap.ACCESS_WRITE if write else mmap.ACCESS_READ
            self._mapping = mmap.mmap(handle, _BYTES, access=access)
        finally:
            os.close(handle)
        self._words = np.frombuffer(self._mapping, "<u8")
        try:
            self._check(log_id)
        except GenerationError:
            self.close()
            raise

    def _check(self, log_id: int) -> None:
        if int(self._words[_MAGIC]) != MAGIC or int(self._words[_LOG]) != log_id:
            raise GenerationError(self.path, f"belongs to another log; {_MEND}")

    @property
    def seq(self) -> int:
        """The last acknowledged change. One aligned load: never half of a number."""
        return int(self._words[_SEQ])

    def check(self, last: int) -> None:
        """For a log whose last whole change is `last`: raises GenerationError where one that was acknowledged is not in
        it, or where nobody can tell because the receipt is damaged."""
        first, second = sorted((int(self._words[_SEQ]), int(self._words[_INVERSE]) ^ _ONES))
        if last < first:
            raise cut_off(self.path.with_name(LOG_FILE), last, first)
        if last < second:
            raise GenerationError(self.path, f"is damaged: it names the changes {first} and {second}; {_MEND}")

    def store(self, seq: int) -> None:
        self._words[_INVERSE] = seq ^ _ONES
        self._words[_SEQ] = seq

    def close(self) -> None:
        del self._words
        self._mapping.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_MEND = "delete it once the log itself is known to be whole: the next writer makes it anew"
