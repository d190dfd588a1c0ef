"""The ratio of two arms, with an interval that has been tried on identical machines.

The unit is one trial on one machine, never a request: requests share their machine's luck. Trials are made in blocks,
each with every arm in random order, and only ratios within a block count, so a slow hour of the cloud cancels. The
estimate is the exponential of the mean log ratio. Two intervals are formed, Student's t on the log ratios and a
bootstrap over blocks; the wider one decides, since t trusts a shape that cloud noise need not have and the bootstrap is
too bold with few blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import scipy

from loadtest.errors import RecordError

RESAMPLES = 10_000
FEWEST = 3  # blocks; with two, t's interval spans a factor of 12.7 standard errors and means nothing


class Mean(msgspec.Struct, frozen=True):
    """A geometric mean over blocks with its two-sided interval; with fewer than FEWEST blocks that is (0, ∞).

    Args:
        log_se: the standard error of its logarithm.
    """

    estimate: float
    low: float
    high: float
    blocks: int
    log_se: float
    decided_by: str  # "t" or "bootstrap", whichever was wider; "none" with too few blocks


class Ratio(Mean, frozen=True):
    """candidate / baseline with its two-sided interval."""

    per_block: dict[int, float]

    def scaled(self, factor: float) -> Ratio:
        """The ratio of something that is exactly `factor` times this one (a price, a number of cores)."""
        return Ratio(
            self.estimate * factor,
            self.low * factor,
            self.high * factor,
            self.blocks,
            self.log_se,
            self.decided_by,
            {block: value * factor for block, value in self.per_block.items()},
        )


def geometric_mean(values: Sequence[float], level: float = 0.95, seed: int = 0) -> Mean:
    """Of values above 0, one a block."""
    logs = np.log(np.asarray(values, dtype=np.float64))
    n, mean = len(logs), float(logs.mean())
    if n < FEWEST:
        return Mean(math.exp(mean), 0.0, math.inf, n, math.inf, "none")
    se = float(logs.std(ddof=1)) / math.sqrt(n)
    reach = float(scipy.special.stdtrit(n - 1, (1 + level) / 2)) * se
    by_t = (mean - reach, mean + reach)
    random = np.random.default_rng(seed)
    means = logs[random.integers(0, n, (RESAMPLES, n))].mean(axis=1)
    by_bootstrap = tuple(np.quantile(means, [(1 - level) / 2, (1 + level) / 2]))
    t_wider = by_t[1] - by_t[0] >= by_bootstrap[1] - by_bootstrap[0]
    low, high = by_t if t_wider else by_bootstrap
    return Mean(math.exp(mean), math.exp(low), math.exp(high), n, se, "t" if t_wider else "bootstrap")


def paired_ratio(
    candidate: Mapping[int, float],
    baseline: Mapping[int, float],
    level: float = 0.95,
    seed: int = 0,
) -> Ratio:
    """The ratio over the blocks that have both arms. With fewer than FEWEST its interval is (0, ∞)."""
    shared = sorted(candidate.keys() & baseline.keys())
    if not shared:
        raise RecordError(
            f"the arms share no block: the candidate has {sorted(candidate)}, the baseline {sorted(baseline)}. "
            "Trials are paired within a block (--block)"
        )
    for block in shared:
        if not (candidate[block] > 0 and baseline[block] > 0):
            raise RecordError(
                f"block {block} has {candidate[block]} over {baseline[block]}: a ratio needs both above 0"
            )
    per_block = {block: candidate[block] / baseline[block] for block in shared}
    mean = geometric_mean(list(per_block.values()), level, seed)
    return Ratio(mean.estimate, mean.low, mean.high, mean.blocks, mean.log_se, mean.decided_by, per_block)


def detectable(ratio: Ratio, power: float = 0.8, level: float = 0.95) -> float:
    """The smallest true effect (as a share, 0.05 for 5 %) that so many blocks of this noise would find with `power`."""
    if ratio.blocks < FEWEST:
        return math.inf
    z = float(scipy.special.ndtri((1 + level) / 2) + scipy.special.ndtri(power))
    return math.exp(z * ratio.log_se) - 1


def blocks_needed(ratio: Ratio, effect: float, power: float = 0.8, level: float = 0.95) -> int:
    """Blocks of this noise that find a true effect of `effect` (0.05 for 5 %)."""
    z = float(scipy.special.ndtri((1 + level) / 2) + scipy.special.ndtri(power))
    sd = ratio.log_se * math.sqrt(ratio.blocks)
    return max(math.ceil((z * sd / math.log1p(effect)) ** 2), FEWEST)
