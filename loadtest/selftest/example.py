"""A migration that never happened: two simulated machines, to see what a comparison looks like before there is one.

Both are queues in virtual time whose speed is planted, with blocks that share a slow or fast hour as clouds have them.
Every record is marked as simulated, the machines are called so, and the report prints it across the top. The instance
names only lend their price; no figure here says anything about them.
"""

from __future__ import annotations

import math

import numpy as np

from embed.vectors.provenance import own_version
from loadtest.experiment.knee import find_knee
from loadtest.prices.price import Price
from loadtest.prices.table import find_price
from loadtest.record.objective import Objective
from loadtest.record.run_record import Asked, Label, Record
from loadtest.record.trial import RecallEstimate, Trial
from loadtest.selftest.simulate import EPOCH, Queue, simulated_trial

BASELINE, REPLICA, CANDIDATE = "simulated x86", "simulated x86 (replica)", "simulated arm64"
MEAN_S = 0.0005


def simulated_record(
    arm: str,
    block: int,
    speed: float,
    *,
    seed: int,
    price: Price | None = None,
    noise: float = 0.02,
    block_noise: float = 0.05,
    slo_p99_ms: float = 20.0,
    curve: bool = True,
) -> Record:
    """One knee of a simulated machine that is `speed` times as fast as the base, on a day with its own luck.

    `block_noise` and `noise` are log standard deviations: of the hour, which all arms of a block share, and of the
    trial.
    """
    hour = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, block))).normal(0, block_noise)
    own_key = (1, block, sum(map(ord, arm)))
    own = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=own_key)).normal(0, noise)
    queue = Queue(MEAN_S / (speed * math.exp(hour + own)), constant=False)
    recall = RecallEstimate(0.967, 0.959, 0.975, 300, 10)
    number = [seed * 1_000_003 + block * 1009 + sum(map(ord, arm)) * 7]

    def measure(rate: float, duration: float, role: str) -> Trial:
        number[0] += 1
        return simulated_trial(queue, rate, duration, number[0], role, recall)

    objective = Objective(p99_ms=slo_p99_ms, recall=0.95)
    knee, trials = find_knee(measure, objective, start_qps=queue.capacity_qps * 0.45, search_s=5, confirm_s=15)
    if curve:
        trials.append(simulated_trial(Queue(MEAN_S), 0.0, 10.0, 0, "idle"))
        trials += [measure(knee.sustained_qps * level / 10, 10.0, "curve") for level in range(1, 11)]
    return Record(
        kind="knee",
        created_at=EPOCH,
        perwatt=own_version(),
        label=Label(arm, block, "example", simulated=True),
        objective=objective,
        asked=Asked(1000, "text", "sha256:simulated", "zipf:1", [], 10),
        trials=trials,
        knee=knee,
        price=price,
        notes=[
            "simulated: queues in virtual time with a planted speed; nothing was measured; instance names only "
            "lend their price"
        ],
    )


def example_records(blocks: int = 8, speed: float = 1.12, seed: int = 7) -> list[Record]:
    """Baseline, its replica, and a candidate that is `speed` times as fast, in so many blocks."""
    base, other = find_price("c7i.2xlarge"), find_price("c8g.2xlarge")
    records = []
    for block in range(blocks):
        for arm, factor, price in (
            (BASELINE, 1.0, base),
            (REPLICA, 1.0, base),
            (CANDIDATE, speed, other),
        ):
            records.append(simulated_record(arm, block, factor, seed=seed, price=price, curve=block == 0))
    return records
