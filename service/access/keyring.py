"""Keys in memory: finds the caller for the key of a request, and follows changes of the file.

The file is checked once a second and on SIGHUP. A change takes effect between two requests and drops none. A file that
cannot be used (half edited, damaged, missing) changes nothing and is reported in the log: locking everyone out and
letting everyone in would both be wrong.

Digests are compared in constant time, and also for an id that does not exist, so that the time of an answer does not
tell what was wrong.
"""

from __future__ import annotations

import datetime
import hmac
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from service.access import keys
from service.access.caller import Caller
from service.access.keys import Key, Secret
from service.access.ledger import Ledger
from service.access.quota import Quotas
from service.errors import KeysError
from service.wire.filters import of_key
from service.wire.problems import Problem

log = logging.getLogger("perwatt.service")

NOBODY = "0" * 64  # what an unknown id is compared with


class _Entry(NamedTuple):
    sha256: str
    expires_s: float  # time.time based; infinite when it never does
    caller: Caller


class Keyring:
    """The keys of one file. Raises KeysError when there is no usable file to begin with."""

    def __init__(self, path: Path, quotas: Quotas, ledger: Ledger | None = None) -> None:
        self.path = path
        self._quotas = quotas
        self._ledger = Ledger() if ledger is None else ledger
        self._seen = self._stamp()
        self._slots: dict[int, str] = {}  # who had them last
        self._by_id = self._load()

    def __len__(self) -> int:
        return len(self._by_id)

    def caller(self, token: str) -> Caller | None:
        """The caller who holds this key; None when it is unknown, wrong, expired or revoked."""
        name = keys.id_of(token)
        entry = self._by_id.get(name) if name is not None else None
        right = hmac.compare_digest(keys.digest(token), NOBODY if entry is None else entry.sha256)
        if entry is None or not right or time.time() >= entry.expires_s:
            return None
        return entry.caller

    def follow(self) -> bool:
        """Takes over the file if it has changed since it was last looked at; whether it did."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        return self.reload(stamp)

    def reload(self, stamp: tuple[int, int, int] | None = None) -> bool:
        self._seen = self._stamp() if stamp is None else stamp
        before = self._slots
        try:
            self._by_id = self._load()
        except KeysError as error:
            log.error("the keys stay as they were: %s", error)
            return False
        for slot, name in self._slots.items():
            if before.get(slot, name) != name:
                self._quotas.forgive(slot)
        log.info("%d keys are in force", len(self))
        return True

    def _load(self) -> dict[str, _Entry]:
        found = keys.read(self.path)
        entries = {
            secret.id: _Entry(secret.sha256, _expires_s(secret), self._caller(key))
            for key in found
            for secret in key.secrets
        }
        self._slots = {**self._slots, **{key.slot: key.name for key in found}}
        return entries

    def _caller(self, key: Key) -> Caller:
        try:
            of_key(key.filter)
        except Problem as problem:
            raise KeysError(f"The filter of key {key.name} cannot be imposed: {problem.detail}") from None
        indexes = None if key.indexes is None else frozenset(key.indexes)
        caller = Caller(key.scope, key.name, indexes, key.filter, account=self._ledger.account(key.slot, key.name))
        if key.rate_per_s is None:
            return caller
        quota = self._quotas.of(key.slot, key.rate_per_s, key.burst)
        return replace(caller, charge=quota.charge, quota=quota)

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = self.path.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_ino, found.st_mtime_ns, found.st_size)


def _expires_s(secret: Secret) -> float:
    if secret.expires_at is None:
        return float("inf")
    return secret.expires_at.astimezone(datetime.UTC).timestamp()
