"""In a worker: from its greeting to where it is ready to send, wherever its master is."""

from __future__ import annotations

import ipaddress
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import msgspec

from loadtest.errors import LoadTestError, WorkloadError
from loadtest.generator.exchange import emit
from loadtest.generator.workers.clock import MasterClock
from loadtest.generator.workers.greeting import hello
from loadtest.generator.workers.shipment import unpack
from loadtest.workload.plan import Plan
from loadtest.workload.requests import Address

SENT_S = 0.2  # for a message to be on its way before whoever started us ends us


class Errand:
    """
    Args:
        runner: Locust's worker.
        machine: of this host, for a master elsewhere; empty: the master started us, so its files and clock are ours.
        prepare: makes the requests of a plan.
    """

    def __init__(self, runner: Any, machine: str, prepare: Callable[[Plan], None]) -> None:
        self._runner = runner
        self._prepare = prepare
        self.elsewhere = bool(machine)
        self.number: int | None = None  # by which the master knows us; None: it has not said yet
        self.clock = MasterClock()
        self._welcome: dict[str, Any] = {}
        self._started = self._prepared = False
        hear = {"perwatt_welcome": self._welcomed, "perwatt_refused": self._refused, "perwatt_clock": self._told_time}
        for kind, listener in hear.items():
            runner.register_message(kind, lambda environment, msg, listener=listener, **_: listener(msg.data))
        runner.send_message("perwatt_hello", msgspec.to_builtins(hello(machine)))

    @property
    def apart_s(self) -> float:
        """How far our clock may be from the master's."""
        return 0.0 if self.clock.shared else self.clock.error_s

    def start(self) -> None:
        """Locust has started its test."""
        self._started = True
        self._say_ready()

    def fail(self, why: str) -> None:
        """We cannot take part."""
        self._runner.send_message("perwatt_failed", {"why": why})
        gevent.sleep(SENT_S)
        emit("failed", message=why)

    def _welcomed(self, said: dict[str, Any]) -> None:
        self.number = said["number"]
        if self.elsewhere:
            self._welcome = said
            self._ask_time()

    def _refused(self, said: dict[str, Any]) -> None:
        emit("refused", message=said["why"])
        self._runner.environment.process_exit_code = 1
        gevent.spawn(self._runner.quit)

    def _ask_time(self) -> None:
        self._runner.send_message("perwatt_clock", {"asked": time.monotonic()})

    def _told_time(self, said: dict[str, Any]) -> None:
        self.clock.heard(said["asked"], said["there"], time.monotonic())
        if not self.clock.known:
            self._ask_time()
        elif not self._prepared:
            try:
                self._set_out()
            except LoadTestError as error:
                self.fail(str(error))

    def _set_out(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="perwatt-")  # of the plan's files, as long as we live
        plan = unpack(self._welcome, Path(self._folder.name), self._runner.master_host)
        self._welcome = {}
        if not self.clock.shared and _loopback(Address.parse(plan.url).host):
            raise WorkloadError(
                f"{plan.url} means this host here, and the master's there: give --url the address by which all hosts "
                "reach the service"
            )
        self._prepare(plan)
        self._prepared = True
        emit("joined", role=plan.role, rate_qps=plan.rate_qps, of=plan.processes, duration_s=plan.duration_s)
        self._say_ready()

    def _say_ready(self) -> None:
        if self._started and (self._prepared or not self.elsewhere):
            self._started = False
            self._runner.send_message("perwatt_ready", {})


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
