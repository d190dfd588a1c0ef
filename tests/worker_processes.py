"""A service of several workers, watched from outside."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from patience import patient
from serving import Server, serving

SEARCH = "/v1/indexes/docs/search"
QUERY = {"id": "a01"}
LONG_S = patient(60)


@contextmanager
def workers(root: Path, tmp_path: Path, *arguments: str, count: int = 2) -> Iterator[Server]:
    with serving(root, tmp_path, "--workers", str(count), "--drain", "0.2", *arguments) as server:
        yield server


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def eventually(what: Any) -> None:
    limit_s = time.monotonic() + LONG_S
    while not what():
        assert time.monotonic() < limit_s
        time.sleep(0.05)


def sockets_of(pid: int, port: int) -> int:
    """Connections of the process at `port` that it has not closed."""
    own = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found = re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink()))
        except FileNotFoundError:
            continue
        if found:
            own.add(found[1])
    count = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        count += fields[3] in ("01", "08") and int(fields[1].split(":")[1], 16) == port and fields[9] in own
    return count


def clients(server: Server, count: int, stack: ExitStack) -> list[httpx.Client]:
    """With a connection each, open."""
    made = [stack.enter_context(server.client()) for _ in range(count)]
    for each in made:
        assert each.post(SEARCH, json=QUERY).status_code == 200
    return made


def asking(server: Server, path: str = "/livez") -> socket.socket:
    """A new connection that has asked for `path`."""
    made = socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), LONG_S)
    made.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
    return made


def answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """All that comes until the connection is ended, which it is at once."""
    with connection:
        had = b""
        while got := connection.recv(65536):
            had += got
    head, _, body = had.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:]), body
