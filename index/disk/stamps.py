"""Names that sort in the order in which they were given, whatever the clock of the machine does meanwhile.

A clock is set back by a person, by the first answer of a time server, by a virtual machine that was asleep. A name that
is only the time would then come before older ones, and who keeps the newest few would delete what was made last.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

_STAMP = re.compile(r"(\d{8}T\d{6}Z)-([0-9a-f]+)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def next_stamp(taken: Iterable[str], digits: int = 4) -> str:
    """`20261129T030000Z-5f01`: the time, or the next after all of `taken` where the clock is not beyond them.

    Args:
        taken: stamps; what is no stamp with so many digits is passed over.
        digits: of the fraction of the second, in hex.
    """
    ticks = 1 << 4 * digits
    now = datetime.now(UTC) - _EPOCH
    ours = now // _SECOND * ticks + (now % _SECOND).microseconds * ticks // 1_000_000
    latest = max((_ticks_of(each, digits) for each in taken), default=-1)
    second, fraction = divmod(max(ours, latest + 1), ticks)
    return f"{_EPOCH + second * _SECOND:%Y%m%dT%H%M%SZ}-{fraction:0{digits}x}"


def _ticks_of(stamp: str, digits: int) -> int:
    found = _STAMP.fullmatch(stamp)
    if found is None or len(found[2]) != digits:
        return -1
    try:
        second = datetime.strptime(found[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return -1
    return (second - _EPOCH) // _SECOND * (1 << 4 * digits) + int(found[2], 16)
