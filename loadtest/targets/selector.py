"""Where in a JSON answer something stands: names joined by dots, `[3]` for an element, `[*]` for each.

    hits.hits[*]._id        result.points[*].id        ids[0][*]        data.Get['my docs'][*].id

This is the part of JSONPath that search answers need; a leading `$.` is allowed. A name that is no plain word stands in
brackets and quotes.
"""

from __future__ import annotations

import re
from typing import Any

from loadtest.errors import WorkloadError

_STEP = re.compile(r"\[(?P<index>-?\d+)\]|(?P<each>\[\*\])|\['(?P<quoted>[^']+)'\]|\.?(?P<name>[^.\[\]'\s]+)")

Step = str | int | None  # None: each element


def parse(path: str) -> list[Step]:
    """The steps of a path. Raises WorkloadError for what is none."""
    rest = path.removeprefix("$").removeprefix(".")
    steps: list[Step] = []
    at = 0
    while at < len(rest):
        found = _STEP.match(rest, at)
        if found is None or (rest[at] == "." and not steps):
            break
        at = found.end()
        if found["each"]:
            steps.append(None)
        else:
            steps.append(int(found["index"]) if found["index"] else found["quoted"] or found["name"])
    if at < len(rest) or not steps:
        raise WorkloadError(
            f"{path!r} says no place in an answer: expected names, [3] or [*], such as hits.hits[*]._id"
        )
    return steps


def select(answer: Any, steps: list[Step]) -> list[Any]:
    """Everything that stands there, in order; empty when the answer has no such place."""
    found = [answer]
    for step in steps:
        if step is None:
            found = [each for one in found if isinstance(one, list) for each in one]
        elif isinstance(step, int):
            found = [one[step] for one in found if isinstance(one, list) and -len(one) <= step < len(one)]
        else:
            found = [one[step] for one in found if isinstance(one, dict) and step in one]
    return found


def there(answer: Any, steps: list[Step]) -> bool:
    """Whether the answer has the list that `steps` goes through, be it empty: nothing found is an answer too."""
    upto = steps[: steps.index(None)] if None in steps else steps
    return bool(select(answer, upto))
