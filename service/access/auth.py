"""Authentication and authorisation, decided from the head of a request alone.

This layer runs before the router and before the first byte of a body is read. A caller without a key can make the
server do nothing but compare a digest. (CVE-2026-45829, in a server of this very kind, decided after it had acted on
the body.) What a path requires is a column of the table of routes. Only this module reads that column, and no endpoint
checks again. A path that is in no table requires a key like any other, so that strangers cannot learn which paths
exist. For an index that a key may not use, the answer is the same whether the index exists or not.

Without keys everyone may search, so the port is then bound to the loopback only. That alone does not keep a web page
out: its author can point a host name at 127.0.0.1 and have a visitor's browser send requests (DNS rebinding). Such a
request carries that name as its Host, so on the loopback only localhost and addresses are accepted, which cannot be
rebound.

Some calls need more than a search does: they change the server, or cost as much as thousands of searches. Without keys
these are reserved for the person at this machine, whatever address is bound. The request must come from the loopback,
name this machine in Host, and show no sign of a proxy, because behind a proxy every caller looks like this machine.
With or without keys, such calls are not accepted from pages of another site.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from starlette.exceptions import HTTPException
from starlette.types import Scope

from index.disk.root import index_of
from service.access.caller import ANYONE, NOBODY, Caller
from service.access.hosts import name_in
from service.access.keyring import Keyring
from service.access.keys import RANK, Access
from service.settings import address_in, is_loopback
from service.wire.problems import Problem

# What a route asks for: a key of this scope; open: none, though one that is sent is looked at; own: any key that may
# search, which is then shown what is its own, and without keys the person at this machine.
RouteScope = Access | Literal["open", "own"]
OPEN: Literal["open"] = "open"
OWN: Literal["own"] = "own"
SEARCH = "/v1/indexes/{index}/search"
HOSTS = 64  # that are remembered: a server has a few names, and a caller could send any number
UNKNOWN = "none"  # the operation of a path or method that no route has

Headers = Sequence[tuple[bytes, bytes]]

_PARAMETER = re.compile(r"\{(\w+)(:rest)?\}")
_FORWARDED = re.compile(rb"forwarded|via|x-real-ip|x-forwarded(-.*)?", re.DOTALL)
_WITHOUT_KEYS = (
    "Without keys, this call is for the machine of the server only: ask http://127.0.0.1 there, not through a proxy, "
    "or start the server with --keys FILE and send a key that may."
)


class RouteEntry(NamedTuple):
    """One route, as auth sees it.

    Args:
        path: as the router reads it.
        operation: its name in logs and metrics.
    """

    method: str
    path: str
    scope: RouteScope
    operation: str


class AccessVerdict(NamedTuple):
    """
    Args:
        operation: what was asked for, UNKNOWN where no route has that path and method.
        caller: as far as it is known, whether they may or not.
        refusal: why they may not, None where they may.
    """

    operation: str
    caller: Caller
    refusal: Problem | HTTPException | None


class _Path(NamedTuple):
    """The methods of one path. name: the parameter that holds an index, None where no parameter does."""

    entries: dict[str, RouteEntry]
    pattern: re.Pattern[str]
    name: str | None


class Auth:
    def __init__(
        self,
        entries: Iterable[RouteEntry],
        keyring: Keyring | None,
        names: Iterable[str] = (),
        own_names_only: bool = False,
    ) -> None:
        """
        Args:
            entries: every route that there is.
            keyring: None where no key is asked for.
            names: of this machine, besides localhost and addresses. Without keys only.
            own_names_only: whether every request without keys has to name this machine, as it must on the loopback.
        """
        self.keyring = keyring
        self._names = frozenset(name_in(name) or name for name in names)
        self._own_names_only = own_names_only
        self._is_own = lru_cache(HOSTS)(self._names_here)  # parsing an address costs a tenth of a search
        self._plain: dict[str, _Path] = {}
        self._patterns: dict[str, _Path] = {}
        for entry in entries:
            parameters = [each for each, _ in _PARAMETER.findall(entry.path)]
            name = next((each for each in parameters if each in ("index", "alias")), None)
            known = self._patterns if parameters else self._plain
            path = known.setdefault(entry.path, _Path({}, _pattern(entry.path), name))
            path.entries[entry.method] = entry
            if entry.method == "GET":
                path.entries["HEAD"] = entry

    def judge(self, scope: Scope) -> AccessVerdict:
        """Whether the request of this ASGI scope may come in."""
        known, index = self._find(scope["path"], scope["method"])
        if known is None:  # it is not left to the router, whose patterns might know it
            return self._judge(UNKNOWN, None, None, scope, HTTPException(404))
        entry = known.entries.get(scope["method"])
        if entry is None:  # the router says which methods there are
            open_path = all(each.scope == OPEN for each in known.entries.values())
            return self._judge(UNKNOWN, OPEN if open_path else None, index, scope)
        return self._judge(entry.operation, entry.scope, index, scope)

    def searcher(self, index: str, headers: Headers) -> Caller | None:
        """`judge` for a search of `index`, whose path was parsed already; None: it is not allowed."""
        if self.keyring is None:
            return ANYONE if not self._own_names_only or all(map(self._is_own, _all(headers, b"host"))) else None
        entry = self._patterns[SEARCH].entries["POST"]
        verdict = self._judge(entry.operation, entry.scope, index, {"headers": headers}, take=False)
        if verdict.refusal is not None:
            return None  # the general way judges it once more, and that counts
        if verdict.caller.quota is not None:
            try:
                verdict.caller.quota.take()
            except Problem:
                return None
        return verdict.caller

    def _judge(
        self,
        operation: str,
        needed: RouteScope | None,
        index: str | None,
        scope: Scope,
        unknown: HTTPException | None = None,
        *,
        take: bool = True,
    ) -> AccessVerdict:
        """needed: the scope; None where any key will do. take: whether the request counts against the key's quota."""
        headers: Headers = scope["headers"]
        caller = NOBODY
        try:
            if self.keyring is None:
                caller = ANYONE
                if self._own_names_only:
                    self._require_own_name(headers)
            else:
                caller = _holder(self.keyring, headers, needed != OPEN)
                if take and caller.quota is not None and needed != OPEN:
                    caller.quota.take()
            if unknown is not None:
                raise unknown
            if needed is not None and needed != OPEN:
                reserved = needed == OWN or RANK[needed] > RANK["search"]
                if caller is not ANYONE:
                    _require_key(caller, "search" if needed == OWN else needed, index)
                elif reserved:
                    self._require_this_machine(scope)
                if reserved:
                    _require_own_page(headers)
        except (Problem, HTTPException) as refusal:
            return AccessVerdict(operation, caller, refusal)
        return AccessVerdict(operation, caller, None)

    def _find(self, path: str, method: str) -> tuple[_Path | None, str | None]:
        """What the table says of a path, and the index in it. Of several patterns that a path fits it is the one that
        takes the method, as for the router."""
        plain = self._plain.get(path)
        if plain is not None:
            return plain, None
        first: tuple[_Path | None, str | None] = None, None
        for known in self._patterns.values():
            found = known.pattern.fullmatch(path)
            if found:
                here = known, None if known.name is None else found[known.name]
                if method in known.entries:
                    return here
                first = first if first[0] else here
        return first

    def _require_own_name(self, headers: Headers) -> None:
        """On the loopback, refuses a Host that is not this machine's. Without a Host it is no browser, and passes."""
        if not all(map(self._is_own, _all(headers, b"host"))):
            raise Problem(
                "forbidden",
                "This server is for this machine only, and a Host of another name is how a web page would get in; "
                "ask localhost or 127.0.0.1, or start it with --allow-host NAME.",
            )

    def _names_here(self, host: bytes) -> bool:
        """Whether a Host is of this machine, or an address, which no web page can make its own."""
        name = name_in(host)
        return name is not None and (name in self._names or name == "localhost" or address_in(name) is not None)

    def _require_this_machine(self, scope: Scope) -> None:
        headers: Headers = scope["headers"]
        signs = [f"has the header {name.decode('latin-1')}" for name, _ in headers if _FORWARDED.fullmatch(name)]
        if scope.get("http_version") == "1.0":  # as nginx does where nothing else is configured
            signs.append("speaks HTTP/1.0")
        if signs:
            raise Problem("forbidden", f"This request seems to come through a proxy: it {signs[0]}. {_WITHOUT_KEYS}")
        peer = scope.get("client")
        if peer is None or not is_loopback(peer[0]):
            raise Problem("forbidden", f"This request comes from another machine. {_WITHOUT_KEYS}")
        hosts = [name_in(host) or "" for host in _all(headers, b"host")]
        if not hosts or not all(name in self._names or is_loopback(name) for name in hosts):
            raise Problem(
                "forbidden",
                "The Host of this request is no known name of this machine, which is how a web page would get in; "
                f"--allow-host NAME makes one known. {_WITHOUT_KEYS}",
            )


def _holder(keyring: Keyring, headers: Headers, needed: bool) -> Caller:
    """The caller of this key; NOBODY where none was sent and none is needed."""
    given = _all(headers, b"authorization")
    if not given and not needed:
        return NOBODY
    if len(given) != 1:
        raise _unauthenticated(f"Send one key, as 'authorization: Bearer pw_…'; this request has {len(given)}.")
    kind, _, token = given[0].decode("latin-1").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise _unauthenticated("The key comes as 'authorization: Bearer pw_…'; this header is something else.")
    caller = keyring.caller(token.strip())
    if caller is None:
        raise _unauthenticated("This key is not known here, or no longer.")
    return caller


def _require_key(caller: Caller, needed: Access, index: str | None) -> None:
    if caller.scope != needed and RANK[caller.scope] <= RANK[needed]:
        raise Problem("forbidden", f"This call needs a key of scope {needed}, this one has {caller.scope}.")
    if index is not None and not caller.may_see(index_of(index) or index):
        raise Problem("forbidden", "This key is not for that index.")


def _require_own_page(headers: Headers) -> None:
    """Refuses requests from pages of another site; a browser says which page they come from."""
    hosts = _all(headers, b"host")
    for origin in _all(headers, b"origin"):
        if origin.partition(b"://")[2] not in hosts:
            raise Problem("forbidden", f"This call is not taken from pages of {origin.decode('latin-1')}.")


def _all(headers: Headers, wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name == wanted]


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
