"""The outermost layer: who asks, and whether they may, decided from the head of a request alone.

It runs before the router and before the first byte of a body is read, so that nobody without a key can make the server
do anything but compare a digest. (CVE-2026-45829, a server of this very kind, decided after it had acted on the body.)
What a path needs is read from the table of operations, and a path that is in no table needs a key like any other:
without one, nobody learns which paths exist. Of an index that a key may not use, the answer is the same whether it
exists or not.

Without keys everyone may search, which is why the port is then bound to the loopback only. That alone does not keep a
web page out: its author can point a name of their own at 127.0.0.1 and have a visitor's browser ask (DNS rebinding).
Such a request carries that name as its Host, so on the loopback only names that cannot be rebound are taken:
localhost and addresses.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from msgspec import Struct
from starlette.exceptions import HTTPException

from service.caller import ANYONE, Caller
from service.keyring import Keyring
from service.keys import RANK
from service.problems import Problem

GENERATION = re.compile(r"(?P<name>.+)-\d{8}T\d{6}Z-[0-9a-f]{4}")
OPEN = "open"  # no key is asked for; one that is sent is still looked at
NOBODY = Caller(scope=OPEN)

_PARAMETER = re.compile(r"\{(\w+)(:rest)?\}")


class Need(Struct, frozen=True):
    """What one path takes. access: open, metrics, search or admin, by method. index: names the group of `pattern` that
    holds an index, None where there is none."""

    access: dict[str, str]
    pattern: re.Pattern[str]
    index: str | None


class Gate:
    """operations: (method, path, access) of every route. hosts: names besides localhost and addresses that a request
    may carry as its Host when there are no keys; None: any."""

    def __init__(
        self, operations: Iterable[tuple[str, str, str]], keyring: Keyring | None, hosts: frozenset[str] | None
    ) -> None:
        self.keyring = keyring
        self._hosts = hosts
        self._plain: dict[str, Need] = {}
        self._patterns: dict[str, Need] = {}
        for method, path, access in operations:
            parameters = [name for name, _ in _PARAMETER.findall(path)]
            index = next((name for name in parameters if name in ("index", "alias")), None)
            known = self._patterns if parameters else self._plain
            need = known.setdefault(path, Need({}, _pattern(path), index))
            need.access[method] = access
            if method == "GET":
                need.access["HEAD"] = access

    def check(self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """Who asks; raises Problem unauthenticated, forbidden or quota-exceeded."""
        authorization = host = None
        for name, value in headers:
            if name == b"authorization":
                authorization = value
            elif name == b"host":
                host = value
        if self.keyring is None:
            if self._hosts is not None and host is not None:
                _require_own_name(host, self._hosts)
            return ANYONE
        need, index = self._need(path)
        access = need.access.get(method) if need is not None else None
        if authorization is None:
            if access == OPEN:
                return NOBODY
            raise _unauthenticated("Send a key: 'authorization: Bearer pw_…'.")
        caller = self._caller(self.keyring, authorization)
        if caller.quota is not None and access != OPEN:
            caller.quota.take()
        if need is None:  # what the table does not know is not left to the router, whose patterns might
            raise HTTPException(404)
        if access is not None and access != OPEN:
            _require(caller, access, index)
        return caller

    def index_call(self, headers: Iterable[tuple[bytes, bytes]], index: str) -> Caller:
        """`check` of a search of `index`, for whoever has taken the path apart already."""
        if self.keyring is None and self._hosts is None:
            return ANYONE
        return self.check("POST", f"/v1/indexes/{index}/search", headers)

    def _need(self, path: str) -> tuple[Need | None, str | None]:
        need = self._plain.get(path)
        if need is not None:
            return need, None
        for need in self._patterns.values():
            found = need.pattern.fullmatch(path)
            if found:
                return need, None if need.index is None else found[need.index]
        return None, None

    def _caller(self, keyring: Keyring, authorization: bytes) -> Caller:
        kind, _, token = authorization.decode("latin-1").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise _unauthenticated("The key comes as 'authorization: Bearer pw_…'; this header is something else.")
        caller = keyring.caller(token.strip())
        if caller is None:
            raise _unauthenticated("This key is not known here, or no longer.")
        return caller


def name_of(index: str) -> str:
    """The name that a generation id begins with; of a name, the name."""
    generation = GENERATION.fullmatch(index)
    return generation["name"] if generation else index


def _require(caller: Caller, access: str, index: str | None) -> None:
    if caller.scope != access and RANK[caller.scope] <= RANK[access]:
        raise Problem("forbidden", f"This call needs a key of scope {access}, this one has {caller.scope}.")
    if index is not None and not caller.may_see(name_of(index)):
        raise Problem("forbidden", "This key is not for that index.")


def _require_own_name(host: bytes, known: frozenset[str]) -> None:
    name = host.decode("latin-1").strip().lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    if name == "localhost" or name in known:
        return
    try:
        ipaddress.ip_address(name)
    except ValueError:
        raise Problem(
            "forbidden",
            "This server is for this machine only, and a Host of another name is how a web page would get in; "
            "ask localhost or 127.0.0.1, or start it with --allow-host NAME.",
        ) from None


def _unauthenticated(detail: str) -> Problem:
    return Problem("unauthenticated", detail, headers={"www-authenticate": 'Bearer realm="perwatt"'})


def _pattern(path: str) -> re.Pattern[str]:
    """A path of the table as a pattern; the last `{id}` of a document takes the rest of the path."""
    parts: list[str] = []
    at = 0
    for found in _PARAMETER.finditer(path):
        parts += [re.escape(path[at : found.start()]), f"(?P<{found[1]}>{'.*' if found[2] else '[^/]+'})"]
        at = found.end()
    return re.compile("".join([*parts, re.escape(path[at:])]), re.DOTALL)
