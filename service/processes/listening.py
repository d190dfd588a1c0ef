"""The port. It is bound before anything is loaded, so that a port in use is reported at once."""

from __future__ import annotations

import socket

from service.errors import SettingsError
from service.settings import Settings


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
        raise SettingsError(
            f"Cannot listen on {host} port {port} ({error.strerror}); choose another with --host and --port."
        ) from None
    return listening


def address_of(settings: Settings, listening: socket.socket) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listening.getsockname()[1]}"
