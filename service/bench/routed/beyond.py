"""How much later than its slowest shard a router answers.

One request at a time, in turns: by vector through the router, by text through the router, and to all shards at once
from this program, with what the router would send them. The shards' answers are waited for together, on the same core
as behind the router, and the last one is the slowest shard's. What remains of the router's time is its own. Of a text,
the time of encoding it, as the router says it, is no part of that either. Medians, on the clock.
"""

from __future__ import annotations

import re
import selectors
import socket
import statistics
import time
from collections.abc import Sequence

import click
import msgspec

from service.bench import contenders
from service.bench.contenders import HttpCase
from service.bench.load import wire_of
from service.bench.routed.fleet import NAME, SEARCH, Served
from service.wire.parts import PartRequest

TURNS, WARM = 1000, 100
_LENGTH, _EMBED = re.compile(rb"content-length: (\d+)"), re.compile(rb"embed;dur=([\d.]+)")


class KeptLine:
    """A connection on which one request is answered after the other."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_s = 0.0

    def send(self, wire: bytes) -> None:
        self.sent_s = time.perf_counter()
        self.socket.sendall(wire)

    def read(self) -> tuple[float, bytes]:
        """Milliseconds since it was sent, and the head of the answer. Raises ClickException for any but a good one."""
        got = b""
        while True:
            head, complete, body = got.partition(b"\r\n\r\n")
            length = _LENGTH.search(head) if complete else None
            if length is not None and len(body) >= int(length[1]):
                break
            piece = self.socket.recv(1 << 17)
            if not piece:
                raise click.ClickException("the server closed its connection")
            got += piece
        took_s = time.perf_counter() - self.sent_s
        if not head.startswith(b"HTTP/1.1 200"):
            raise click.ClickException(f"a request was answered with {got[:300].decode()}")
        return took_s * 1e3, head


def measure(router: Served, shards: Sequence[Served], case: HttpCase, effort: int) -> dict[str, float]:
    """{"vector": …, "text": …, "slowest_shard": …} in milliseconds; of the forms, what comes on top of the shard."""
    vectors = [wire_of(router.port, SEARCH, body).encode() for body in contenders.packed_at(case, effort)]
    texts = [wire_of(router.port, SEARCH, body).encode() for body in contenders.texts_at(case, effort)]
    parts = [_part(vector, effort) for vector in case.vectors]
    path = f"/v1/indexes/{NAME}/part"
    through, lines = KeptLine(router.port), [KeptLine(shard.port) for shard in shards]
    took = dict[str, list[float]](vector=[], text=[], slowest_shard=[])
    try:
        for turn in range(WARM + TURNS):
            at = turn % len(parts)
            through.send(vectors[at])
            took["vector"].append(through.read()[0])
            wires = [wire_of(shard.port, path, parts[at]).encode() for shard in shards]
            took["slowest_shard"].append(slowest(lines, wires))
            through.send(texts[at % len(texts)])
            whole_ms, head = through.read()
            embed = _EMBED.search(head)
            assert embed is not None, head  # every search has the header
            took["text"].append(whole_ms - float(embed[1]))
    finally:
        for line in (through, *lines):
            line.socket.close()
    middle = {name: statistics.median(each[WARM:]) for name, each in took.items()}
    shard = middle["slowest_shard"]
    return {"vector": middle["vector"] - shard, "text": middle["text"] - shard, "slowest_shard": shard}


def slowest(lines: Sequence[KeptLine], wires: Sequence[bytes]) -> float:
    """Milliseconds that the shard took which took longest, all of them asked at once."""
    with selectors.DefaultSelector() as waiting:
        for line in lines:
            waiting.register(line.socket, selectors.EVENT_READ, line)
        for line, wire in zip(lines, wires, strict=True):
            line.send(wire)
        took_ms, left = 0.0, len(lines)
        while left:
            for key, _ in waiting.select():
                took_ms, left = max(took_ms, key.data.read()[0]), left - 1
    return took_ms


def _part(vector: list[float], effort: int) -> str:
    asked = PartRequest(k=contenders.K, vectors=contenders.packed(vector), payloads=contenders.K, effort=effort)
    return msgspec.json.encode(asked).decode()
