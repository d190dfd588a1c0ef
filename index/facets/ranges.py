"""Documents a range of a field of numbers or dates: of ranges that were asked for, or of one beside the other.

Every range that comes back is a condition of a filter: a search with it finds as many documents as were counted, to the
last one. So the bounds of steps are computed first, as the numbers that are answered, and values are compared with
those.

    int, float   [n · step, (n + 1) · step)
    date         an hour, day, week (from Monday), month, quarter or year, all in UTC
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError

Unit = Literal["hour", "day", "week", "month", "quarter", "year"]
UNITS: tuple[Unit, ...] = get_args(Unit)
STEPS = 1000  # that have a document, at most
_WHOLE = 2.0**52  # steps from 0 up to which n and n + 1 times a step are two floats
_INT = np.iinfo(np.int64)
_FIRST, _LAST = (
    int(np.datetime64(each, "us").astype(np.int64)) for each in ("0001-01-01", "9999-12-31T23:59:59.999999")
)  # dates that can be written
_EPOCH_IS_THURSDAY = 3  # days that 1970-01-01 is behind a Monday


class Range(NamedTuple):
    """From low to high, None for no bound; `above` leaves out low itself, `below` high."""

    low: Any
    high: Any
    above: bool
    below: bool


def count_ranges(values: NDArray[Any], ranges: Sequence[Range]) -> list[int]:
    """How many of `values`, which are ascending, lie in each."""
    found = []
    for low, high, above, below in ranges:
        start = 0 if low is None else int(np.searchsorted(values, low, "right" if above else "left"))
        stop = len(values) if high is None else int(np.searchsorted(values, high, "left" if below else "right"))
        found.append(max(0, stop - start))
    return found


def count_steps(values: NDArray[Any], type_: str, step: float | str) -> list[tuple[Range, int]]:
    """Ranges that hold any of `values`, which are ascending, with how many; ascending.

    Args:
        type_: int, float or date; dates are microseconds since 1970.
        step: the width of a range, a Unit for dates.

    Raises:
        InputError: a step that does not suit the type, is too small for the values, or makes more than STEPS ranges.
    """
    lows, range_of = _steps(values, type_, step)
    starts = np.flatnonzero(np.concatenate([[True], lows[1:] != lows[:-1]])) if len(lows) else np.zeros(0, np.int64)
    if len(starts) > STEPS:
        raise InputError(f"steps of {step} make {len(starts):,} ranges with documents, at most {STEPS:,} are counted")
    counts = np.diff(np.append(starts, len(lows))).tolist()
    return [(range_of(low), count) for low, count in zip(lows[starts].tolist(), counts, strict=True)]


def _steps(values: NDArray[Any], type_: str, step: float | str) -> tuple[NDArray[Any], Callable[[Any], Range]]:
    """The number of the step of each value, ascending; and what range a number stands for."""
    if type_ == "date":
        if step not in UNITS:
            raise InputError(f"dates are counted a unit of {', '.join(UNITS)}, this is {step!r}")
        return _dates(values, str(step))
    if isinstance(step, str) or not step > 0 or step == np.inf:
        raise InputError(f"numbers are counted in steps of a number above 0, this is {step!r}")
    if type_ == "int":
        width = int(step)
        if width != step or width > _INT.max:
            raise InputError(f"integers are counted in steps of an integer, this is {step!r}")

        def integers(number: int) -> Range:
            low, high = number * width, (number + 1) * width
            return Range(max(low, _INT.min), min(high, _INT.max), False, high <= _INT.max)

        return np.floor_divide(values, width), integers
    with np.errstate(over="ignore"):
        numbers = np.floor(values / step)
        if len(numbers) and not np.abs(numbers[[0, -1]]).max() < _WHOLE:
            raise InputError(f"a step of {step} is too small for values like {max(abs(values[0]), abs(values[-1]))}")
        numbers -= values < numbers * step  # a quotient is rounded, and may be one too large or too small
        numbers += values >= (numbers + 1) * step

    def floats(number: float) -> Range:
        high = (number + 1) * step
        low = number * step
        return Range(low + 0.0 if low > -np.inf else None, high + 0.0 if high < np.inf else None, False, high < np.inf)

    return numbers, floats


def _dates(values: NDArray[np.int64], unit: str) -> tuple[NDArray[np.int64], Callable[[int], Range]]:
    moments = values.view("<M8[us]")
    if unit in ("month", "quarter", "year"):
        months = {"month": 1, "quarter": 3, "year": 12}[unit]
        numbers = moments.astype("<M8[M]").astype(np.int64) // months

        def low(number: int) -> int:
            return int(np.datetime64(number * months, "M").astype("<M8[us]").astype(np.int64))
    else:
        width = {"hour": 3_600, "day": 86_400, "week": 7 * 86_400}[unit] * 1_000_000
        shift = _EPOCH_IS_THURSDAY * 86_400 * 1_000_000 if unit == "week" else 0
        numbers = (values + shift) // width

        def low(number: int) -> int:
            return number * width - shift

    def moments_of(number: int) -> Range:
        start, end = low(number), low(number + 1)
        return Range(start if start >= _FIRST else None, end if end <= _LAST else None, False, end <= _LAST)

    return numbers, moments_of
