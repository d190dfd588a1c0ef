"""Logs: text for people or one JSON object a line for machines. They never hold the content of a query.

A request is described by what an operator needs to follow it: its id, its key, its route, how it ended and how long it
took. Of a body there is its length and a hash under a key that is made at the start and never stored. So two equal
queries can be recognised, but no query can be found by hashing guesses.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import os
import secrets
import sys
import urllib.parse
from typing import Any

import msgspec

LOGGER = "perwatt.service"
ACCESS = "perwatt.access"
HASH_BYTES = 8
PATH_CHARACTERS = 256  # of a path that are told: who asks decides how long it is

_SAID = frozenset({"method", "path", "status"})  # of a request, by the message
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


class Text(logging.Formatter):
    """A record as a person reads it; what is given as `extra={"about": {…}}` follows as name=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        about: dict[str, Any] = getattr(record, "about", {})
        more = (f" {name}={'-' if value is None else value}" for name, value in about.items() if name not in _SAID)
        return super().formatMessage(record) + "".join(more)


def configure(form: str, access: bool) -> None:
    """
    Args:
        form: text or json, to stderr.
        access: a line a request.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines() if form == "json" else Text())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(LOGGER).setLevel(logging.INFO)
    _access.setLevel(logging.INFO if access else logging.WARNING)


def wanted() -> bool:
    return _access.isEnabledFor(logging.INFO)


def note(
    operation: str,
    status: int,
    seconds: float,
    *,
    method: str,
    path: str,
    answer_bytes: int,
    request_id: str,
    key: str | None,
    body: bytes | None = None,
) -> None:
    """A line about a request that was answered, or refused.

    Args:
        path: without its query string.
        answer_bytes: of the body that was sent.
        key: the name of the key, not the key.
        body: that came, where it is at hand.
    """
    told = urllib.parse.quote(path[:PATH_CHARACTERS]) + ("…" if len(path) > PATH_CHARACTERS else "")
    about: dict[str, Any] = {
        "method": method,
        "path": told,
        "status": status,
        "ms": round(seconds * 1e3, 3),
        "answer_bytes": answer_bytes,
        "request_id": request_id,
        "key": key,
        "operation": operation,
    }
    if body is not None:
        about["body_bytes"] = len(body)
        about["body_hash"] = hashlib.blake2b(body, digest_size=HASH_BYTES, key=_key).hexdigest()
    _access.info("%s %s %d", method, told, status, extra={"about": about})
