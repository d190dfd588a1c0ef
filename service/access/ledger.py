"""What each key has used: queries, tokens, distances, processor time, added up over all workers.

A worker writes only to its own row of shared memory (`telemetry/slab.py`), so counting is four additions and no lock,
and a worker that replaces a dead one goes on in its row. An account lies at the slot that its key has in the file of
keys. The name of the key stands beside the numbers, because a slot goes to another key once its own is revoked: whoever
adds the rows up goes by the name, and never by a keyring that may be a second behind. What a key had used whose slot
went to another is kept under FORMER.
"""

from __future__ import annotations

from typing import NamedTuple

from service.access.keys import KEYS
from service.telemetry.slab import NUMBER_BYTES, Slab

# Names that no key can have. The caller had no key, and there are none; the key's slot has gone to another key.
NO_KEY, FORMER = "(no key)", "(former keys)"

_NUMBERS = 4
_NAME = 8  # places that the 64 bytes of a name take
_ACCOUNT = _NAME + _NUMBERS
WIDTH = 1 + (KEYS + 2) * _ACCOUNT  # of a row: how many slots may be in use, then two accounts and those of the slots


class Used(NamedTuple):
    """
    Args:
        queries: answered, those of a batch each.
        tokens: of texts, encoded or seen before.
        vectors_scored: distances computed.
        cpu_s: processor time of encode, search and payload.
    """

    queries: int
    tokens: int
    vectors_scored: int
    cpu_s: float


class Account:
    """The numbers of one key in the row of one worker."""

    __slots__ = ("_at", "_row")

    def __init__(self, row: memoryview[float], at: int) -> None:
        self._row, self._at = row, at

    def add(self, queries: float, tokens: float, vectors_scored: float, cpu_s: float) -> None:
        row, at = self._row, self._at
        row[at] += queries
        row[at + 1] += tokens
        row[at + 2] += vectors_scored
        row[at + 3] += cpu_s


class Ledger:
    """
    Args:
        slab: what is shared with the other workers, None: alone.
        worker: which row is ours.
    """

    def __init__(self, slab: Slab | None = None, worker: int = 0) -> None:
        self._slab = Slab(WIDTH) if slab is None else slab
        self._row = self._slab.row(worker)
        self.no_key = Account(self._row, _numbers_at(0))
        self._former = Account(self._row, _numbers_at(1))

    def account(self, slot: int, name: str) -> Account:
        """That of key `name`, which has this slot now."""
        row, at = self._row, _numbers_at(2 + slot)
        account = Account(row, at)
        if _name(row, at) != name:
            self._former.add(*row[at : at + _NUMBERS])
            for place in range(at, at + _NUMBERS):
                row[place] = 0.0
            places = row[at - _NAME : at].cast("B")
            places[:] = name.encode().ljust(len(places), b"\0")
        row[0] = max(row[0], slot + 1)
        return account

    def used(self) -> dict[str, Used]:
        """By the name of the key, NO_KEY and FORMER; without those that have used nothing."""
        sums: dict[str, list[float]] = {}
        for worker in range(self._slab.workers):
            row = self._slab.row(worker)
            for account in range(2 + int(row[0])):
                at = _numbers_at(account)
                numbers = row[at : at + _NUMBERS].tolist()
                if any(numbers):
                    name = (NO_KEY, FORMER)[account] if account < 2 else _name(row, at)
                    before = sums.get(name, [0.0] * _NUMBERS)
                    sums[name] = [one + other for one, other in zip(before, numbers, strict=True)]
        return {name: Used(int(sums[name][0]), int(sums[name][1]), int(sums[name][2]), sums[name][3]) for name in sums}


def _numbers_at(account: int) -> int:
    return 1 + account * _ACCOUNT + _NAME


def _name(row: memoryview[float], at: int) -> str:
    return bytes(row[at - _NAME : at].cast("B")).rstrip(b"\0").decode()


assert _NAME * NUMBER_BYTES >= 63  # the longest name of a key
