"""The value of a Host header: which name or address it has, and whether it has one at all."""

from __future__ import annotations

import ipaddress
import re

LONGEST_PORT = 5

_HOST = re.compile(r"(?P<name>[A-Za-z0-9_.~-]+|\[(?P<address>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]*))?")


def name_in(host: bytes | str) -> str | None:
    """The name or address in lower case, without brackets and port.

    None for anything but a name, an IPv4 address or an IPv6 address in brackets, with or without a port.
    """
    text = host if isinstance(host, str) else host.decode("latin-1")
    found = _HOST.fullmatch(text.strip())
    if found is None:
        return None
    port = found["port"] or ""
    if len(port) > LONGEST_PORT or int(port or 0) > 0xFFFF:
        return None
    address = found["address"]
    if address is None:
        return found["name"].lower()
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return None
    return address.lower()
