"""A wall clock that a test sets back and forward while processes run by it."""

from datetime import timedelta
from pathlib import Path

from preloading import library


class WallClock:
    def __init__(self, folder: Path) -> None:
        """folder: for the small file by which the processes learn how wrong they are."""
        self._file = folder / "clock"
        self._file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library("clock.c")), "CLOCK_FILE": str(self._file)}

    def step_to(self, off: timedelta) -> None:
        """Makes it wrong by so much, at once."""
        with self._file.open("r+b") as file:  # the mapping must stay one of this file
            file.write(int(off.total_seconds()).to_bytes(8, "little", signed=True))
