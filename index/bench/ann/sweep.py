"""From efforts to recall: climbs an engine's ladder, then closes in on the least effort that reaches each target.

Recall does not depend on the machine or the threads, so this is done once for each k, with every core. It rises with
effort, nearly as a power: between two efforts the next guess is where the line through log(1 − recall) over log(effort)
meets the target.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from index.bench.ann.engine import Ladder, Setting

ENOUGH = 0.997  # the climb ends here; the highest target is 0.99
CLOSE = 0.03  # relative: an effort this close above one that fails is the least
GUESSES = 5
# A second setting whose quickest passing search is this much slower than another's is not timed for the target.
HOPELESS = 1.3


class Tried(NamedTuple):
    setting: Setting
    recall: float
    seconds: float  # of one thread for a query, from the pass that gave the recall: enough to choose what to time


Try = Callable[[Setting], Tried]


def sweep(attempt: Try, ladder: Ladder, k: int, targets: tuple[float, ...], enough: float = ENOUGH) -> list[Tried]:
    """All that was tried, by second setting, then effort. enough: the recall from which on no more effort is tried."""
    tried: list[Tried] = []
    for second in ladder.seconds:
        tried += _sweep_one(attempt, ladder, k, targets, second, enough)
    return tried


def _sweep_one(
    attempt: Try, ladder: Ladder, k: int, targets: tuple[float, ...], second: int, enough: float
) -> list[Tried]:
    climbed: list[Tried] = []
    for effort in ladder.efforts(k):
        climbed.append(attempt(Setting(effort, second)))
        if climbed[-1].recall >= enough or _flat(climbed):
            break
    for target in targets:
        for _ in range(GUESSES):
            climbed.sort()
            guess = between(climbed, target)
            if guess is None:
                break
            climbed.append(attempt(Setting(guess, second)))
    return sorted(climbed)


def _flat(climbed: list[Tried]) -> bool:
    """Three steps that gained nothing: codes, not effort, are what limits recall."""
    return len(climbed) > 3 and climbed[-1].recall - climbed[-4].recall < 0.0005 and climbed[-1].recall > 0.5


def between(climbed: list[Tried], target: float) -> int | None:
    """The next effort to try for the target, or None: it is not reached at all, or its least effort is known."""
    good = [one for one in climbed if one.recall >= target]
    if not good:
        return None
    above = min(good)
    below = max((one for one in climbed if one.setting.effort < above.setting.effort), default=None)
    if below is None or above.setting.effort - below.setting.effort <= max(1, CLOSE * above.setting.effort):
        return None
    low, high = below.setting.effort, above.setting.effort
    misses_low, misses_high = (math.log(max(1e-5, 1 - one.recall)) for one in (below, above))
    wanted = math.log(1 - target)
    share = 0.5 if misses_low <= misses_high else (misses_low - wanted) / (misses_low - misses_high)
    guess = round(low * math.exp(math.log(high / low) * min(0.9, max(0.1, share))))
    return min(high - 1, max(low + 1, guess))


def candidates(tried: list[Tried], target: float) -> list[Setting]:
    """The settings to time for the target: the least effort of each second setting, without the hopeless."""
    least: dict[int, Tried] = {}
    for one in sorted(tried):
        if one.recall >= target:
            least.setdefault(one.setting.second, one)
    quickest = min((one.seconds for one in least.values()), default=0.0)
    return [one.setting for one in least.values() if one.seconds <= HOPELESS * quickest]


def drawn(tried: list[Tried], about: int) -> list[Setting]:
    """About so many settings (at least two) whose points draw the curve: those on its front, evenly over
    −log(1 − recall)."""
    front: list[Tried] = []
    for one in sorted(tried, key=lambda one: one.seconds):
        if not front or one.recall > front[-1].recall:
            front.append(one)
    front = [one for one in front if one.recall >= 0.6] or front[-1:]
    if len(front) <= about:
        return [one.setting for one in front]
    places = [-math.log10(max(1e-4, 1 - one.recall)) for one in front]
    wanted = [places[0] + (places[-1] - places[0]) * step / (about - 1) for step in range(about)]
    nearest = {min(range(len(front)), key=lambda i: abs(places[i] - place)) for place in wanted}
    return [front[i].setting for i in sorted(nearest)]
