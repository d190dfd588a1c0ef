"""Experiments on machines that moto simulates: those that go well, and crashes and damage at every step."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rented_runs import run_with
from renting import REGION, TEMPLATE, Cloud, Machinery, boto3, of_one_trial, planned, record_of, starved

from deploy.cloud.boot import SPARE_MINUTES
from deploy.cloud.experiment import put_aside
from deploy.cloud.machines import EXPERIMENT, Machines, reap
from deploy.cloud.plan import read_plan
from deploy.cloud.stack import read_stack
from deploy.errors import DeployError
from loadtest.record.run_record import read_record

pytest_plugins = ["renting_fixtures"]
pytestmark = pytest.mark.usefixtures("credentials")


def test_an_experiment_gives_a_record_of_every_trial_and_leaves_nothing_running(
    cloud: Cloud, archives: dict[str, Path], tmp_path: Path
) -> None:
    plan = planned(archives, blocks=2, replica=True)
    records = cloud.run(plan, tmp_path, archives)
    assert [path.stem for path in records] == [trial.name for trial in plan.trials]
    assert all(path.exists() for path in records)
    assert cloud.machinery.alive() == []
    launched = cloud.machinery.launched
    assert len(launched) == 2 * len(plan.trials)
    for each in launched:
        shutdown = cloud.machinery.ec2.describe_instance_attribute(
            InstanceId=each["InstanceId"], Attribute="instanceInitiatedShutdownBehavior"
        )
        assert shutdown["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
        assert each["script"].splitlines()[1].startswith("shutdown -h +25 ")
        assert each["SubnetId"] == cloud.stack.subnet
        assert each.get("IamInstanceProfile") is None
        assert each["tags"][EXPERIMENT] == plan.experiment
        due = datetime.datetime.fromisoformat(each["tags"]["perwatt-expires"])
        assert due - each["LaunchTime"] < datetime.timedelta(minutes=25 + SPARE_MINUTES + 1)
    assert {each["Placement.GroupName"] for each in cloud.launches} == {"perwatt"}  # which moto does not keep
    kinds = {each["InstanceType"] for each in launched if "generator" in each["tags"]["Name"]}
    assert kinds == {"c8i.4xlarge"}


def test_all_machines_get_the_same_bytes_by_their_hash(cloud: Cloud, archives: dict[str, Path], tmp_path: Path) -> None:
    plan = planned(archives, blocks=2)
    cloud.run(plan, tmp_path, archives)
    said = [
        dict(re.findall(r"^(\w+_sha256)=(\w+)$", each["script"], re.MULTILINE)) for each in cloud.machinery.launched
    ]
    assert {each["index_sha256"] for each in said} == {plan.sha256["index"]}
    assert {each["image_sha256"] for each in said} == {plan.sha256[name] for name in archives} - {plan.sha256["index"]}
    for name, path in archives.items():
        stored = cloud.machinery.s3.get_object(Bucket=cloud.stack.bucket, Key=f"archives/{plan.sha256[name]}.tar")
        assert stored["Body"].read() == path.read_bytes()


def test_spot_machines_are_asked_for_where_spot_is_wanted(
    cloud: Cloud, archives: dict[str, Path], tmp_path: Path
) -> None:
    cloud.run(planned(archives, spot=True), tmp_path, archives)
    assert {each.get("InstanceLifecycle") for each in cloud.machinery.launched} == {"spot"}


def test_the_rights_of_the_role_are_those_that_are_used(
    cloud: Cloud, archives: dict[str, Path], tmp_path: Path
) -> None:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, suffix, node: f"{suffix} {getattr(node, 'value', '')}")
    archives["index"].write_text("bytes that were not uploaded before")
    cloud.run(planned(archives), tmp_path, archives)
    read_stack(cloud.client("cloudformation"), "perwatt-fleet", REGION)
    statements = yaml.load(TEMPLATE, Loader)["Resources"]["Policy"]["Properties"]["PolicyDocument"]["Statement"]
    granted = {
        action
        for each in statements
        for action in ([each["Action"]] if isinstance(each["Action"], str) else each["Action"])
    }
    # Calls whose right has another name; tags at launch need one of their own.
    named = {"s3:ListObjectsV2": "s3:ListBucket"}
    assert granted == {named.get(call, call) for call in cloud.calls} | {"ec2:CreateTags"}
    for each in statements:
        open_ended = each["Resource"] == "*"
        assert open_ended == (each["Action"] == "ec2:DescribeInstances")


def test_a_trial_that_fails_is_made_again_and_its_log_kept(
    cloud: Cloud, archives: dict[str, Path], tmp_path: Path
) -> None:
    plan = planned(archives)
    first = plan.trials[0]
    cloud.machinery.failing = {first.name}
    cloud.run(plan, tmp_path, archives)
    assert (first.attempts, first.done) == (2, True)
    assert (tmp_path / "runs" / f"{first.name}-1.log").read_bytes() == b"the log"
    assert cloud.machinery.alive() == []


def test_a_trial_that_keeps_failing_ends_the_experiment(
    cloud: Cloud, archives: dict[str, Path], tmp_path: Path
) -> None:
    def step(_: float) -> None:
        cloud.machinery.failing = {trial.name for trial in plan.trials}
        cloud.machinery.step()

    plan = planned(archives)
    with pytest.raises(DeployError, match=r"failed 3 times.*The same command tries again"):
        cloud.run(plan, tmp_path, archives, wait=step)
    assert len(cloud.machinery.launched) == 6
    assert cloud.machinery.alive() == []
    cloud.machinery = Machinery()
    kept = read_plan(tmp_path)
    assert kept
    cloud.run(kept, tmp_path, archives)
    assert [trial.attempts for trial in kept.trials] == [4, 1]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (starved, "the record is invalid: "),
        (lambda record: record[: len(record) // 2], "is not a run record"),
        (lambda record: record.replace(b'"experiment":"fleet-', b'"experiment":"other-'), "the record is of .*other-"),
    ],
)
def test_a_record_that_cannot_be_used_is_kept_aside_and_its_trial_made_again(
    spoil: Callable[[bytes], bytes], says: str, cloud: Cloud, archives: dict[str, Path], tmp_path: Path
) -> None:
    plan = planned(archives)
    first = plan.trials[0]
    cloud.machinery.damaged = {first.name: spoil}
    told: list[str] = []
    records = run_with(cloud, cloud.client("ec2"), plan, tmp_path, archives, tell=told.append)
    assert (first.attempts, first.done) == (2, True)
    assert re.search(says, "\n".join(told))
    assert [path.name for path in put_aside(tmp_path)] == [f"{first.name}-1.invalid.json"]
    assert sorted((tmp_path / "runs").glob("*.json")) == sorted(records)
    assert all(read_record(path).label.experiment == plan.experiment for path in records)


def test_a_record_that_was_damaged_since_is_made_again(cloud: Cloud, archives: dict[str, Path], tmp_path: Path) -> None:
    plan = planned(archives)
    [damaged, _] = cloud.run(plan, tmp_path, archives)
    damaged.write_bytes(b"{")
    cloud.machinery = Machinery()
    cloud.run(plan, tmp_path, archives)
    assert {each["tags"]["perwatt-trial"] for each in cloud.machinery.launched} == {damaged.stem}
    assert read_record(damaged).label.arm == plan.trials[0].arm


def test_a_record_of_another_experiment_is_not_taken(cloud: Cloud, archives: dict[str, Path], tmp_path: Path) -> None:
    plan = planned(archives)
    other = tmp_path / "runs" / f"{plan.trials[1].name}.json"
    other.parent.mkdir()
    other.write_bytes(record_of(plan.trials[1].arm, 1, "fleet-of-yesterday"))
    with pytest.raises(DeployError, match=f"is a record of fleet-of-yesterday, and this is {plan.experiment}"):
        cloud.run(plan, tmp_path, archives)
    assert cloud.calls == []
    assert other.exists()


def calls_of_a_run(cloud: Cloud, archives: dict[str, Path], folder: Path) -> int:
    cloud.run(of_one_trial(archives), folder, archives)
    count = len(cloud.calls)
    cloud.calls.clear()
    cloud.machinery = Machinery()
    return count


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("when", "errors"), [("before", (KeyboardInterrupt, SystemExit)), ("after", (RuntimeError, SystemExit))]
)
def test_a_crash_at_any_call_leaves_no_machine_and_the_run_goes_on(
    when: str,
    errors: tuple[type[BaseException], ...],
    every: int,
    cloud: Cloud,
    archives: dict[str, Path],
    tmp_path: Path,
) -> None:
    """By turns with an error, and with what Ctrl-C and signals are; at every third call, in `make test-long` at all."""
    count = calls_of_a_run(cloud, archives, tmp_path / "whole")
    assert count > 12
    swallowed = 0
    for at in range(1, count + 1, every):
        folder, error = tmp_path / str(at), errors[at % len(errors)]
        cloud.calls.clear()
        cloud.crash, cloud.error, cloud.machinery = (when, at), error, Machinery()
        plan = of_one_trial(archives)
        try:
            cloud.run(plan, folder, archives)
            swallowed += len(cloud.calls) >= at  # while ending what is already over: tried again
        except error as raised:
            assert str(raised).startswith("crash")  # noqa: PT017 – which call it was differs
        assert cloud.machinery.alive() == [], f"crash {when} call {at}, {cloud.calls[at - 1]}"
        cloud.crash = None
        kept = read_plan(folder) or plan
        kept.max_usd = 100.0
        records = cloud.run(kept, folder, archives)
        assert all(path.exists() for path in records)
        assert cloud.machinery.alive() == []
        assert len(list((folder / "runs").glob("*-01.json"))) == 1
        cloud.forget()
    assert swallowed < 4


def test_a_crash_while_waiting_leaves_no_machine(cloud: Cloud, archives: dict[str, Path], tmp_path: Path) -> None:
    def interrupted(_: float) -> None:
        assert len(cloud.machinery.alive()) == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cloud.run(planned(archives), tmp_path, archives, wait=interrupted)
    assert cloud.machinery.alive() == []


def test_records_that_are_here_are_not_paid_for_again(cloud: Cloud, archives: dict[str, Path], tmp_path: Path) -> None:
    cloud.run(planned(archives), tmp_path, archives)
    plan = read_plan(tmp_path)
    assert plan
    (tmp_path / "runs" / f"{plan.trials[1].name}.json").unlink()
    cloud.machinery = Machinery()
    cloud.run(plan, tmp_path, archives)
    assert {each["tags"]["perwatt-trial"] for each in cloud.machinery.launched} == {plan.trials[1].name}


def test_the_reaper_takes_what_outlived_its_time_and_nothing_else(cloud: Cloud, archives: dict[str, Path]) -> None:
    ec2 = cloud.machinery.ec2
    rented = Machines(ec2, boto3.client("ssm", REGION), cloud.stack, "fleet-lost")
    lost, _ = rented.launch("c8g.4xlarge", "arm64", "lost", "server", "#!/bin/sh", 30, False)
    [image] = ec2.describe_instances(InstanceIds=[lost])["Reservations"][0]["Instances"]
    stranger = ec2.run_instances(ImageId=image["ImageId"], MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    now = datetime.datetime.now(datetime.UTC)
    assert reap(ec2, now) == []
    assert reap(ec2, now + datetime.timedelta(minutes=36)) == [(lost, "fleet-lost")]
    assert [each["InstanceId"] for each in cloud.machinery.alive()] == [stranger]
    ec2.terminate_instances(InstanceIds=[stranger])
