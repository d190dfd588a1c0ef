"""Engines' processes from outside. Each has a socket for orders and a file for whatever its library prints.

OpenMP's threads sleep while they wait, in all engines alike and unless the environment says otherwise: on cores that
are shared with anything else, spinning ones have cost tens of times the work. A worker is stopped (SIGSTOP) except
while it has an order, so that whatever else its library does is not in another's time.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from index.bench.ann.engine import Entry

BUILD_SECONDS, SEARCH_SECONDS = 3600, 600  # nobody waits longer than this for an answer


class EngineFailedError(Exception):
    """An engine is out of the run; the message is the reason."""


class EngineProcess:
    def __init__(self, entry: Entry, printed: Path, module: str = "index.bench.ann.worker") -> None:
        """module: whose main takes orders."""
        self.entry, self._printed = entry, printed
        ours, theirs = socket.socketpair()
        with theirs, printed.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
            )
        self._link = ours
        self._lines = ours.makefile("rw", encoding="utf-8")
        self._stopped = False
        try:
            self.ask("become", SEARCH_SECONDS, place=entry.place, arguments=entry.arguments)
        except EngineFailedError:
            self.close()
            raise

    def ask(self, what: str, seconds: float, **order: Any) -> dict[str, Any]:
        """The answer to one order. Raises EngineFailedError: it said so, it died, or it took longer than `seconds`."""
        self.send(signal.SIGCONT)
        self._link.settimeout(seconds)
        try:
            self._lines.write(json.dumps({"do": what} | order) + "\n")
            self._lines.flush()
            line = self._lines.readline()
        except TimeoutError:
            self.process.kill()
            self._bury()
            raise EngineFailedError(f"no answer to {what} within {seconds:.0f} s") from None
        except OSError:
            line = ""
        if not line:
            self._bury()
            raise EngineFailedError(f"its process {self._how_it_ended()} while asked to {what}{self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        self.send(signal.SIGSTOP)
        if "error" in answer:
            self.process.kill()
            self._bury()
            raise EngineFailedError(answer["error"])
        return answer

    def close(self) -> None:
        """Lets it finish, and ends it if it does not."""
        if self.process.poll() is None:
            self.send(signal.SIGCONT)
        with contextlib.suppress(OSError):  # an order that nobody was left to read
            self._lines.close()
        self._link.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self._bury()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, which: signal.Signals) -> None:
        if self.process.poll() is None:
            os.kill(self.process.pid, which)

    def _bury(self) -> None:
        """It is dead after this; one that has just closed its socket may still be on its way."""
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _how_it_ended(self) -> str:
        code = self.process.returncode
        return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"

    def _last_words(self) -> str:
        words = self._printed.read_text(errors="replace").strip().splitlines()
        return f": {words[-1][:200]}" if words else ""
