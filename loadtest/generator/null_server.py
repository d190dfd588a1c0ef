"""A server that does nothing, as fast as Python can: the ceiling of the generator is measured against it.

One epoll loop, one fixed response, as many bytes long as the real answers are, since receiving them is work too. It
reads a request only far enough to know where it ends. The loop also serves the reference server of the self-test, which
answers later. `python -m loadtest.generator.null_server [BYTES [HOST PORT]]` prints its
port and serves until its standard input is closed, so it ends with whoever started it.
"""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Callable

BODY = b'{"index":"null","generation":"null","hits":[],"took_ms":0.0}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


def response(body_bytes: int = 0) -> bytes:
    """The whole response; the body is padded with blanks, which JSON allows, to at least so many bytes."""
    body = BODY.ljust(body_bytes)
    return HEAD % len(body) + body


RESPONSE = response()


def request_end(data: bytes) -> int:
    """Length of the complete request at the start of `data`, 0 while incomplete."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return 0
    at = data.find(b"Content-Length: ", 0, head)
    if at < 0:
        return head + 4
    whole = head + 4 + int(data[at + 16 : data.find(b"\r", at)])
    return whole if len(data) >= whole else 0


def serve(
    listener: socket.socket,
    stop_fd: int,
    take: Callable[[socket.socket], object],
    wait: Callable[[], float] | None = None,
) -> None:
    """Reads requests until `stop_fd` reads end of file.

    Args:
        take: answers the client of a complete request, now or later; a client that is gone has a `fileno` of −1.
        wait: called before each look at the sockets; gives the seconds that the look may take, for whoever has other
            work to do. None: as long as nothing comes.
    """
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN)
    poll.register(stop_fd, select.EPOLLIN)
    clients: dict[int, socket.socket] = {}
    partial: dict[int, bytes] = {}
    while True:
        for fd, _ in poll.poll(None if wait is None else wait()):
            client = clients.get(fd)
            if client is not None:
                try:
                    data = client.recv(65_536)
                except OSError:
                    data = b""
                if not data:
                    poll.unregister(fd)
                    partial.pop(fd, None)
                    clients.pop(fd).close()
                    continue
                if fd in partial:
                    data = partial.pop(fd) + data
                if request_end(data):
                    take(client)
                else:
                    partial[fd] = data
            elif fd == stop_fd:
                return
            else:
                while True:
                    try:
                        client, _ = listener.accept()
                    except BlockingIOError:
                        break
                    client.setblocking(False)
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    clients[client.fileno()] = client
                    poll.register(client.fileno(), select.EPOLLIN)


def run(
    take: Callable[[socket.socket], object],
    wait: Callable[[], float] | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> None:
    """Listens on a port, a free one where it is 0, prints it, and serves until standard input is closed."""
    listener = socket.create_server((host, port), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    serve(listener, sys.stdin.fileno(), take, wait)


def main() -> None:
    size, host, port = [*sys.argv[1:], *("0", "127.0.0.1", "0")[len(sys.argv) - 1 :]]
    answer = response(int(size))
    run(lambda client: client.send(answer), host=host, port=int(port))


if __name__ == "__main__":
    main()
