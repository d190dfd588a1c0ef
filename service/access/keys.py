"""Keys on disk: who may make which calls, without anything that could be used as a key.

A key is 256 random bits with a readable prefix, `pw_<id>_<secret>`. The file stores the SHA-256 of the whole. Slow
hashes protect passwords, which can be guessed; nobody can try 2**256 secrets, so a fast hash is safe and requests stay
cheap. The id finds the entry to compare with, and may be shown to people and in logs.

A key has at most two valid secrets at a time: `rotate` adds the second, clients move over, and the first is revoked or
expires. What the key allows belongs to the key and not to a secret, so a rotation changes nothing else.

The file is JSON with a format number. It is written whole under a lock, renamed into place, and readable by its owner
only. A file that others can write to is refused, because they could then let themselves in.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from embed.vectors.durable import write_atomically
from service.errors import KeysError

FORMAT = 1
LIVE_SECRETS = 2
KEYS = 4096  # in a file: each has a place in the table of quotas that the workers share
ID_BYTES = 6
SECRET_BYTES = 32
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
INDEX = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

DIGEST = "^[0-9a-f]{64}$"

Access = Literal["metrics", "search", "write", "admin"]
# A scope may do what those below it may; metrics and search are beside each other.
RANK: dict[str, int] = {"metrics": 1, "search": 1, "write": 2, "admin": 3}


class Secret(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """
    Args:
        id: the readable part.
        sha256: hex, of the whole key as it is sent.
    """

    id: str
    sha256: Annotated[str, Meta(pattern=DIGEST)]
    created_at: datetime.datetime
    expires_at: datetime.datetime | None = None

    def lives(self, now: datetime.datetime) -> bool:
        return self.expires_at is None or now < self.expires_at


class Key(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """
    Args:
        slot: its place in the table of quotas.
        scope: what it may call.
        indexes: the only ones it may use, None: all.
        filter: in the language of a search's filter; holds for everything it asks.
        rate_per_s, burst: its quota, None: unlimited.
    """

    name: str
    slot: Annotated[int, Meta(ge=0, lt=KEYS)]
    scope: Access
    secrets: list[Secret]
    indexes: list[str] | None = None
    filter: dict[str, Any] | None = None
    rate_per_s: Annotated[float, Meta(gt=0)] | None = None
    burst: Annotated[int, Meta(ge=1)] | None = None


class _File(Struct, forbid_unknown_fields=True):
    format: int
    keys: list[Key]


_decode = msgspec.json.Decoder(_File).decode


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def id_of(token: str) -> str | None:
    """The readable part of a key, None for what does not look like one."""
    prefix, _, rest = token.partition("_")
    name, _, secret = rest.partition("_")
    return name if prefix == "pw" and name and secret else None


def read(path: Path) -> list[Key]:
    """The keys of a file; raises KeysError that says what is wrong with it and repeats nothing of it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read()
    except OSError as error:
        raise KeysError(
            f"{path} cannot be read ({error.strerror}); make the first key with `perwatt keys create NAME`."
        ) from None
    if stat.S_IMODE(mode) & (stat.S_IWGRP | stat.S_IWOTH):
        raise KeysError(
            f"{path} may be written by others than its owner, who could give themselves a key: chmod 600 it."
        )
    try:
        found = _decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        reason = str(error).replace(f"`str` matching regex {DIGEST!r}", "the 64 hexadecimal digits of a SHA-256")
        raise KeysError(f"{path} is not a file of keys: {reason}. Restore it, or make the keys anew.") from None
    if found.format != FORMAT:
        raise KeysError(f"{path} has format {found.format}, this version reads {FORMAT}; update perwatt.")
    _check(path, found.keys)
    return found.keys


@contextmanager
def changing(path: Path) -> Iterator[list[Key]]:
    """The keys of a file, to be changed in place; written when the block ends without an error. One at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(path.name + ".lock")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        keys = read(path) if path.exists() else []
        yield keys
        _check(path, keys)
        _write(path, keys)


def add(keys: list[Key], key: Key, expires_at: datetime.datetime | None) -> str:
    """Adds `key` (its slot is chosen here) with a first secret; returns the key itself, which is stored nowhere."""
    if not NAME.fullmatch(key.name):
        raise KeysError(
            f"{key.name!r} is no name for a key; use lower-case letters, digits, dots, _ and -, at most 63."
        )
    if any(other.name == key.name for other in keys):
        raise KeysError(f"There is a key {key.name!r} already; give it a second secret with `perwatt keys rotate`.")
    if len(keys) >= KEYS:
        raise KeysError(f"A file holds {KEYS} keys at most; revoke some.")
    taken = {other.slot for other in keys}
    key.slot = next(slot for slot in range(KEYS) if slot not in taken)
    keys.append(key)
    return add_secret(keys, key, expires_at)


def add_secret(keys: list[Key], key: Key, expires_at: datetime.datetime | None) -> str:
    """Adds a secret and drops expired ones. Raises KeysError where two secrets are still valid."""
    now = datetime.datetime.now(datetime.UTC)
    key.secrets = [secret for secret in key.secrets if secret.lives(now)]
    if len(key.secrets) >= LIVE_SECRETS:
        ids = " and ".join(secret.id for secret in key.secrets)
        raise KeysError(
            f"Key {key.name!r} has two live secrets ({ids}); revoke the old one first: perwatt keys revoke ID."
        )
    taken = {secret.id for other in keys for secret in other.secrets}
    while (name := secrets.token_hex(ID_BYTES)) in taken:
        pass
    token = f"pw_{name}_{secrets.token_urlsafe(SECRET_BYTES)}"
    key.secrets.append(Secret(name, digest(token), now, expires_at))
    return token


def find(keys: list[Key], name: str) -> Key:
    for key in keys:
        if key.name == name:
            return key
    raise KeysError(f"There is no key {name!r}; there are {', '.join(key.name for key in keys) or 'none'}.")


def _check(path: Path, keys: list[Key]) -> None:
    """What a type cannot say: names, slots and ids are unique, indexes are names, two secrets live at most."""
    now = datetime.datetime.now(datetime.UTC)
    for what, all_of in (
        ("name", [key.name for key in keys]),
        ("slot", [str(key.slot) for key in keys]),
        ("id", [secret.id for key in keys for secret in key.secrets]),
    ):
        if len(set(all_of)) != len(all_of):
            raise KeysError(f"{path} has two keys with the same {what}.")
    for key in keys:
        if not NAME.fullmatch(key.name) or not all(INDEX.fullmatch(name) for name in key.indexes or ()):
            raise KeysError(f"{path} has a key whose name, or the name of one of its indexes, is none.")
        for secret in key.secrets:
            for time in (secret.created_at, secret.expires_at):
                if time is not None and time.tzinfo is None:
                    raise KeysError(
                        f"{path}: key {key.name} has a time without a zone; write it like 2026-01-31T00:00:00Z."
                    )
        if sum(secret.lives(now) for secret in key.secrets) > LIVE_SECRETS:
            raise KeysError(f"{path}: key {key.name} has more than two live secrets.")


def _write(path: Path, keys: list[Key]) -> None:
    content = msgspec.json.format(msgspec.json.encode(_File(FORMAT, keys)), indent=1) + b"\n"
    write_atomically(path, content, mode=0o600)
