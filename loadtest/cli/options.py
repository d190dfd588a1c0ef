"""What the command line takes: numbers that can be measured, and texts that are read before any load is made."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click

from loadtest.errors import WorkloadError


class Finite(click.FloatRange):
    """A float within its range, and a number: `nan` and `inf` are floats to Python and nonsense to a load test."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a number that can be measured.", param, ctx)
        return number


class Read(click.ParamType[str]):
    """A text that `read` can read; left as it stands. The WorkloadError of one that it cannot is wrong usage."""

    name = "text"

    def __init__(self, read: Callable[[str], object]) -> None:
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            self._read(value)
        except WorkloadError as error:
            self.fail(str(error), param, ctx)
        return str(value)


POSITIVE = Finite(0, min_open=True)
SECONDS = Finite(1)  # windows are whole seconds
CONFIRMATION = Finite(
    8
)  # intervals.ENOUGH slices of a second: with fewer no interval can be had, and no rate confirmed
