"""A server and all the processes it started, on cores of their own.

Processor time is the kernel's count for a process, in hundredths of a second; it does not depend on how busy the rest
of the machine was. Processes are found by their parents, because PostgreSQL puts each of its own into a separate
session. A server that is not being measured is stopped (SIGSTOP), so that its timers cost the others nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


class Server:
    """
    Args:
        cores: as taskset takes them.
        log: gets what the server says on stderr; nothing keeps it by default.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        cores: str,
        env: dict[str, str] | None = None,
        log: Path = Path(os.devnull),
    ) -> None:
        self.name = name
        self.said = ""  # the line that it was ready with
        with log.open("ab") as said:
            self.process = subprocess.Popen(
                ["taskset", "-c", cores, *map(str, command)],
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,
                env={**os.environ, **THREADS, **(env or {})},
            )

    def wait(self, word: str) -> None:
        """Waits until it says `word`; raises ClickException where it ends before."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if word in line:
                self.said = line
                return
        raise click.ClickException(f"{self.name} ended before it answered.")

    def port(self) -> int:
        """Of the address in the line that it was ready with: the port that it took itself, so that nobody else has."""
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.said)
        if found is None:
            raise click.ClickException(f"{self.name} said {self.said!r}, which names no address.")
        return int(found[1])

    def pids(self) -> list[int]:
        """Its own and those of all its descendants."""
        children: dict[int, list[int]] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, IndexError, ValueError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
        found = [self.process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def cpu_s(self) -> float:
        return sum(cpu_s(pid) for pid in self.pids())

    def pss(self) -> dict[str, int]:
        """Bytes of PSS by the file they are mapped from ("" for memory of no file), all processes added up."""
        total: dict[str, int] = {}
        for pid in self.pids():
            for name, size in pss_of(pid).items():
                total[name] = total.get(name, 0) + size
        return total

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        for number in (signal.SIGCONT, signal.SIGTERM):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, with that of its threads that have ended; 0 for one that is gone."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return 0.0


def pss_of(pid: int) -> dict[str, int]:
    """Bytes of PSS by the file they are mapped from; of no file: ""."""
    total: dict[str, int] = {}
    name = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            parts = line.split(maxsplit=5)
            name = parts[5] if len(parts) == 6 and parts[5].startswith("/") else ""
        elif line.startswith("Pss:"):
            total[name] = total.get(name, 0) + int(line.split()[1]) * 1024
    return total


def until_open(port: int, patience_s: float = 120) -> None:
    limit_s = time.monotonic() + patience_s
    while time.monotonic() < limit_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise click.ClickException("it never opened its port")
