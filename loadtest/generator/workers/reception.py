"""In the master: who has come to generate load, and who is not heard of any more.

A worker is known by the number that it gets when it comes, whatever its host: the seeds of its arrivals are made of it,
so that the same plan is sent again whoever sends which share of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from locust.runners import STATE_MISSING

from loadtest.generator.workers.greeting import Hello, refusal
from loadtest.generator.workers.shipment import pack
from loadtest.workload.plan import Plan


class Guest(NamedTuple):
    """A generator that takes part. number: from 0."""

    number: int
    hello: Hello


class Reception:
    """
    Args:
        runner: Locust's master.
        plan: what is to be done; None: each worker is told by Locust itself.
        tell: (event, words), for whoever started the master.
    """

    def __init__(self, runner: Any, plan: Plan | None, tell: Callable[[str, str], None]) -> None:
        self._runner = runner
        self._plan = plan
        self._tell = tell
        self._shipment: dict[str, Any] | None = None
        self.guests: dict[str, Guest] = {}

    def greet(self, client: str, said: dict[str, Any]) -> None:
        """Lets a worker in, with its number and, where it comes from another host, the plan; or tells it why not."""
        self.guests = {known: guest for known, guest in self.guests.items() if known in self._runner.clients}
        try:
            hello = msgspec.convert(said, Hello)
            why = refusal(hello)
        except msgspec.ValidationError as error:
            why = f"a worker introduces itself as no version does that this one knows ({error})"
        expected = self._plan.processes if self._plan is not None else None
        if why is None and expected is not None and len(self.guests) >= expected:
            why = f"the {expected} generators that were asked for have come before the one on {hello.host}"
        if why is not None:
            self._runner.send_message("perwatt_refused", {"why": why}, client)
            self._runner.clients.pop(client, None)  # Locust counts it no more, and waits for another
            self._tell("refused", f"refused: {why}")
            return
        taken = {guest.number for guest in self.guests.values()}
        number = next(number for number in range(len(taken) + 1) if number not in taken)
        self.guests[client] = Guest(number, hello)
        if self._shipment is None:
            self._shipment = pack(self._plan) if self._plan is not None and self._plan.bind else {}
        self._runner.send_message("perwatt_welcome", {"number": number, **self._shipment}, client)
        if self._shipment:
            self._tell("worker", f"{self.name(client)} has come")

    def tell_time(self, client: str, asked_s: float) -> None:
        """Answers a worker that asks for our clock."""
        self._runner.send_message("perwatt_clock", {"asked": asked_s, "there": time.monotonic()}, client)

    def name(self, client: str) -> str:
        """ "generator 2 of 3 (host-b, process 77)"."""
        guest = self.guests.get(client)
        if guest is None:
            return f"a generator that is not known ({client})"
        of = f" of {self._plan.processes}" if self._plan is not None else ""
        return f"generator {guest.number + 1}{of} ({guest.hello.host}, process {guest.hello.pid})"

    def unheard(self, client: str) -> bool:
        """Whether it left, or missed the heartbeats that Locust's workers send once a second, for some 4 s."""
        node = self._runner.clients.get(client)
        return node is None or node.state == STATE_MISSING
