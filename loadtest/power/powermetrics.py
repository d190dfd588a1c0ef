"""Power of a Mac with Apple's processor, as `powermetrics` tells it: a measured arm64 machine on a desk.

The tool is Apple's, runs as root alone, and writes a property list a sample, with a zero byte between two (`man
powermetrics`). `cpu_energy`, `gpu_energy` and `ane_energy` are millijoules of the sample, `combined_power` milliwatts.
Its manual calls them estimates that should not be compared between devices: a trial against another on the same Mac is
sound, a Mac against another machine is not, and the domain is named so that the two are never divided.
"""

from __future__ import annotations

import atexit
import plistlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any

from loadtest.errors import PowerError
from loadtest.power.sources import PowerChannel, PowerSource, Probed, ReadingKind, Unreadable

PROGRAM = "powermetrics"
INTERVAL_MS = 200
OPTIONS = ("--samplers", "cpu_power", "--format", "plist", "--sample-rate", str(INTERVAL_MS))
NAME, DOMAIN = "powermetrics", "apple-soc"
START_TIMEOUT_S = 10.0


def powermetrics_sources() -> Probed:
    """The tool's source where it is installed and answers; nothing on other systems."""
    path = shutil.which(PROGRAM)
    if path is None:
        return []
    try:
        done = subprocess.run(
            [path, *OPTIONS, "--sample-count", "1"], capture_output=True, timeout=START_TIMEOUT_S, check=False
        )
        if done.returncode:
            raise PowerError(done.stderr.decode(errors="replace").strip() or f"it ended with {done.returncode}")
        joules(done.stdout.rstrip(b"\0"))
    except (OSError, subprocess.TimeoutExpired, PowerError) as error:
        return [Unreadable(NAME, str(error), "run as root: sudo; the tool comes with macOS on Apple's processors")]
    channel = PowerChannel("cpu, gpu and neural engine", ReadingKind.COUNTER, _Counter(path))
    note = "Apple's estimate; compare with trials on this Mac only"
    return [PowerSource(NAME, DOMAIN, path, (channel,), averages_s=INTERVAL_MS / 1000, note=note)]


def joules(sample: bytes) -> float:
    """Of one sample.

    Raises:
        PowerError: It is no property list of the sampler cpu_power.
    """
    try:
        content: dict[str, Any] = plistlib.loads(sample.strip())
        processor = content["processor"]
        if "combined_power" in processor:
            return float(processor["combined_power"]) / 1e3 * float(content["elapsed_ns"]) / 1e9
        return sum(float(processor[f"{part}_energy"]) for part in ("cpu", "gpu", "ane")) / 1e3
    except (plistlib.InvalidFileException, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise PowerError(f"powermetrics wrote a sample without the energy of the processor: {error!r}") from None
    except Exception as error:  # expat's own error, whose module plistlib does not name
        raise PowerError(f"powermetrics wrote what is no property list: {error}") from None


class _Counter:
    """Joules since the first reading: the tool runs from then until this process ends, a thread adds its samples."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._samples = 0
        self._total = 0.0
        self._error = ""
        self._running: subprocess.Popen[bytes] | None = None

    def __call__(self) -> float:
        with self._lock:
            if self._running is None:
                self._running = subprocess.Popen([self._path, *OPTIONS], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                atexit.register(self._running.kill)
                threading.Thread(target=self._add, args=(self._running,), daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: self._samples or self._error, START_TIMEOUT_S)
            if self._error or not self._samples:
                raise PowerError(self._error or f"powermetrics wrote no sample in {START_TIMEOUT_S:.0f} s")
            return self._total

    def _add(self, running: subprocess.Popen[bytes]) -> None:
        assert running.stdout is not None
        assert running.stderr is not None
        error = "powermetrics ended"
        try:
            for sample in samples(running.stdout):
                energy = joules(sample)
                with self._changed:
                    self._samples += 1
                    self._total += energy
                    self._changed.notify_all()
            error = running.stderr.read().decode(errors="replace").strip() or error
        except PowerError as unusable:
            error = str(unusable)
            running.kill()
        with self._changed:
            self._error = error
            self._changed.notify_all()
        running.wait()  # so that no zombie is left


def samples(stream: IO[bytes]) -> Iterator[bytes]:
    """The samples of a stream, each when it is whole: it ends with its list, and the zero byte comes with the next."""
    held = b""
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    while more := read(1 << 16):
        held += more
        while (end := held.find(b"</plist>")) >= 0:
            end += len(b"</plist>")
            yield held[:end].lstrip(b"\0\n")
            held = held[end:]
