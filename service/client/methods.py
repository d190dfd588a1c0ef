"""What the two clients share apart from the sending: their options, and calls as methods."""

from __future__ import annotations

import functools
import inspect
import ssl
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from service.client import calls


def http_options(url: str, key: str | None, timeout_s: float, more: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `httpx.Client` and `httpx.AsyncClient`; raises ValueError for an unusable url or key."""
    headers = {"content-type": "application/json"}
    if key is not None:
        headers["authorization"] = calls.authorization(key)
    address = calls.address(url)
    if address.startswith("http:") and not more.get("follow_redirects"):
        more = {"verify": _no_certificates(), **more}
    return {"base_url": address, "timeout": timeout_s, "headers": headers, **more}


@functools.cache
def _no_certificates() -> ssl.SSLContext:
    """Nobody shows one over plain HTTP, and reading this machine's takes 20 ms a client. It trusts nobody."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def described(method: Callable[..., Any], call: Callable[..., Any]) -> None:
    """Gives `method` the name, the documentation and, after `self`, the parameters of `call`."""
    update_wrapper(method, call)
    del method.__wrapped__  # type: ignore[attr-defined]  # else `inspect` would take its first parameter for self
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    parameters = [own, *inspect.signature(call).parameters.values()]
    method.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
