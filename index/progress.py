"""Progress on stderr: a bar where someone watches, a line every ten seconds where a log does."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

LINE_EVERY_S = 10.0


class Progress:
    """Counts units of one step towards a total."""

    def __init__(self, label: str, total: int, unit: str = "rows", *, show: bool = True) -> None:
        self._label, self._total, self._unit, self._show = label, total, unit, show
        self._done = 0
        self._last_line = time.monotonic()
        watched = show and sys.stderr.isatty()
        self._bar = tqdm(total=total, desc=label, unit=f" {unit}", unit_scale=unit == "bytes") if watched else None

    def add(self, count: int) -> None:
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif self._show and time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            print(f"{self._label}: {self._done:,} of {self._total:,} {self._unit}", file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def say(message: str, *, show: bool = True) -> None:
    """One line of what was decided and why."""
    if show:
        print(message, file=sys.stderr, flush=True)
