"""One trial against a real service: start the generator, watch the machine meanwhile, put it all together.

The generator is Locust in processes of its own (gevent changes the process it lives in, and boto3 with it). It tells
the window on its standard output as soon as it is agreed, so the power meter and the process watcher here read at
exactly its ends; the monotonic clock is the same for all processes of a machine.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil

from embed.vectors.provenance import now_utc
from embed.vectors.scratch import scratch_folder
from loadtest.errors import GeneratorsAbsent, LoadTestError, PowerError
from loadtest.generator.calibration import calibrate, null_server
from loadtest.generator.ports import free_port
from loadtest.generator.watch import Watcher
from loadtest.generator.workers.secret import token
from loadtest.generator.workers.starting import start_locust
from loadtest.power.meter import Meter
from loadtest.power.sources import PowerSource
from loadtest.record.results import Calibration
from loadtest.record.trial import Trial
from loadtest.record.validity_checks import SHARE_OF_SLO, validity_checks
from loadtest.workload.plan import Plan

Live = Callable[[dict[str, Any]], None]

START_S = 60.0  # for the generator's processes to be up
GRACE_S = 5.0  # for the master to end the workers on other hosts


class Interrupted(KeyboardInterrupt):
    """Someone pressed Ctrl-C within the window; `trial` is of the part until then."""

    def __init__(self, trial: Trial, planned_s: float) -> None:
        super().__init__(f"interrupted: of the {trial.role} trial's {planned_s:g} s {trial.window_s:g} s were measured")
        self.trial = trial


class Generator:
    """Makes trials. `source` is the power source of the machine under test, when there is one within reach.

    `cpus` confine the generator; `first` lets it run before other programs, where that is allowed;
    `allow_interference` lets trials count although other programs used the CPUs.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        source: PowerSource | None = None,
        live: Live | None = None,
        tell: Callable[[str], None] = lambda line: None,
        cpus: list[int] | None = None,
        first: bool = True,
        allow_interference: bool = False,
    ) -> None:
        self.plan = msgspec.structs.replace(plan, first=first)
        self.calibration: Calibration | None = None
        self.power_notes: list[str] = []
        self._source = source
        self._live = live or (lambda fields: None)
        self._tell = tell
        self._interrupted = False
        self.cpus = cpus
        self._first = first
        self._allow_interference = allow_interference
        self._seed = plan.seed
        if plan.bind is not None:
            token(needed=True)
            port = plan.bind.rpartition(":")[2]
            tell(f"waiting for {plan.processes} generators; on each host: perwatt loadtest worker HOST:{port}")

    def measure(self, rate_qps: float, duration_s: float, role: str) -> Trial:
        """One trial at `rate_qps`; each has a seed of its own, so a repetition is not the same arrivals again.

        Ctrl-C within the window ends it early: Interrupted carries what was measured.
        """
        self._seed += 1
        plan = msgspec.structs.replace(self.plan, rate_qps=rate_qps, duration_s=duration_s, role=role, seed=self._seed)
        trial = self._once(plan, observe=True)
        self.judge(trial)
        if self._interrupted:
            raise Interrupted(trial, duration_s)
        return trial

    def judge(self, trial: Trial) -> None:
        trial.gates = validity_checks(trial, self.plan.slo_p99_ms, self.calibration, self._allow_interference)

    def calibrate(
        self, start_qps: float, *, ceiling: bool = False, seconds: float = 5.0, answer_bytes: int = 0
    ) -> Calibration:
        """The same processes and bytes against a null server; kept for the checks of later trials."""
        with null_server(answer_bytes, self._first, self._others(), self.plan.bind) as url:
            plan = msgspec.structs.replace(
                self.plan, url=url, duration_s=seconds, warmup_s=1.0, role="calibration", truth=None
            )

            def measure(rate_qps: float) -> Trial:
                trial = self._once(msgspec.structs.replace(plan, rate_qps=rate_qps), observe=False)
                if trial.generator.lost:
                    raise LoadTestError("; ".join(trial.generator.lost))
                return trial

            allowed_ms = SHARE_OF_SLO * self.plan.slo_p99_ms
            self.calibration = calibrate(measure, start_qps, allowed_ms, ceiling)
            self.calibration.answer_bytes = answer_bytes
        return self.calibration

    def _others(self) -> list[int] | None:
        """CPUs that the generator is not confined to; None when it is not confined, or to all there are."""
        return sorted(os.sched_getaffinity(0) - set(self.cpus)) or None if self.cpus else None

    def _options(self, plan: Plan, plan_file: Path, trial_file: Path) -> list[str]:
        options = [
            "--headless", "--only-summary",
            "--users", str(plan.processes), "--spawn-rate", "100", "--host", plan.url,
            "--plan", str(plan_file), "--trial", str(trial_file),
        ]  # fmt: skip
        if plan.bind is not None:
            host, _, port = plan.bind.rpartition(":")
            options += ["--master", "--expect-workers", str(plan.processes)]
            return [*options, "--master-bind-host", host, "--master-bind-port", port]
        if plan.processes > 1:
            port = str(free_port())  # not Locust's own, where the processes of another load test may listen
            options += ["--processes", str(plan.processes), "--master-bind-host", "127.0.0.1"]
            options += ["--master-bind-port", port, "--master-port", port]
        return options

    def _once(self, plan: Plan, observe: bool) -> Trial:
        with scratch_folder() as folder:
            plan_file, trial_file = Path(folder, "plan.json"), Path(folder, "trial.json")
            plan.save(plan_file)
            options = self._options(plan, plan_file, trial_file)
            with Path(folder, "log").open("w+", encoding="utf-8") as log:
                process = start_locust(options, log, self.cpus)
                try:
                    watcher, meter = self.follow(process, plan, observe)
                    if watcher is not None:
                        watcher.join()  # while what the generator used can still be read
                    process.wait(plan.timeout_s + START_S)
                finally:
                    _end(process, GRACE_S if plan.bind else 0.0)
                    if process.stdout is not None:
                        process.stdout.close()
                log.seek(0)
                said = log.read()
            if not trial_file.exists():
                before_summary = said.split("\nType  ")[0].strip().splitlines()
                last = "\n".join(before_summary[-12:])
                raise LoadTestError(f"the generator ended with status {process.returncode} and no trial:\n{last}")
            trial = msgspec.json.decode(trial_file.read_bytes(), type=Trial)
        if observe:
            self._complete(trial, watcher, meter)
        return trial

    def follow(self, process: subprocess.Popen[str], plan: Plan, observe: bool) -> tuple[Watcher | None, Meter | None]:
        """Read the generator's lines until it ends; watch and meter begin with the window.

        The first Ctrl-C within the window asks the generator for what it has, the second one ends it.
        """
        here = None if plan.bind else process.pid  # generators on other hosts look after themselves
        watcher = Watcher(plan.url, here, plan.behind, plan.routed) if observe else None
        meter = Meter(self._source) if observe and self._source else None
        observers = [observer for observer in (watcher, meter) if observer is not None]
        assert process.stdout is not None
        start = math.inf
        cut = False

        def interrupt(number: int, frame: object) -> None:
            if self._interrupted or not observe or time.monotonic() < start:
                raise KeyboardInterrupt
            self._interrupted = True
            process.send_signal(signal.SIGUSR1)

        with _instead_of_interrupting(interrupt):
            while line := process.stdout.readline():
                fields: dict[str, Any] = json.loads(line) if line.startswith('{"perwatt"') else {"perwatt": ""}
                if fields["perwatt"] == "window":
                    start = fields["start"]
                    for observer in observers:
                        observer.begin(fields["start"], fields["stop"])
                elif fields["perwatt"] == "cut":
                    cut = True
                    for observer in observers:
                        observer.cut(fields["stop"])
                elif fields["perwatt"] == "lost":
                    raise LoadTestError(fields["message"])
                elif fields["perwatt"] == "absent":
                    raise GeneratorsAbsent(fields["message"])
                elif fields["perwatt"] in ("worker", "refused"):
                    self._tell(fields["message"])
                elif fields["perwatt"] == "trial" and fields["lost"] and not plan.bind:
                    _end(process)  # it would wait for the lost one, and here that may only have been stopped
                elif fields["perwatt"] == "live" and observe:
                    more = {"offered_qps": plan.rate_qps, "role": plan.role}
                    if watcher is not None:
                        more["service_cores"] = watcher.cores_now
                    self._live({**fields, **more})
                    if self._interrupted and not cut:
                        process.send_signal(signal.SIGUSR1)  # it has not heard of it yet
        return watcher, meter

    def _complete(self, trial: Trial, watcher: Watcher | None, meter: Meter | None) -> None:
        if watcher is not None:
            watcher.join()
            trial.interference = watcher.interference
            if trial.server is not None:
                trial.server.cores_used = watcher.cores_used
                trial.server.rss_bytes = watcher.rss_bytes
                trial.server.watched, trial.server.servers = watcher.watched, watcher.servers
        if meter is not None:
            try:
                trial.energy = meter.result()
            except PowerError as error:
                self.power_notes.append(str(error))


@contextlib.contextmanager
def _instead_of_interrupting(handler: Callable[[int, object], None]) -> Iterator[None]:
    """`handler` wherever a signal would raise KeyboardInterrupt. An exception that comes at any moment can come where
    Python drops it, in a finaliser, and then nobody has pressed Ctrl-C; a handler's word stays."""
    raising: list[signal.Signals] = []
    if threading.current_thread() is threading.main_thread():  # others hear of no signals, and may set no handlers
        signals = (signal.SIGINT, signal.SIGTERM)
        raising = [number for number in signals if signal.getsignal(number) is signal.default_int_handler]
    for number in raising:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in raising:
            signal.signal(number, signal.default_int_handler)


def _end(process: subprocess.Popen[str], grace_s: float = 0.0) -> None:
    """The generator and its workers, which would otherwise go on sending until they miss their master. grace_s: for it
    to tell those on other hosts."""
    if process.poll() is not None:
        return
    if grace_s:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
            return
    workers: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for worker in workers:
        with contextlib.suppress(psutil.Error):
            worker.kill()
    process.wait()


def idle_trial(generator: Generator, seconds: float) -> Trial:
    """The machine doing nothing but being ready: the load curve's first point, and the power that is drawn anyway."""

    from loadtest.record.histogram import Histogram
    from loadtest.record.trial import GeneratorFacts as Facts
    from loadtest.record.trial import ServerSide

    start = float(math.ceil(time.monotonic()))
    watcher = Watcher(generator.plan.url, None, generator.plan.behind, generator.plan.routed)
    meter = Meter(generator._source) if generator._source else None
    for observer in (watcher, meter):
        if observer is not None:
            observer.begin(start, start + seconds)
    began = now_utc()
    time.sleep(max(start + seconds - time.monotonic(), 0))
    empty = Histogram().encode()
    trial = Trial(
        role="idle", offered_qps=0.0, window_s=seconds, slice_s=seconds, started_at=began, seed=0, planned=0, sent=0,
        shed=0, missed=0, answered=0, errors={}, response=empty, service=empty, slices=[],
        generator=Facts(0, [], empty, empty, 0), server=ServerSide(0, empty, empty),
    )  # fmt: skip
    generator._complete(trial, watcher, meter)
    generator.judge(trial)
    return trial
