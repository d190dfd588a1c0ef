"""Logs for machines: one JSON object a line, and what a query said is in none of them.

A request is described by what an operator needs to follow it: its id, who asked, what, how it ended and how long it
took. Of a body there is its length and a hash under a key that is made at the start and kept nowhere: the same query
twice is seen to be the same, and nobody can find a query by hashing guesses.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import os
import secrets
import sys
from typing import Any

import msgspec

LOGGER = "perwatt.service"
ACCESS = "perwatt.access"
HASH_BYTES = 8

_key = secrets.token_bytes(32)
_access = logging.getLogger(ACCESS)


class Lines(logging.Formatter):
    """A record as one line of JSON; what is given as `extra={"about": {…}}` joins it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": os.getpid(),
            **getattr(record, "about", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def configure(form: str, access: bool) -> None:
    """form: text or json, to stderr. access: a line a request."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines() if form == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(LOGGER).setLevel(logging.INFO)
    _access.setLevel(logging.INFO if access else logging.WARNING)


def wanted() -> bool:
    return _access.isEnabledFor(logging.INFO)


def note(
    operation: str,
    status: int,
    seconds: float,
    request_id: str,
    key: str | None,
    body: bytes | None = None,
    **more: str,
) -> None:
    """A line about a request that was answered. key: the name of the key, not the key."""
    about: dict[str, Any] = {
        "operation": operation,
        "status": status,
        "ms": round(seconds * 1e3, 3),
        "request_id": request_id,
        "key": key,
        **more,
    }
    if body is not None:
        about["body_bytes"] = len(body)
        about["body_hash"] = hashlib.blake2b(body, digest_size=HASH_BYTES, key=_key).hexdigest()
    _access.info("%s %d", operation, status, extra={"about": about})
