"""Requests, ready to send: every query's bytes are made once, before the clock starts.

Which query comes next follows a stated popularity. `uniform` is the hardest on caches; `zipf:s` gives the query of rank
r a weight r^-s, as query logs show with s near 1. The rank is the place in the query file. Filters are drawn
independently of the query, each with its share; a query that carries its own filter keeps it.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from loadtest.errors import WorkloadError
from loadtest.workload.plan import Plan
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


class Workload:
    """The requests of a plan. Request `i` is query `i // variants` with filter variant `i % variants`."""

    def __init__(self, plan: Plan, queries: list[Query], api_key: str | None = None) -> None:
        if not queries:
            raise WorkloadError("a workload needs at least one query")
        shares = [f.share for f in plan.filters]
        if any(share < 0 for share in shares) or sum(shares) > 1:
            raise WorkloadError(f"the filters' shares are {shares}: each must be ≥ 0 and their sum ≤ 1")
        self.plan = plan
        self.queries = queries
        self.address = Address.parse(plan.url)
        self.variants = 1 + len(plan.filters)
        self._variant_shares = np.cumsum([1 - sum(shares), *shares])
        self._popularity = popularity(plan.popularity, len(queries))
        self._key = api_key if api_key is not None else os.environ.get("PERWATT_KEY") or None
        if self._key and not (self._key.isascii() and self._key.isprintable()):
            raise WorkloadError("The key has characters that no key has; expected one as it was printed, pw_….")
        self._wires: list[bytes | None] = [None] * (len(queries) * self.variants)

    def body(self, request: int) -> bytes:
        """The JSON of request `i`."""
        query = self.queries[request // self.variants]
        body: dict[str, object] = {"k": self.plan.k}
        if query.text is not None:
            body["text"] = query.text
        elif query.id is not None:
            body["id"] = query.id
        elif self.plan.vector_encoding == "base64":
            body["vector"] = base64.b64encode(np.asarray(query.vector, "<f4").tobytes()).decode()
        else:
            body["vector"] = query.vector
        variant = request % self.variants
        wanted = self.plan.filters[variant - 1].filter if variant else None
        if (filter_ := query.filter or wanted) is not None:
            body["filter"] = filter_
        if self.plan.effort is not None:
            body["params"] = {"effort": self.plan.effort}
        if self.plan.mode is not None:
            body["mode"] = self.plan.mode
        if self.plan.fields is not None:
            body["fields"] = self.plan.fields
        return msgspec.json.encode(body)

    def wire(self, request: int) -> bytes:
        """Request `i` as it goes over the socket; made on first use and kept."""
        wire = self._wires[request]
        if wire is None:
            body = self.body(request)
            key = f"Authorization: Bearer {self._key}\r\n" if self._key else ""
            head = (
                f"POST {self.address.prefix}/v1/indexes/{self.plan.index}/search HTTP/1.1\r\n"
                f"Host: {self.address.authority}\r\n{key}Content-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            wire = self._wires[request] = head.encode("ascii") + body
        return wire

    def prebuild(self) -> None:
        for request in range(len(self._wires)):
            self.wire(request)

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

    def kind(self) -> str:
        kinds = {"text" if q.text is not None else "id" if q.id is not None else "vector" for q in self.queries}
        return "+".join(sorted(kinds))


class ReadyMade(Workload):
    """Whole requests as somebody else made them: what lets servers that are not perwatt be loaded alike."""

    def __init__(self, plan: Plan, wires: list[bytes]) -> None:
        super().__init__(plan, [Query(id=str(number)) for number in range(len(wires))])
        self._wires = [*wires]

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
