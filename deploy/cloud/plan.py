"""What will be rented, in which order, for how much at the most: decided before the first call to the cloud.

A trial is one pair of machines: the one under test and one that loads it, the same kind for every trial. Every block
holds each arm once, in an order drawn by a seeded generator, so that a slow hour of the cloud meets all arms alike. The
first amd64 arm is run a second time in every block as its own replica, whose spread is the noise floor of the report.

The cost is the worst case: every machine lives until it has ended itself. It is held against the budget before
anything is launched, and again by what is left of it when a run goes on.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from deploy.cloud.boot import SPARE_MINUTES
from deploy.cloud.options import knee_seconds
from deploy.errors import DeployError
from embed.vectors.durable import write_atomically
from loadtest.experiment.duration import about
from loadtest.prices.price import Price
from loadtest.prices.table import find_price, price_table

FILE = "fleet.json"
FORMAT = "perwatt-fleet-2"
REPLICA = "-again"
STARTING_S = 300.0  # as a rule: two machines boot and fetch their images, the service reads its index


class RentedTrial(msgspec.Struct, forbid_unknown_fields=True):
    """One arm in one block. `attempts` counts the pairs that may have been launched for it; `done` that its record is
    here.
    """

    arm: str
    instance: str
    arch: str
    block: int
    attempts: int = 0
    done: bool = False

    @property
    def name(self) -> str:
        return f"{self.arm}-{self.block:02}"


class RentalPlan(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides what is measured; a run that goes on must have the same."""

    format: str = FORMAT
    experiment: str
    region: str
    generator: str
    generator_arch: str
    spot: bool
    minutes: int  # after which a machine ends itself
    prices: list[Price]  # of the machines, as they were when the experiment was started
    max_usd: float
    sha256: dict[str, str]  # of the images and the index
    knee: list[str]  # options of `perwatt loadtest knee`
    serve: list[str]  # options of `perwatt serve`
    trials: list[RentedTrial]

    @property
    def baseline(self) -> str:
        return next(trial.arm for trial in self.trials if trial.arm + REPLICA in {each.arm for each in self.trials})

    def price(self, instance: str) -> Price:
        return find_price(instance, self.prices, self.region)

    def trial_usd(self, trial: RentedTrial) -> float:
        """The most that one attempt can cost: both machines until they have ended themselves, at on-demand prices."""
        both = self.price(trial.instance).usd_per_hour + self.price(self.generator).usd_per_hour
        return both * (self.minutes + SPARE_MINUTES) / 60

    @property
    def worst_usd(self) -> float:
        """Of all that was launched and all that is still to be."""
        return sum(self.trial_usd(trial) * (trial.attempts + (not trial.done)) for trial in self.trials)

    def check_budget(self) -> None:
        """Raises DeployError when what is planned could cost more than is allowed."""
        if not self.worst_usd <= self.max_usd:  # so that NaN allows nothing
            spent = sum(self.trial_usd(trial) * trial.attempts for trial in self.trials)
            raise DeployError(
                f"This could cost ${self.worst_usd:.2f}, ${spent:.2f} of it for what was launched before; --max-usd "
                f"allows ${self.max_usd:.2f}. Take fewer blocks, smaller machines or fewer --minutes, or allow more."
            )


def make_plan(
    *,
    arms: Sequence[str],
    amd64: Sequence[str],
    blocks: int,
    replica: bool,
    generator: str,
    region: str,
    spot: bool,
    minutes: int,
    max_usd: float,
    sha256: dict[str, str],
    knee: Sequence[str],
    serve: Sequence[str],
    seed: int,
    table: Sequence[Price] | None = None,
) -> RentalPlan:
    """`arms`: arm64 instance types, `amd64`: the others, of which the first is the baseline. `table`: prices, those of
    the package by default. Raises DeployError and PriceError.
    """
    if not amd64 or len({*arms, *amd64}) != len(arms) + len(amd64) or len(arms) + len(amd64) + replica < 2:
        raise DeployError(
            f"--arm {', '.join(arms) or 'none'} and --amd64 {', '.join(amd64) or 'none'} make no comparison: expected "
            "at least one amd64 machine, the baseline, and another machine or a replica, each once."
        )
    kinds = [(name, name, "arm64") for name in arms] + [(name, name, "amd64") for name in amd64]
    if replica:
        kinds.append((amd64[0] + REPLICA, amd64[0], "amd64"))
    prices = aws_prices([*(instance for _, instance, _ in kinds), generator], region, table)
    for _, instance, arch in kinds:
        sold = find_price(instance, prices).architecture
        if sold != arch:
            raise DeployError(
                f"{instance} is an {sold} machine: name it with {'--arm' if sold == 'arm64' else '--amd64'}."
            )
    shuffle = random.Random(seed)
    trials = []
    for block in range(1, blocks + 1):
        order = shuffle.sample(kinds, len(kinds))
        trials += [RentedTrial(arm, instance, arch, block) for arm, instance, arch in order]
    now = datetime.datetime.now(datetime.UTC)
    return RentalPlan(
        experiment=f"fleet-{now:%Y%m%dT%H%M%SZ}-{os.urandom(2).hex()}",
        region=region,
        generator=generator,
        generator_arch=find_price(generator, prices).architecture,
        spot=spot,
        minutes=minutes,
        prices=prices,
        max_usd=max_usd,
        sha256=sha256,
        knee=list(knee),
        serve=list(serve),
        trials=trials,
    )


def aws_prices(instances: Sequence[str], region: str, table: Sequence[Price] | None = None) -> list[Price]:
    """The rows of what AWS sells in `region`, each instance type once; PriceError for one that is not there."""
    sold = [price for price in table or price_table() if price.provider == "aws"]
    return [find_price(instance, sold, region) for instance in dict.fromkeys(instances)]


def described(plan: RentalPlan) -> list[str]:
    """The plan as a person reads it before paying for it."""
    lines = [f"{plan.experiment} in {plan.region}, {'spot' if plan.spot else 'on demand'}"]
    for block in sorted({trial.block for trial in plan.trials}):
        lines.append(f"  block {block}: " + ", then ".join(t.arm for t in plan.trials if t.block == block))
    instances = dict.fromkeys([*(trial.instance for trial in plan.trials), plan.generator])
    lines += [f"  {plan.price(instance).stated()}" for instance in instances]
    left = [trial for trial in plan.trials if not trial.done]
    lines.append(
        f"  {len(left)} trials of two machines (one under test, one {plan.generator} that loads it), at most "
        f"{plan.minutes} minutes each and {SPARE_MINUTES} to start and to end"
    )
    longest_s = (plan.minutes + SPARE_MINUTES) * 60
    least_s, most_s = (min(STARTING_S + seconds, longest_s) for seconds in knee_seconds(plan.knee))
    lines.append(
        f"  one trial after the other: {about(len(left) * least_s, len(left) * most_s)} in all, at most "
        f"{len(left) * longest_s / 3600:.1f} h"
    )
    lines.append(
        f"  at most ${plan.worst_usd:.2f} of ${plan.max_usd:.2f} allowed"
        + (", at on-demand prices, which spot does not exceed" if plan.spot else "")
        + "; storage and transfer within the region are not in it (below a cent a machine)"
    )
    return lines


def write_plan(plan: RentalPlan, folder: Path) -> None:
    """Replaces the plan on disk in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, msgspec.json.format(msgspec.json.encode(plan), indent=1))


def read_plan(folder: Path) -> RentalPlan | None:
    """The plan of a run that was started in `folder`, None where there is none; DeployError for a damaged one."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=RentalPlan)
    except msgspec.MsgspecError as error:
        raise DeployError(
            f"{path} is not a plan that this version can go on with: {error}. Take another --out."
        ) from error


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Holds `folder` for one run: a second would end the machines of the first. Raises DeployError when it is held."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DeployError(f"Another run is at work in {folder}. Wait for it, or take another --out.") from None
        yield


def same_question(old: RentalPlan, new: RentalPlan) -> None:
    """Raises DeployError when a run that would go on was asked something else before."""
    fields = ("region", "generator", "spot", "minutes", "prices", "sha256", "knee", "serve")
    arms = [{(trial.arm, trial.block) for trial in plan.trials} for plan in (old, new)]
    differ = [field for field in fields if getattr(old, field) != getattr(new, field)]
    if arms[0] != arms[1]:
        differ.append("arms or blocks")
    if differ:
        raise DeployError(
            f"{old.experiment} was started with other {', '.join(differ)}. Give the same again to go on, or take "
            "another --out."
        )
