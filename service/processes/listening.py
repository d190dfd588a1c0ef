"""The port. It is bound before anything is loaded, so that a port in use is reported at once."""

from __future__ import annotations

import socket

from service.errors import SettingsError
from service.settings import Settings

BACKLOG = 2048  # connections that wait in the kernel's line


def bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet; port 0 takes a free one.

    The protocol is named because asyncio turns Nagle's algorithm off only where it is: an answer of two writes would
    else wait 40 ms for the caller's delayed acknowledgement.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise _refused(host, port, error) from None
    return listening


def listen(listening: socket.socket) -> None:
    """Takes connections from now on. Raises SettingsError where another server does so by now: two may be bound to a
    port while neither listens, and both may load for as long as an index takes."""
    try:
        listening.listen(BACKLOG)
    except OSError as error:
        host, port = listening.getsockname()[:2]
        raise _refused(host, port, error) from None


def _refused(host: str, port: int, error: OSError) -> SettingsError:
    return SettingsError(
        f"Cannot listen on {host} port {port} ({error.strerror}); choose another with --host and --port."
    )


def address_of(settings: Settings, listening: socket.socket) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listening.getsockname()[1]}"
