"""Requests, ready to send: every query's bytes are made once, before the clock starts.

Which query comes next follows a stated popularity. `uniform` is the hardest on caches; `zipf:s` gives the query of rank
r a weight r^-s, as query logs show with s near 1. The rank is the place in the query file. Filters are drawn
independently of the query, each with its share; a query that carries its own filter keeps it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from loadtest.errors import WorkloadError
from loadtest.workload.plan import Filter, Plan
from loadtest.workload.queries import Query

BLOCK = 4096


class Address(msgspec.Struct, frozen=True):
    """Where a URL points to, for a socket. TLS is refused: in one Python process it would be what is measured."""

    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Address:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise WorkloadError(
                f"cannot load {url!r}: expected http://host:port. TLS is not spoken here, because encryption in the "
                "generator would be part of the measurement; measure behind the TLS terminator"
            )
        return cls(parts.hostname, parts.port or 80, parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Prepared(msgspec.Struct, frozen=True):
    """One HTTP request before it is bytes. `path` starts with a slash; Host and Content-Length are added by `wire`."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def wire(self, address: Address) -> bytes:
        """As it goes over the socket."""
        length = () if self.method == "GET" and not self.body else (("Content-Length", str(len(self.body))),)
        lines = [f"{name}: {value}" for name, value in (("Host", address.authority), *self.headers, *length)]
        head = "\r\n".join([f"{self.method} {address.prefix}{self.path} HTTP/1.1", *lines])
        return head.encode("ascii") + b"\r\n\r\n" + self.body


class Preparing(Protocol):
    """Who makes a request of a query: a target (`loadtest/targets`)."""

    def prepare(
        self, query: Query, filter_: Filter | None, *, effort: int | None, exact: bool = False, k: int = 0
    ) -> Prepared: ...


class Workload:
    """The requests of a plan. Request `i` is query `i // variants` with filter variant `i % variants`."""

    def __init__(self, plan: Plan, queries: list[Query], target: Preparing) -> None:
        if not queries:
            raise WorkloadError("a workload needs at least one query")
        shares = [f.share for f in plan.filters]
        if any(share < 0 for share in shares) or sum(shares) > 1:
            raise WorkloadError(f"the filters' shares are {shares}: each must be ≥ 0 and their sum ≤ 1")
        self.plan = plan
        self.queries = queries
        self.target = target
        self.address = Address.parse(plan.url)
        self.variants = 1 + len(plan.filters)
        self._variant_shares = np.cumsum([1 - sum(shares), *shares])
        self._popularity = popularity(plan.popularity, len(queries))
        self._wires: list[bytes | None] = [None] * (len(queries) * self.variants)

    def query(self, request: int) -> Query:
        """The query of request `i`."""
        return self.queries[request // self.variants]

    def filter(self, request: int) -> Filter | None:
        """The filter of request `i`: the query's own, or that of its variant; None: it has none."""
        variant = request % self.variants
        return self.query(request).filter or (self.plan.filters[variant - 1].filter if variant else None)

    def prepared(self, request: int, effort: int | None = None, exact: bool = False, k: int = 0) -> Prepared:
        """Request `i`. effort None: the plan's."""
        effort = self.plan.effort if effort is None else effort
        return self.target.prepare(self.query(request), self.filter(request), effort=effort, exact=exact, k=k)

    def body(self, request: int) -> bytes:
        """What tells request `i` from others: its body, or its path where it has none."""
        prepared = self.prepared(request)
        return prepared.body or prepared.path.encode()

    def wire(self, request: int) -> bytes:
        """Request `i` as it goes over the socket; made on first use and kept."""
        wire = self._wires[request]
        if wire is None:
            wire = self._wires[request] = self.prepared(request).wire(self.address)
        return wire

    def prebuild(self, breathe: Callable[[], object] = lambda: None) -> None:
        """Makes all requests. `breathe` is called now and then: whoever is not heard of for seconds is taken for
        lost."""
        for request in range(len(self._wires)):
            self.wire(request)
            if request % 500 == 499:
                breathe()

    def picks(self, stream: tuple[int, ...] = (0,)) -> Iterator[int]:
        """An endless sequence of request numbers; the same for the same seed and stream."""
        seed = np.random.SeedSequence(self.plan.seed, spawn_key=(*stream, 1))
        random = np.random.default_rng(seed)
        while True:
            query = np.searchsorted(self._popularity, random.random(BLOCK), side="right")
            variant = np.searchsorted(self._variant_shares, random.random(BLOCK), side="right")
            np.minimum(variant, self.variants - 1, out=variant)  # shares may sum to 1 − ε
            yield from (query * self.variants + variant).tolist()

    def fingerprint(self) -> str:
        """sha256 of all bodies: two runs with the same value asked the same questions."""
        digest = hashlib.sha256()
        for request in range(len(self._wires)):
            digest.update(self.body(request))
        return f"sha256:{digest.hexdigest()}"

    def questions(self) -> str:
        """sha256 of the queries with their filters, however an engine is asked them; k and mode are not in it."""
        digest = hashlib.sha256()
        for request in range(len(self._wires)):
            query = msgspec.structs.replace(self.query(request), filter=self.filter(request), truth=None)
            digest.update(msgspec.json.encode(query))
        return f"sha256:{digest.hexdigest()}"

    def kind(self) -> str:
        return "+".join(sorted({kind for query in self.queries for kind in query.carries}))


class ReadyMade(Workload):
    """Whole requests as somebody else made them: what lets servers that are not perwatt be loaded alike."""

    def __init__(self, plan: Plan, wires: list[bytes]) -> None:
        super().__init__(plan, [Query(id=str(number)) for number in range(len(wires))], self)
        self._wires = [*wires]

    def prepare(
        self, query: Query, filter_: Filter | None, *, effort: int | None, exact: bool = False, k: int = 0
    ) -> Prepared:
        raise WorkloadError("requests that were made elsewhere are sent as they are")

    def body(self, request: int) -> bytes:
        return self.wire(request)

    @staticmethod
    def read(path: Path) -> list[bytes]:
        return [wire.encode() for wire in msgspec.json.decode(path.read_bytes(), type=list[str])]

    @staticmethod
    def write(wires: list[str], path: Path) -> None:
        path.write_bytes(msgspec.json.encode(wires))


def popularity(name: str, count: int) -> NDArray[np.float64]:
    """Cumulative weights of `count` queries by rank; the last one is exactly 1."""
    kind, _, parameter = name.partition(":")
    try:
        exponent = 0.0 if kind == "uniform" else float(parameter or "1")
    except ValueError:
        exponent = -1.0
    if kind not in ("uniform", "zipf") or not 0 <= exponent < math.inf:
        raise WorkloadError(f"unknown popularity {name!r}: expected uniform or zipf:<exponent ≥ 0>")
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    cumulative: NDArray[np.float64] = np.cumsum(weights) / weights.sum()
    cumulative[-1] = 1.0
    return cumulative
