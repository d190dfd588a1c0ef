"""A secret that all generators of a run share: strangers cannot join it, and cannot read along.

Locust's master and workers talk over ZeroMQ sockets that anyone can join. ZeroMQ has a cipher of its own, CURVE: all
that is sent is encrypted, and nobody comes in who does not know the server's public key. Here that pair of keys is made
of the secret. So whoever has the secret knows the public key, which is never sent; and a master proves by it that it
has the secret, too.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from typing import Any

from loadtest.errors import WorkloadError

TOKEN = "PERWATT_WORKER_TOKEN"
SHORTEST = 16  # characters
_SALT = b"perwatt loadtest worker"


def token(needed: bool = False) -> str | None:
    """What the environment has. Raises WorkloadError for one that could be guessed, and where it is `needed` and not
    there."""
    found = os.environ.get(TOKEN) or None
    if found is not None and len(found) < SHORTEST:
        raise WorkloadError(f"{TOKEN} has {len(found)} characters: expected at least {SHORTEST} that nobody can guess")
    if found is None and needed:
        raise WorkloadError(
            f"{TOKEN} is not set: generators of other hosts join with a secret. Make one, such as `openssl rand -hex "
            "16`, and export it on each of them, and where the run is started"
        )
    return found


@cache
def _keys(secret: str) -> tuple[bytes, bytes]:
    """Public and private, as ZeroMQ writes them. Made slowly, for those who would try secrets on what they heard."""
    import zmq
    from zmq.utils import z85

    private = z85.encode(hashlib.scrypt(secret.encode(), salt=_SALT, n=1 << 14, r=8, p=1, dklen=32))
    return zmq.curve_public(private), private


def protect() -> None:
    """Has all sockets that Locust opens in this process from now on use the secret of the environment; without one they
    stay as they are. Raises WorkloadError where ZeroMQ was built without the cipher."""
    secret = token()
    if secret is None:
        return
    import zmq
    from locust.rpc import zmqrpc

    if not zmq.has("curve"):
        raise WorkloadError("this ZeroMQ was built without CURVE: install pyzmq from its wheel, which has it")
    public, private = _keys(secret)
    sockets: Any = zmqrpc.BaseSocket  # of which Locust makes its server and its clients, and binds or connects then
    plain = sockets.__init__

    def protected(self: Any, kind: int, ipv4_only: bool) -> None:
        plain(self, kind, ipv4_only)
        if kind == zmq.ROUTER:
            self.socket.curve_publickey, self.socket.curve_secretkey = public, private
            self.socket.curve_server = True
        else:
            self.socket.curve_publickey, self.socket.curve_secretkey = zmq.curve_keypair()
            self.socket.curve_serverkey = public

    sockets.__init__ = protected
