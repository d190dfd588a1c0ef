"""`make soak MINUTES=60`: writes, deletes, searches and rebuilds at a steady rate, for as long as one likes; nothing of
the service may grow meanwhile.

    python -m service.bench.soak ROOT INDEX [MINUTES]

A copy of the index is served by two workers. Documents are put under the same few thousand ids over and over, so the
index has no reason to grow. Memory goes up and down with what was written since the last rebuild; so after a warm-up of
a quarter of the time the rest is cut into halves, each of several rebuilds, and the second may not need more than the
first. Exit status 1 when it does, or when a request failed.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from service.bench.offered import served
from service.bench.process import Server
from service.client import Client, ProblemError

RATES = {"search": 20.0, "put": 4.0, "delete": 2.0}  # requests a second
IDS, PUT, DELETED = 2000, 5, 3  # documents that are written; of them in one request
SAMPLES, REBUILDS = 120, 12  # in all of the time
WARM = 0.25  # of the time: caches fill, and the interpreter finds its size
MIB = 1 << 20


class SoakSample(NamedTuple):
    """Of all processes of the service, without the one that rebuilds.

    Args:
        anonymous: bytes of memory that belong to no file.
        resident: bytes, pages of files included.
        log, disk: bytes of the log of changes, and of all that the index takes.
    """

    at_s: float
    anonymous: int
    resident: int
    handles: int
    threads: int
    mappings: int
    log: int
    disk: int


# What the second half may need more than the first: a share of it, and so much whatever it is.
ALLOWED = {
    "anonymous": (0.05, 4 * MIB),
    "resident": (0.10, 16 * MIB),
    "handles": (0.0, 2),
    "threads": (0.0, 1),
    "mappings": (0.05, 8),
    "log": (0.25, 4 * MIB),
    "disk": (0.10, 8 * MIB),
}


def grown(samples: list[SoakSample]) -> list[str]:
    """What the second half after the warm-up needs more of, in words. Medians: a peak is no growth."""
    kept = samples[int(len(samples) * WARM) :]
    earlier, later = kept[: len(kept) // 2], kept[len(kept) // 2 :]
    found = []
    for name, (share, more) in ALLOWED.items():
        first, second = (median(getattr(each, name) for each in half) for half in (earlier, later))
        if second > first * (1 + share) + more:
            found.append(f"{name} grew from {first:,.0f} to {second:,.0f}")
    return found


def sample(server: Server, folder: Path, at_s: float) -> SoakSample:
    total: Counter[str] = Counter()
    for pid in server.pids():
        place = Path("/proc", str(pid))
        with contextlib.suppress(OSError):  # one that has just ended
            if b"service.rebuilds.work" in (place / "cmdline").read_bytes():
                continue
            kib = {
                line.split(":")[0]: int(line.split()[1])
                for line in (place / "smaps_rollup").read_text().splitlines()[1:]
            }
            threads = (place / "status").read_text().partition("Threads:")[2].split()[0]
            total += Counter(
                anonymous=kib["Pss_Anon"] << 10,
                resident=kib["Rss"] << 10,
                handles=len(list((place / "fd").iterdir())),
                threads=int(threads),
                mappings=(place / "maps").read_text().count("\n"),
            )
    sizes = _sizes(folder)
    log = sum(size for path, size in sizes.items() if path.name.startswith("changes."))
    return SoakSample(at_s, **total, log=log, disk=sum(sizes.values()))


def _sizes(folder: Path) -> dict[Path, int]:
    """Of the files below a folder, in bytes; without those that a rebuild removes or renames meanwhile."""
    found = {}
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                found[path] = path.stat().st_size
    return found


class Soak:
    """The callers, each with a thread, a client and a rate of its own."""

    def __init__(self, url: str, index: str, folder: Path, seconds: float) -> None:
        self.url, self.index, self.folder, self.seconds = url, index, folder, seconds
        self.fates: Counter[str] = Counter()
        self.over = threading.Event()

    def run(self, server: Server) -> list[SoakSample]:
        callers = [self._caller(getattr(self, name), 1 / per_s) for name, per_s in RATES.items()]
        callers.append(self._caller(self.rebuild, self.seconds / REBUILDS))
        begin_s, samples = time.monotonic(), []
        print(f"{'seconds':>8} " + " ".join(f"{name:>13}" for name in SoakSample._fields[1:]), flush=True)
        try:
            while (at_s := time.monotonic() - begin_s) < self.seconds:
                samples.append(sample(server, self.folder, at_s))
                print(f"{at_s:>8,.0f} " + " ".join(f"{value:>13,}" for value in samples[-1][1:]), flush=True)
                time.sleep(self.seconds / SAMPLES)
        finally:
            self.over.set()
            for caller in callers:
                caller.join()
        return samples

    def _caller(self, work: Callable[[Client, random.Random], str], period_s: float) -> threading.Thread:
        def call() -> None:
            rng, due_s = random.Random(work.__name__), time.monotonic() + period_s
            with Client(self.url, timeout_s=60) as client:
                while not self.over.wait(max(0.0, due_s - time.monotonic())):
                    due_s = max(due_s + period_s, time.monotonic() - 1)
                    try:
                        fate = work(client, rng)
                    except Exception as error:
                        fate = f"failed {work.__name__}: {error}"[:200]
                    self.fates[fate] += 1

        thread = threading.Thread(target=call, name=work.__name__)
        thread.start()
        return thread

    def search(self, client: Client, rng: random.Random) -> str:
        modes: list[Any] = ["dense", "lexical", "hybrid"]
        client.search(self.index, text=text(rng), mode=rng.choice(modes), k=10)
        return "searched"

    def put(self, client: Client, rng: random.Random) -> str:
        documents = [{"id": f"soak-{rng.randrange(IDS)}", "payload": {"text": text(rng)}} for _ in range(PUT)]
        return f"put, {len(client.put(self.index, documents).failed)} failed"

    def delete(self, client: Client, rng: random.Random) -> str:
        client.delete(self.index, ids=[f"soak-{rng.randrange(IDS)}" for _ in range(DELETED)])
        return "deleted"

    def rebuild(self, client: Client, _: random.Random) -> str:
        try:
            answer = client.start_rebuild(self.index)
        except ProblemError as error:
            if error.code != "rebuild-running":
                raise
            return "a rebuild was due while one ran"
        while answer.ended_at is None:
            time.sleep(0.2)
            answer = client.rebuild(answer.id)
        return f"rebuild {answer.state}{': ' if answer.detail else ''}{answer.detail or ''}"


def text(rng: random.Random) -> str:
    """Of one to three sentences; hardly ever the same twice."""
    return " and ".join(
        f"write {rng.randrange(1000)} lines of JSON to socket {rng.randrange(1000)}" for _ in range(rng.randint(1, 3))
    )


def main(root: str, index: str, minutes: str = "60") -> int:
    with tempfile.TemporaryDirectory(prefix="perwatt-soak-") as copy:
        shutil.copytree(Path(root, index), Path(copy, index))
        log = Path(copy, "server.log")
        with served(copy, index, "--workers", "2", log=log) as (server, port):
            soak = Soak(f"http://127.0.0.1:{port}", index, Path(copy, index), 60 * float(minutes))
            samples = soak.run(server)
        if any(fate.startswith("failed") for fate in soak.fates):
            print(log.read_text()[-20_000:])
    for fate, count in sorted(soak.fates.items()):
        print(f"{count:8,} {fate}")
    broken = grown(samples) + [fate for fate in soak.fates if fate.startswith("failed")]
    if soak.fates["put, 0 failed"] == 0 or soak.fates["rebuild succeeded"] == 0:
        broken.append("nothing was proved: there were no writes, or no rebuild succeeded")
    print("; ".join(broken) or f"nothing grew in {minutes} minutes")
    return len(broken) > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
