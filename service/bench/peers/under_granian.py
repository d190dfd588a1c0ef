"""Serves an ASGI application with Granian, its loop in this process, one thread of its own for the network.

Granian's settings are its defaults for one worker, with uvloop as everywhere else here.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server


def serve(app: Any, port: int) -> None:
    async def work() -> None:
        server = Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False)
        print("ready", flush=True)
        await server.serve()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())
