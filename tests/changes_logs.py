"""A log of changes in a folder of the test, and all that it holds."""

from pathlib import Path

from index.changes.log import Log
from index.changes.log_file import Change
from index.changes.log_reader import changes

DIM = 8


def opened(folder: Path) -> Log:
    return Log(folder, DIM, "model")


def everything(folder: Path) -> list[Change]:
    return list(changes(folder, 0))
