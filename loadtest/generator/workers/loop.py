"""`perwatt loadtest worker`: generates load for a master on another host, until none has asked for any for a while.

Each trial is sent by a process of its own, one of Locust's workers, which ends with it; the next one then waits for the
next trial's master at the same place.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

from loadtest import units
from loadtest.errors import InvalidRun, LoadTestError
from loadtest.generator.workers.greeting import MACHINE
from loadtest.generator.workers.secret import token
from loadtest.generator.workers.starting import start_locust
from loadtest.machine import read_machine

AT_ONCE_S = 5.0  # a worker that ends sooner, and not for a master's word, would do so again
END_S = 5.0
Tell = Callable[[str], None]


def work(host: str, port: int, wait_s: float, cpus: list[int] | None, tell: Tell, most: int | None = None) -> int:
    """Sends shares of trials until no master was there for `wait_s`; how many trials.

    Args:
        host, port: where the master is, or will be.
        cpus: that the generator is confined to.
        most: trials, and no more; None: as many as there are.

    Raises LoadTestError where a master does not let us in, and where we cannot do what it asks.
    """
    token(needed=True)
    machine = read_machine(ask_imds=False)
    if machine.emulated:
        raise InvalidRun(f"this machine is emulated ({machine.emulated[0]}): it cannot send anything on time")
    tell(f"waiting for a master at {host}:{port}")
    trials, asked = 0, time.monotonic()
    while most is None or trials < most:
        with _generator(host, port, machine.identity, cpus) as (process, said, log):
            began, heard = time.monotonic(), False
            while True:
                try:
                    fields = said.get(timeout=None if heard else max(asked + wait_s - time.monotonic(), 0.0))
                except queue.Empty:
                    return trials
                if fields is None:
                    break
                if fields["perwatt"] in ("refused", "failed", "lost"):
                    raise LoadTestError(f"{host}:{port}: {fields['message']}")
                if fields["perwatt"] == "joined":
                    heard = True
                    share = units.rate(fields["rate_qps"] / fields["of"])
                    tell(f"{fields['role']}: {share} of {units.rate(fields['rate_qps'])}, {fields['duration_s']:g} s")
                elif fields["perwatt"] == "part":
                    trials += 1
                    tell(f"{units.count(fields['answered'])} of {units.count(fields['planned'])} answered")
            status = process.wait()
            if heard:
                asked = time.monotonic()
            elif status and time.monotonic() - began < AT_ONCE_S:
                log.seek(0)
                last = "\n".join(log.read().strip().splitlines()[-12:])
                raise LoadTestError(f"the generator ended with status {status}:\n{last}")
    return trials


@contextlib.contextmanager
def _generator(
    host: str, port: int, identity: str, cpus: list[int] | None
) -> Iterator[tuple[subprocess.Popen[str], queue.SimpleQueue[dict[str, Any] | None], IO[str]]]:
    """One worker, what it says (None: nothing more), and its log."""
    options = ["--worker", "--master-host", host, "--master-port", str(port)]
    said: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        process = start_locust(options, log, cpus, **{MACHINE: identity})
        listening = threading.Thread(target=_listen, args=(process, said), daemon=True)
        listening.start()
        try:
            yield process, said, log
        finally:
            if process.poll() is None:
                process.terminate()  # Locust tells the master that it leaves
                try:
                    process.wait(END_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            listening.join()
            assert process.stdout is not None
            process.stdout.close()


def _listen(process: subprocess.Popen[str], into: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith('{"perwatt"'):
            into.put(json.loads(line))
    into.put(None)
