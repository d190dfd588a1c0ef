"""A cloud that has no machine free, refuses, or is late to list one: nothing is paid twice, nothing is left running."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError
from rented_runs import run_with
from renting import Cloud, of_one_trial, planned

from deploy.cloud.experiment import run
from deploy.cloud.machines import Machines
from deploy.cloud.parcel import Parcel
from deploy.cloud.plan import read_plan

pytest_plugins = ["renting_fixtures"]
pytestmark = pytest.mark.usefixtures("credentials")


class Altered:
    """EC2 with some of its calls replaced."""

    def __init__(self, ec2: Any, **calls: Callable[..., Any]) -> None:
        self._ec2, self._calls = ec2, calls

    def __getattr__(self, name: str) -> Any:
        return self._calls.get(name) or getattr(self._ec2, name)


def no(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "not now"}}, "RunInstances")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("terminal", [True, False])
def test_impatience_while_ending_waits_to_be_tried_again_ends_nothing_sooner(
    terminal: bool, error: type[BaseException], cloud: Cloud, archives: dict[str, Path], tmp_path: Path
) -> None:
    """Interrupted, then again in each wait between the tries of an ending that AWS refuses, on a lost terminal."""
    waits: list[float] = []

    def refused_thrice(**given: Any) -> Any:
        if len(waits) < 4:
            raise no("Unavailable")
        return cloud.client("ec2").terminate_instances(**given)

    def interrupted(seconds: float) -> None:
        assert len(cloud.machinery.alive()) == 2
        waits.append(seconds)
        raise error

    def tell(line: str) -> None:
        if not terminal and "ending" in line:
            raise OSError("Input/output error")

    ec2 = Altered(cloud.client("ec2"), terminate_instances=refused_thrice)
    with pytest.raises(error):
        run_with(cloud, ec2, planned(archives), tmp_path, archives, wait=interrupted, tell=tell)
    assert waits == [10.0, 2.0, 4.0, 8.0]
    assert cloud.machinery.alive() == []


class Refusing(Altered):
    """EC2 that answers launches in turn with these error codes, None being none, and the rest with machines."""

    def __init__(self, ec2: Any, *codes: str | None) -> None:
        self.codes, self.tokens = list(codes), list[str]()
        super().__init__(ec2, run_instances=self._launch)

    def _launch(self, **given: Any) -> Any:
        self.tokens.append(given["ClientToken"])
        code = self.codes.pop(0) if self.codes else None
        if code is not None:
            raise no(code)
        return self._ec2.run_instances(**given)


def test_where_no_machine_is_free_it_is_asked_again_at_no_cost(
    cloud: Cloud, archives: dict[str, Path], tmp_path: Path
) -> None:
    plan = planned(archives)
    plan.max_usd = plan.worst_usd + 0.01  # for no attempt that fails
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        cloud.machinery.step()

    ec2 = Refusing(cloud.client("ec2"), "InsufficientInstanceCapacity", "VcpuLimitExceeded")
    run_with(cloud, ec2, plan, tmp_path, archives, wait=wait)
    assert [trial.attempts for trial in plan.trials] == [1, 1]
    assert waits[:2] == [30.0, 60.0]
    # EC2 takes a token that it has seen, with other user data, for a mistake.
    assert len(ec2.tokens) == len(set(ec2.tokens)) == 6


def test_a_generator_that_is_refused_costs_its_pair_and_is_asked_for_again(
    cloud: Cloud, archives: dict[str, Path], tmp_path: Path
) -> None:
    plan = of_one_trial(archives)
    alive_while_waiting: list[int] = []

    def wait(_: float) -> None:
        alive_while_waiting.append(len(cloud.machinery.alive()))
        cloud.machinery.step()

    ec2 = Refusing(cloud.client("ec2"), None, "InsufficientInstanceCapacity")
    run_with(cloud, ec2, plan, tmp_path, archives, wait=wait)
    assert (plan.trials[0].attempts, plan.trials[0].done) == (2, True)
    assert alive_while_waiting == [0, 2]


def test_refusals_that_last_end_the_run_and_the_same_again_goes_on(
    cloud: Cloud, archives: dict[str, Path], tmp_path: Path
) -> None:
    plan = planned(archives)
    plan.max_usd = plan.worst_usd + 0.01
    for _ in range(4):
        ec2 = Refusing(cloud.client("ec2"), *["InsufficientInstanceCapacity"] * 5)
        with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
            run_with(cloud, ec2, read_plan(tmp_path) or plan, tmp_path, archives)
        assert ec2.codes == []
    kept = read_plan(tmp_path)
    assert kept
    assert [trial.attempts for trial in kept.trials] == [0, 0]
    run_with(cloud, cloud.client("ec2"), kept, tmp_path, archives)
    assert all(trial.done for trial in kept.trials)


def test_what_may_have_been_launched_counts(cloud: Cloud, archives: dict[str, Path], tmp_path: Path) -> None:
    plan = planned(archives)
    with pytest.raises(ClientError, match="InternalError"):
        run_with(cloud, Refusing(cloud.client("ec2"), "InternalError"), plan, tmp_path, archives)
    assert plan.trials[0].attempts == 1


def test_a_refusal_of_the_real_call_takes_its_attempt_back(
    cloud: Cloud, archives: dict[str, Path], tmp_path: Path
) -> None:
    """moto refuses as AWS does, with a status: here, a subnet that is not there."""
    plan = planned(archives)
    elsewhere = msgspec.structs.replace(cloud.stack, subnet="subnet-0123456789abcdef0")
    rented = Machines(cloud.client("ec2"), cloud.client("ssm"), elsewhere, plan.experiment)
    parcel = Parcel(cloud.client("s3"), cloud.stack.bucket, plan.experiment, valid_s=1800)
    with pytest.raises(ClientError, match="InvalidSubnetID"):
        run(plan, tmp_path, archives, rented, parcel, tell=lambda _: None, wait=lambda _: None)
    assert plan.trials[0].attempts == 0


class Late:
    """EC2 as it is: a machine is listed only some time after its launch was answered."""

    def __init__(self, ec2: Any) -> None:
        self._ec2, self.listed = ec2, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ec2, name)

    def get_paginator(self, name: str) -> Any:
        return self._ec2.get_paginator(name) if self.listed else self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        return [{"Reservations": []}]


def test_a_machine_that_is_not_listed_yet_is_ended_too(cloud: Cloud, archives: dict[str, Path], tmp_path: Path) -> None:
    plan = planned(archives)
    ec2 = Late(cloud.client("ec2"))
    rented = Machines(ec2, cloud.client("ssm"), cloud.stack, plan.experiment)
    parcel = Parcel(cloud.client("s3"), cloud.stack.bucket, plan.experiment, valid_s=1800)

    def interrupted(_: float) -> None:
        assert len(cloud.machinery.alive()) == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan, tmp_path, archives, rented, parcel, tell=lambda _: None, wait=interrupted)
    assert cloud.machinery.alive() == []

    looks: list[float] = []

    def listed(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) > 3:  # the first looks find none of the two, and it is no failure
            ec2.listed = True
            cloud.machinery.step()

    records = run(plan, tmp_path, archives, rented, parcel, tell=lambda _: None, wait=listed)
    assert [trial.attempts for trial in plan.trials] == [2, 1]
    assert len(looks) == 5
    assert all(path.exists() for path in records)
    assert cloud.machinery.alive() == []
