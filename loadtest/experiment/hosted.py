"""A service that the measurement itself starts and ends, on the CPUs it is given.

Measuring on one machine only means something when the service and the generator do not share a core. So whoever has no
second machine gives both a set of CPUs of their own, and the service is started here instead of by hand: the same
command line, a free port in place of `{port}`, ready when it says so over HTTP. What it writes is kept in a file,
because the last lines of a service that died are the explanation that a person needs.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from embed.vectors.scratch import scratch_folder
from loadtest.errors import TargetError
from loadtest.generator.ports import free_port
from loadtest.generator.priority import go_first
from loadtest.record.trial import Trial
from loadtest.targets.contract import Target

READY = "/readyz"  # perwatt's word for it
READY_S = 300.0  # a large index is read and checked whole before it is served
END_S = 20.0
GONE = ("connection refused", "connection reset", "closed by the server")  # kinds of errors
TOLD = 8  # last lines of what the service wrote, in an error


class Hosted:
    """A running service: `url`, and `gone()` with the reason once it has ended."""

    def __init__(self, command: str, cpus: list[int] | None, log: Path, first: bool = False) -> None:
        if "{port}" not in command:
            raise TargetError(
                f"--start {command!r}: expected {{port}} where the port belongs, e.g. 'perwatt serve --port {{port}}'"
            )
        self._log = log
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        words = [word.replace("{port}", str(port)) for word in shlex.split(command)]
        try:
            with log.open("wb") as file:
                self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        except OSError as error:
            raise TargetError(f"--start: {words[0]} cannot be started: {error}") from error
        if cpus:
            os.sched_setaffinity(self.process.pid, cpus)  # threads and children inherit it
        if first:
            go_first(self.process.pid)

    def gone(self) -> str | None:
        """Why it no longer runs; None while it does."""
        status = self.process.poll()
        if status is None:
            return None
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        last = "\n".join(self._log.read_text("utf-8", errors="replace").strip().splitlines()[-TOLD:])
        return f"the service {how}" + (f":\n{last}" if last else " and wrote nothing")

    def wait_until_ready(self, limit_s: float = READY_S, path: str = READY) -> None:
        until = time.monotonic() + limit_s
        said = "nothing listens yet"
        with httpx.Client(base_url=self.url, timeout=5, trust_env=False) as client:
            while time.monotonic() < until:
                if reason := self.gone():
                    raise TargetError(f"--start: {reason}")
                with contextlib.suppress(httpx.HTTPError):
                    status = client.get(path).status_code
                    if status == 200 and self.gone() is None:  # else another program has the port, and answered
                        return
                    said = f"{path} answers {status}"
                time.sleep(0.05)
        raise TargetError(f"--start: the service was not ready after {limit_s:g} s: {said}")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def hosted(
    command: str,
    cpus: list[int] | None = None,
    limit_s: float = READY_S,
    first: bool = False,
    ready: str = READY,
) -> Iterator[Hosted]:
    """The service of `command`, ready once `ready` is answered with 200; ended when the block is left, however it is
    left.

    `first` runs it before other programs where that is allowed: for what a core of it can do, not for what users get.
    """
    with scratch_folder() as folder:
        service = Hosted(command, cpus, Path(folder, "log"), first)
        try:
            service.wait_until_ready(limit_s, ready)
            yield service
        finally:
            service.end()


def lost(trial: Trial, target: Target, hosted: Hosted | None) -> str | None:
    """Why the service is not there any more after a trial; None where it is."""
    if not any(kind in trial.errors for kind in GONE):
        return None
    reason = hosted.gone() if hosted else None
    try:
        target.alive()
    except TargetError as error:
        return reason or str(error)
    return reason
