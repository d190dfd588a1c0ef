"""Experiments on rented machines, against a cloud that moto simulates: planned, run, crashed at every step, reaped.

moto keeps machines, buckets and the stack; what the machines would do is played by `Machinery`: it reads the user data
of a generator that runs, and writes a simulated record where that says. The scripts themselves are run for real, with
the container engine and `shutdown` replaced by programs that write down how they were called.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import boto3
import msgspec
import pytest
import yaml
from botocore.exceptions import ClientError
from click.testing import CliRunner
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT_ID
from moto.ec2 import ec2_backends
from moto.server import ThreadedMotoServer

from deploy.cloud import boot, machines
from deploy.cloud.boot import SPARE_MINUTES
from deploy.cloud.cli import cloud as answering
from deploy.cloud.cli import ended_by_signals
from deploy.cloud.cli import fleet as commands
from deploy.cloud.experiment import put_aside, run
from deploy.cloud.machines import EXPERIMENT, Machines, reap
from deploy.cloud.options import check_knee, check_serve
from deploy.cloud.parcel import Parcel, check_index, sha256_of, sign_in
from deploy.cloud.plan import FILE, Plan, make_plan, one_at_a_time, read_plan, same_question, write_plan
from deploy.cloud.stack import Stack, read_stack
from deploy.errors import DeployError
from loadtest.example import simulated_record
from loadtest.prices.refresh import write_table
from loadtest.prices.table import find_price, price_table
from loadtest.record import Record, read_record
from loadtest.trial import Gate

REGION = "us-east-1"
TEMPLATE = (Path(__file__).parents[1] / "deploy" / "cloud" / "fleet.yaml").read_text()
# A placement group is the one resource that moto does not know.
MOTO_TEMPLATE = re.sub(r"  PlacementGroup:\n    Type:.*?\n\n", "", TEMPLATE, flags=re.DOTALL).replace(
    "PlacementGroup: {Value: !Ref PlacementGroup}", "PlacementGroup: {Value: perwatt}"
).replace("placement-group/${PlacementGroup}", "placement-group/perwatt")  # fmt: skip
SPEED = {"c8g.4xlarge": 1.2, "c8i.4xlarge": 1.0}


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)


@pytest.fixture
def archives(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "archives"
    folder.mkdir()
    for name in ("serve-amd64", "serve-arm64", "loadtest-amd64"):
        (folder / f"{name}.tar").write_text(f"the bytes of {name}")
    pack(folder / "index.tar", "indexes/docs/current", "vectors/embed.json")
    return {path.stem: path for path in sorted(folder.glob("*.tar"))}


def pack(archive: Path, *names: str, mode: int = 0o644) -> None:
    with tarfile.open(archive, "w") as file:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.mode = mode
            file.addfile(entry)


def planned(archives: dict[str, Path], **changed: Any) -> Plan:
    given: dict[str, Any] = {
        "arms": ["c8g.4xlarge"], "amd64": ["c8i.4xlarge"], "blocks": 1, "replica": False, "generator": "c8i.4xlarge",
        "region": REGION, "spot": False, "minutes": 25, "max_usd": 100.0, "knee": ["--index", "docs"], "serve": [],
        "sha256": {name: sha256_of(path) for name, path in archives.items()}, "seed": 1,
    }  # fmt: skip
    return make_plan(**{**given, **changed})


@cache
def simulated(instance: str) -> Record:
    return simulated_record(instance, 1, SPEED[instance], seed=3, price=find_price(instance), curve=False)


def record_of(arm: str, block: int, experiment: str) -> bytes:
    """Of the arm in that block: all blocks and the replica alike, because simulating takes its time."""
    record = simulated(arm.removesuffix("-again"))
    label = msgspec.structs.replace(record.label, arm=arm, block=block, experiment=experiment)
    return msgspec.json.encode(msgspec.structs.replace(record, label=label))


@cache
def client_of(service: str, endpoint: str | None = None) -> Any:
    return boto3.client(service, REGION, endpoint_url=endpoint)


class Machinery:
    """What running machines do, a step at every look: generators write their record; those in `failing` only a log."""

    def __init__(self, endpoint: str | None = None) -> None:
        self.ec2, self.s3 = (client_of(name, endpoint) for name in ("ec2", "s3"))
        self.failing: set[str] = set()  # names of trials whose next attempt fails
        self.damaged: dict[str, Callable[[bytes], bytes]] = {}  # what becomes of the next record of a trial
        self.launched: list[dict[str, Any]] = []
        self._seen: set[str] = set()

    def alive(self) -> list[dict[str, Any]]:
        found = self.ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": list(machines.ALIVE)}])
        return [each for reservation in found["Reservations"] for each in reservation["Instances"]]

    def step(self, _seconds: float = 0.0) -> None:
        for each in self.alive():
            if each["InstanceId"] in self._seen:
                continue
            self._seen.add(each["InstanceId"])
            tags = {tag["Key"]: tag["Value"] for tag in each["Tags"]}
            found = self.ec2.describe_instance_attribute(InstanceId=each["InstanceId"], Attribute="userData")
            script = boot.decoded(found["UserData"]["Value"])
            self.launched.append({**each, "tags": tags, "script": script})
            if "generator" in tags["Name"]:
                self._generate(each["InstanceId"], tags["perwatt-trial"], script)

    def _generate(self, instance: str, trial: str, script: str) -> None:
        [arm] = re.findall(r"--arm (\S+)", script)
        [block] = re.findall(r"--block (\d+)", script)
        [experiment] = re.findall(r"--experiment (\S+)", script)
        self._put(script, "log_url", b"the log")
        if trial in self.failing:
            self.failing.remove(trial)
            self.ec2.terminate_instances(InstanceIds=[instance])
            return
        spoilt = self.damaged.pop(trial, lambda record: record)
        self._put(script, "run_url", spoilt(record_of(arm, int(block), experiment)))

    def _put(self, script: str, name: str, body: bytes) -> None:
        [url] = re.findall(rf"^{name}='?(\S+?)'?$", script, re.MULTILINE)
        parsed = urlparse(url)
        host = (parsed.hostname or "").split(".")
        path = parsed.path.lstrip("/")
        bucket, key = (host[0], path) if "s3" in host[1:2] else path.split("/", 1)
        self.s3.put_object(Bucket=bucket, Key=key, Body=body)


class Cloud:
    """moto's cloud with the stack in it, and clients whose calls are counted and can be made to fail."""

    def __init__(self) -> None:
        cloudformation = boto3.client("cloudformation", REGION)
        cloudformation.create_stack(
            StackName="perwatt-fleet", TemplateBody=MOTO_TEMPLATE, Capabilities=["CAPABILITY_IAM"]
        )
        self.stack = read_stack(cloudformation, "perwatt-fleet", REGION)
        self.machinery = Machinery()
        self._clients: dict[str, Any] = {}
        self.calls: list[str] = []
        self.launches: list[dict[str, Any]] = []  # the launching calls, as they are sent
        self.crash: tuple[str, int] | None = None  # ("before" | "after", at which call)
        self.error: type[BaseException] = RuntimeError

    def client(self, name: str) -> Any:
        if name in self._clients:
            return self._clients[name]
        client = self._clients[name] = boto3.client(name, REGION)

        def before(model: Any, params: dict[str, Any], **_: Any) -> None:
            self.calls.append(f"{name}:{model.name}")
            if model.name == "RunInstances":
                self.launches.append(params["body"])
            self._crash("before")

        def after(**_: Any) -> None:
            self._crash("after")

        client.meta.events.register_first("before-call.*.*", before)
        client.meta.events.register_last("after-call.*.*", after)
        return client

    def forget(self) -> None:
        """moto lists terminated machines for ever, which makes every look at them slower."""
        assert self.machinery.alive() == []
        ec2_backends[ACCOUNT_ID][REGION].reservations.clear()

    def _crash(self, when: str) -> None:
        if self.crash == (when, len(self.calls)):
            raise self.error(f"crash {when} {self.calls[-1]}")

    def run(
        self, plan: Plan, folder: Path, archives: dict[str, Path], wait: Callable[[float], None] | None = None
    ) -> Any:
        rented = Machines(self.client("ec2"), self.client("ssm"), self.stack, plan.experiment)
        parcel = Parcel(self.client("s3"), self.stack.bucket, plan.experiment, valid_s=1800)
        return run(plan, folder, archives, rented, parcel, tell=lambda _: None, wait=wait or self.machinery.step)


@pytest.fixture(scope="module")
def moto_cloud() -> Iterator[Cloud]:
    with mock_aws():
        yield Cloud()


@pytest.fixture
def cloud(moto_cloud: Cloud) -> Cloud:
    """The stack is made once; machines of another test are gone, or that test has failed."""
    moto_cloud.calls.clear()
    moto_cloud.launches.clear()
    moto_cloud.crash, moto_cloud.error = None, RuntimeError
    moto_cloud.machinery = Machinery()
    moto_cloud.forget()
    return moto_cloud


# --- the plan -------------------------------------------------------------------------------------------------------


def test_every_block_holds_every_arm_once_in_an_order_of_its_own(archives: dict[str, Path]) -> None:
    plan = planned(archives, amd64=["c8i.4xlarge", "c8a.4xlarge"], blocks=8, replica=True)
    orders = [[trial.arm for trial in plan.trials if trial.block == block] for block in range(1, 9)]
    assert all(sorted(order) == ["c8a.4xlarge", "c8g.4xlarge", "c8i.4xlarge", "c8i.4xlarge-again"] for order in orders)
    assert len({tuple(order) for order in orders}) > 3
    assert plan.baseline == "c8i.4xlarge"


def test_the_price_is_that_of_both_machines_until_they_end_themselves(archives: dict[str, Path]) -> None:
    plan = planned(archives, blocks=6)
    each = {name: find_price(name).usd_per_hour for name in ("c8g.4xlarge", "c8i.4xlarge")}
    assert plan.worst_usd == pytest.approx(
        6 * (25 + SPARE_MINUTES) / 60 * (each["c8g.4xlarge"] + 3 * each["c8i.4xlarge"])
    )


def test_what_was_launched_counts_even_if_it_failed(archives: dict[str, Path]) -> None:
    plan = planned(archives)
    before = plan.worst_usd
    plan.trials[0].attempts = 2
    assert plan.worst_usd == pytest.approx(before + 2 * plan.trial_usd(plan.trials[0]))
    plan.trials[0].done = True
    assert plan.worst_usd == pytest.approx(before + plan.trial_usd(plan.trials[0]))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"arms": ["c8i.2xlarge"]}, "is an amd64 machine: name it with --amd64"),
        ({"amd64": ["c8g.4xlarge"], "arms": []}, "make no comparison"),
        ({"amd64": ["c8g.2xlarge"]}, "is an arm64 machine: name it with --arm"),
        ({"amd64": []}, "make no comparison"),
        ({"amd64": ["c8i.4xlarge", "c8i.4xlarge"]}, "each once"),
    ],
)
def test_a_plan_without_a_comparison_is_refused(changed: dict[str, Any], says: str, archives: dict[str, Path]) -> None:
    with pytest.raises(DeployError, match=says):
        planned(archives, **changed)


def test_a_dry_run_prints_the_plan_and_its_price_and_asks_nobody(tmp_path: Path) -> None:
    ran = fleet("run", "--arm", "c8g.4xlarge", "--amd64", "c8i.4xlarge", "--amd64", "c8a.4xlarge", "--blocks", "6",
                "--max-usd", "20", "--dry-run", endpoint="http://127.0.0.1:9", folder=tmp_path)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "at most $17.99 of $20.00 allowed" in ran.stdout
    assert ran.stdout.count("block ") == 6
    assert "c8g.4xlarge, us-east-1, on-demand, $0.63808/h as of" in ran.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--max-usd", "nan"], "nan is not a finite number"),
        (["--max-usd", "inf"], "inf is not a finite number"),
        (["--max-usd", "1"], r"could cost \$\d+\.\d\d.*allows \$1\.00"),
        (["--max-usd", "100", "--poll-s", "0"], "is not in the range"),
        (["--max-usd", "100", "--recall", "1.5"], "is not in the range"),
        (["--max-usd", "100", "--amd64", "c9z.4xlarge"], "no price of 'c9z.4xlarge' in us-east-1 is known"),
        (["--max-usd", "100"], "serve-amd64.tar cannot be read"),
    ],
)
def test_what_cannot_be_paid_or_run_is_refused_before_anybody_is_asked(
    given: list[str], says: str, tmp_path: Path
) -> None:
    ran = CliRunner().invoke(
        commands, ["run", "--amd64", "c8i.4xlarge", "--archives", str(tmp_path), "--out", str(tmp_path / "out"), *given]
    )
    assert ran.exit_code != 0
    assert re.search(says, ran.output + str(ran.exception))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--recall", "1"], "is not in the range"),
        (["--knee-option=--bogus"], "`perwatt loadtest knee` would refuse '--bogus': No such option"),
        (["--knee-option=--processes=many"], "'many' is not a valid integer"),
        (["--knee-option=--help"], "No such option"),
        (["--knee-option=--arm=mine"], "--knee-option: --arm is set by `perwatt fleet` itself"),
        (["--knee-option=--filters=filters.jsonl"], "--filters names filters.jsonl, and a rented machine has no files"),
        (["--serve-option=--nope"], "`perwatt serve` would refuse '--nope': No such option"),
        (["--serve-option=--threads=0"], "0 is not in the range"),
        (["--serve-option=--port=9000"], "--serve-option: --port is set by `perwatt fleet` itself"),
        (["--index", ""], r"index\.tar has no index ''; it has docs"),
        (["--index", "doc"], r"index\.tar has no index 'doc'; it has docs"),
    ],
)
def test_what_a_machine_would_refuse_is_refused_before_it_is_paid_for(
    given: list[str], says: str, archives: dict[str, Path], tmp_path: Path
) -> None:
    ran = CliRunner().invoke(
        commands, ["run", "--amd64", "c8i.4xlarge", "--max-usd", "100", "--archives", str(archives["index"].parent),
                   "--out", str(tmp_path / "out"), *given]
    )  # fmt: skip
    assert ran.exit_code != 0
    assert re.search(says, ran.output + str(ran.exception))
    assert not (tmp_path / "out").exists()


def test_options_of_the_machines_commands_are_taken_as_they_were_said() -> None:
    check_knee(["--index", "docs", "--slo-p99-ms", "20.0", "--recall", "0.95"],
               ["--processes=12", "--indexing", "/srv/perwatt/vectors", "--filter", '0.2:{"field":"kind","eq":"class"}',
                "--no-curve"])  # fmt: skip
    check_serve(["--threads=2", "--workers", "8"])


@pytest.mark.parametrize(
    ("names", "mode", "says"),
    [
        (("indexes/docs/current", "vectors/embed.json"), 0o600, "only its owner can read.*--mode=a"),
        (("indexes/docs/current",), 0o644, "has no folder vectors"),
        (("vectors/embed.json",), 0o644, "has no index 'docs'; it has none"),
        ((), None, "is not an archive"),
    ],
)
def test_an_archive_without_what_machines_need_is_refused(
    names: tuple[str, ...], mode: int | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "index.tar"
    if mode is None:
        path.write_text("no archive")
    else:
        pack(path, *names, mode=mode)
    with pytest.raises(DeployError, match=says):
        check_index(path, "docs")


def test_a_machine_may_be_paid_for_no_longer_than_its_price_says(archives: dict[str, Path]) -> None:
    plan = planned(archives)
    both = 2 * plan.price("c8i.4xlarge").usd_per_hour
    [trial] = [trial for trial in plan.trials if trial.instance == "c8i.4xlarge"]
    assert plan.trial_usd(trial) == pytest.approx(both * (plan.minutes + SPARE_MINUTES) / 60)


# --- regions and their prices ---------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A table as `perwatt prices refresh --region eu-west-1` writes it."""
    rows = [
        msgspec.structs.replace(find_price(name), region="eu-west-1", usd_per_hour=usd)
        for name, usd in (("c8g.4xlarge", 0.7), ("c8i.4xlarge", 0.8))
    ]
    write_table(rows, tmp_path / "prices.csv")
    return tmp_path / "prices.csv"


def test_another_region_is_planned_with_its_own_prices(elsewhere: Path) -> None:
    asked = ["run", "--arm", "c8g.4xlarge", "--amd64", "c8i.4xlarge", "--no-replica", "--blocks", "1",
             "--max-usd", "20", "--region", "eu-west-1", "--dry-run"]  # fmt: skip
    ran = CliRunner().invoke(commands, [*asked, "--prices", str(elsewhere)])
    assert ran.exit_code == 0, ran.output + str(ran.exception)
    assert "c8g.4xlarge, eu-west-1, on-demand, $0.7/h" in ran.output
    assert "at most $1.55 of" in ran.output
    without = CliRunner().invoke(commands, asked)
    assert "no price of 'c8g.4xlarge' in eu-west-1 is known" in str(without.exception)
    assert "--prices FILE" in str(without.exception)


def test_a_machine_of_another_provider_is_not_planned() -> None:
    ran = CliRunner().invoke(
        commands, ["run", "--region", "us-east1", "--amd64", "n4-standard-16", "--generator", "n4-standard-16",
                   "--max-usd", "100", "--dry-run"]
    )  # fmt: skip
    assert "no price of 'n4-standard-16' in us-east1 is known" in str(ran.exception)


def test_the_prices_of_the_plan_are_kept_and_are_those_of_the_records(
    elsewhere: Path, archives: dict[str, Path], tmp_path: Path
) -> None:
    plan = planned(archives, region="eu-west-1", table=price_table(elsewhere))
    write_plan(plan, tmp_path)
    kept = read_plan(tmp_path)
    assert kept == plan
    assert kept.price("c8g.4xlarge").usd_per_hour == 0.7
    with pytest.raises(DeployError, match="was started with other prices"):
        same_question(kept, msgspec.structs.replace(plan, prices=plan.prices[:1]))


def test_the_generator_is_told_the_price_of_the_machine_under_test(
    cloud: Cloud, archives: dict[str, Path], tmp_path: Path
) -> None:
    plan = of_one_trial(archives)
    cloud.run(plan, tmp_path, archives)
    [script] = [each["script"] for each in cloud.machinery.launched if "generator" in each["tags"]["Name"]]
    [table] = re.findall(r"^prices='(.*?)'$", script, re.MULTILINE | re.DOTALL)
    (tmp_path / "prices.csv").write_text(table)
    assert price_table(tmp_path / "prices.csv") == (plan.price(plan.trials[0].instance),)


def test_addresses_are_signed_for_the_region_of_the_bucket(archives: dict[str, Path]) -> None:
    signed = urlparse(Parcel(sign_in("eu-central-1")[0], "perwatt-bucket", "fleet", valid_s=60).to_read("0"))
    assert signed.hostname == "perwatt-bucket.s3.eu-central-1.amazonaws.com"
    assert "/eu-central-1/s3/aws4_request" in parse_qs(signed.query)["X-Amz-Credential"][0]


def test_the_first_use_of_spot_is_explained() -> None:
    refused = ClientError(
        {"Error": {"Code": "AuthFailure.ServiceLinkedRoleCreationNotPermitted", "Message": "no"}}, "RunInstances"
    )
    says = "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
    with pytest.raises(DeployError, match=says), answering(REGION):
        raise refused


def test_the_zone_of_the_stack_can_be_chosen() -> None:
    with mock_aws():
        cloudformation, ec2 = boto3.client("cloudformation", REGION), boto3.client("ec2", REGION)
        for zone in ("us-east-1b", "us-east-1d", ""):
            given = [{"ParameterKey": "Zone", "ParameterValue": zone}]
            name = f"perwatt-{zone or 'any'}"
            cloudformation.create_stack(
                StackName=name, TemplateBody=MOTO_TEMPLATE, Parameters=given, Capabilities=["CAPABILITY_IAM"]
            )
            subnet = read_stack(cloudformation, name, REGION).subnet
            [found] = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]
            assert found["AvailabilityZone"] == zone or not zone


def test_a_budget_that_is_no_number_allows_nothing(archives: dict[str, Path]) -> None:
    with pytest.raises(DeployError, match="could cost"):
        planned(archives, max_usd=float("nan")).check_budget()


def test_without_credentials_it_is_said_and_nothing_is_left(
    archives: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    rest = ["--amd64", "c8i.4xlarge", "--max-usd", "100", "--archives", str(archives["index"].parent)]
    for arguments in (["run", *rest, "--out", str(tmp_path / "out")], ["reap"]):
        ran = CliRunner().invoke(commands, arguments)
        assert isinstance(ran.exception, DeployError), ran.output
        assert "No credentials for AWS were found. Set AWS_PROFILE" in str(ran.exception)
    assert read_plan(tmp_path / "out") is None


def test_a_refusal_of_the_cloud_is_a_sentence() -> None:
    refused = ClientError({"Error": {"Code": "VcpuLimitExceeded", "Message": "too many"}}, "RunInstances")
    says = r"AWS in us-east-1 refused or did not answer: .*too many.* goes on"
    with pytest.raises(DeployError, match=says), answering(REGION):
        raise refused


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    """It would take the first one's machines for what an earlier run left."""
    with one_at_a_time(tmp_path), pytest.raises(DeployError, match="Another run is at work"), one_at_a_time(tmp_path):
        pass
    with one_at_a_time(tmp_path):
        pass


def test_a_budget_that_is_too_small_launches_nothing(cloud: Cloud, archives: dict[str, Path], tmp_path: Path) -> None:
    plan = planned(archives, max_usd=1.0)
    with pytest.raises(DeployError, match=r"could cost \$1\.44.*allows \$1\.00"):
        cloud.run(plan, tmp_path, archives)
    assert cloud.calls == []


# --- a run that goes well -------------------------------------------------------------------------------------------


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


# --- and one that does not ------------------------------------------------------------------------------------------


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


def starved(record: bytes) -> bytes:
    """The record of a generator that did not keep up, which says so."""
    read = msgspec.json.decode(record, type=Record)
    gate = Gate("CPU of the generator", False, "71 %", "70 %")
    trials = [msgspec.structs.replace(trial, gates=[*trial.gates, gate]) for trial in read.trials]
    return msgspec.json.encode(msgspec.structs.replace(read, trials=trials))


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


def of_one_trial(archives: dict[str, Path]) -> Plan:
    plan = planned(archives)
    del plan.trials[1:]
    return plan


def calls_of_a_run(cloud: Cloud, archives: dict[str, Path], folder: Path) -> int:
    cloud.run(of_one_trial(archives), folder, archives)
    count = len(cloud.calls)
    cloud.calls.clear()
    cloud.machinery = Machinery()
    return count


@pytest.mark.parametrize(
    ("when", "errors"), [("before", (KeyboardInterrupt, SystemExit)), ("after", (RuntimeError, SystemExit))]
)
def test_a_crash_at_every_call_leaves_no_machine_and_the_run_goes_on(
    when: str, errors: tuple[type[BaseException], ...], cloud: Cloud, archives: dict[str, Path], tmp_path: Path
) -> None:
    """By turns with an error, and with what Ctrl-C and signals are."""
    count = calls_of_a_run(cloud, archives, tmp_path / "whole")
    assert count > 12
    swallowed = 0
    for at in range(1, count + 1):
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


class Altered:
    """EC2 with some of its calls replaced."""

    def __init__(self, ec2: Any, **calls: Callable[..., Any]) -> None:
        self._ec2, self._calls = ec2, calls

    def __getattr__(self, name: str) -> Any:
        return self._calls.get(name) or getattr(self._ec2, name)


def run_with(cloud: Cloud, ec2: Any, plan: Plan, folder: Path, archives: dict[str, Path], **more: Any) -> list[Path]:
    rented = Machines(ec2, cloud.client("ssm"), cloud.stack, plan.experiment)
    parcel = Parcel(cloud.client("s3"), cloud.stack.bucket, plan.experiment, valid_s=1800)
    return run(plan, folder, archives, rented, parcel, **{"tell": lambda _: None, "wait": cloud.machinery.step, **more})


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


# --- the command, killed outright -----------------------------------------------------------------------------------


def environment(endpoint: str) -> dict[str, str]:
    top = str(Path(__file__).parents[1])
    return {**os.environ, "PYTHONPATH": top, "AWS_ENDPOINT_URL": endpoint}


def fleet(*arguments: object, endpoint: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.command", "fleet", *map(str, arguments)],
        cwd=folder, env=environment(endpoint), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """moto as a server of its own, so that a command can be killed and the cloud is still there."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    given = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    boto3.client("cloudformation", REGION, endpoint_url=url, **given).create_stack(
        StackName="perwatt-killed", TemplateBody=MOTO_TEMPLATE, Capabilities=["CAPABILITY_IAM"]
    )
    yield url
    server.stop()


def until_two_are_alive(machinery: Machinery, command: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 100
    while len(machinery.alive()) < 2:
        assert command.poll() is None, command.stdout and command.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_command_that_was_killed_goes_on_and_ends_with_a_report(
    endpoint: str, archives: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = ("run", "--arm", "c8g.4xlarge", "--amd64", "c8i.4xlarge", "--blocks", "3", "--max-usd", "50",
             "--recall", "0.94999999", "--knee-option=--no-curve",
             "--poll-s", "0.1", "--stack", "perwatt-killed", "--archives", archives["index"].parent,
             "--out", out)  # fmt: skip
    machinery = Machinery(endpoint)
    killed = subprocess.Popen(
        [sys.executable, "-m", "deploy.command", "fleet", *map(str, asked)],
        env=environment(endpoint), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    until_two_are_alive(machinery, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    left = {each["InstanceId"] for each in machinery.alive()}
    assert len(left) == 2

    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            machinery.step()

    machinery._seen = set(left)  # those of the killed run never come to write anything
    machinery.damaged = {"c8g.4xlarge-02": starved}
    worker = threading.Thread(target=work)
    worker.start()
    try:
        ran = fleet(*asked, endpoint=endpoint)
    finally:
        stop.set()
        worker.join()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "ended 2 machines that an earlier run left" in ran.stdout
    assert re.search(r"better[\w ]*: c8g\.4xlarge against c8i\.4xlarge, queries per dollar", ran.stdout), ran.stdout
    assert machinery.alive() == []
    assert len(list((out / "runs").glob("*-0?.json"))) == 9
    assert [path.name for path in put_aside(out)] == ["c8g.4xlarge-02-1.invalid.json"]
    counted = f"9 trials took 11 pairs of machines; records that did not count: 1, kept in {out / 'invalid'}."
    assert counted in ran.stdout
    page = (out / "c8g.4xlarge.md").read_text()
    assert counted in page
    assert re.search(r"\| c8g\.4xlarge +\| 3 \| [45] \| [01] \| 1 \|", page), page
    assert "<html" in (out / "c8g.4xlarge.html").read_text()[:200]
    assert "simulated" in (out / "c8g.4xlarge.md").read_text()

    kept = read_plan(out)
    assert kept
    assert kept.knee == ["--index", "docs", "--slo-p99-ms", "20.0", "--recall", "0.94999999", "--no-curve"]
    other = fleet(*asked[:-1], out, "--minutes", "20", endpoint=endpoint)
    assert other.returncode == 1
    assert "was started with other minutes" in other.stderr
    assert fleet("reap", "--all", endpoint=endpoint).stdout == "0 machines were left over\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_told_to_end_ends_its_machines_first(
    number: signal.Signals, endpoint: str, archives: dict[str, Path], tmp_path: Path
) -> None:
    machinery = Machinery(endpoint)
    told = subprocess.Popen(
        [sys.executable, "-m", "deploy.command", "fleet", "run", "--amd64", "c8i.4xlarge", "--max-usd", "50",
         "--poll-s", "60", "--stack", "perwatt-killed", "--archives", str(archives["index"].parent),
         "--out", str(tmp_path / "out")],
        env=environment(endpoint), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    until_two_are_alive(machinery, told)
    told.send_signal(number)
    said, _ = told.communicate(timeout=60)
    assert told.returncode == 128 + number, said
    assert "Traceback" not in said
    assert machinery.alive() == []


def test_handlers_of_signals_are_put_back_and_nohup_is_heeded() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            with pytest.raises(SystemExit) as ended:
                os.kill(os.getpid(), signal.SIGTERM)
        assert ended.value.code == 128 + signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_credentials_that_end_before_the_addresses_are_made_new_or_refused(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session of botocore keeps those of a role until a quarter of an hour before their end."""
    config = tmp_path / "config"
    config.write_text(
        "[default]\naws_access_key_id = testing\naws_secret_access_key = testing\n"
        "[profile fleet]\nrole_arn = arn:aws:iam::123456789012:role/fleet\nsource_profile = default\n"
        "duration_seconds = 3600\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    given = {"AWS_CONFIG_FILE": config, "AWS_SHARED_CREDENTIALS_FILE": tmp_path / "none", "AWS_PROFILE": "fleet",
             "AWS_ENDPOINT_URL": endpoint}  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))

    def token(parcel: Parcel) -> str:
        return parse_qs(urlparse(parcel.to_read("0")).query)["X-Amz-Security-Token"][0]

    s3, credentials = sign_in(REGION)
    again = {"credentials": credentials, "sign_in": lambda: sign_in(REGION)}
    lasting = Parcel(s3, "bucket", "fleet", valid_s=1800, **again)
    first = token(lasting)
    lasting.renew()
    assert token(lasting) == first
    credentials._expiry_time -= datetime.timedelta(minutes=40)  # as if so much had passed
    assert token(lasting) == first
    lasting.renew()
    assert token(lasting) != first
    with pytest.raises(DeployError, match=r"end in less than the 70 minutes.*duration_seconds = 43200"):
        Parcel(s3, "bucket", "fleet", valid_s=4200, **again).renew()
    Parcel(s3, "bucket", "fleet", valid_s=4200).renew()  # a user's, which do not end


def test_without_the_stack_the_command_says_how_to_make_it(
    endpoint: str, archives: dict[str, Path], tmp_path: Path
) -> None:
    ran = fleet("run", "--amd64", "c8i.4xlarge", "--max-usd", "50", "--stack", "nowhere", "--archives",
                archives["index"].parent, "--out", tmp_path / "out", endpoint=endpoint)  # fmt: skip
    assert ran.returncode == 1
    assert "There is no stack nowhere in us-east-1" in ran.stderr
    assert "aws cloudformation deploy --region us-east-1 --stack-name nowhere" in ran.stderr


# --- what a machine does --------------------------------------------------------------------------------------------


class Bucket(HTTPServer):
    """Gives archives and takes what is written, as signed addresses of a bucket do; also a service that is ready."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), BucketHandler)
        self.files, self.written = files, dict[str, bytes]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class BucketHandler(BaseHTTPRequestHandler):
    server: Bucket

    def do_GET(self) -> None:
        content = self.server.files.get(self.path.strip("/"))
        self.send_response(404 if content is None else 200)
        self.end_headers()
        self.wfile.write(content or b"")

    def do_PUT(self) -> None:
        self.server.written[self.path.strip("/")] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def machine(
    tmp_path: Path, script: Path, settings: dict[str, str], lists: dict[str, list[str]], dies: bool = False
) -> list[str]:
    """Runs a machine's first script here; returns the calls of docker and shutdown in their order.

    A service lives until its machine is terminated, which is while the script waits for it; or it `dies`.
    """
    programs = tmp_path / "bin"
    programs.mkdir()
    calls = tmp_path / "calls"
    stub = f'#!/bin/bash\necho "$(basename "$0") $*" >> {calls}\n'
    (programs / "shutdown").write_text(stub)
    (programs / "docker").write_text(
        stub
        + 'case "$1 $*" in\n'
        + '  load*) echo "Loaded image: localhost/perwatt:test" ;;\n'
        + "  *machine\\ --json*) echo '{}' ;;\n"
        + "  *serve\\ --root*) echo 0123abcd ;;\n"
        + f"  inspect*) echo {'false' if dies else 'true'} ;;\n"
        + f"  wait*) {'echo 1' if dies else 'kill -KILL $PPID'} ;;\n"
        + '  logs*) echo "the reason of $2" ;;\n'
        + f"  *loadtest\\ knee*) echo record > {tmp_path}/work/runs/run.json ;;\n"
        + "esac\n"
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    log = tmp_path / "perwatt.log"
    text = boot.user_data(script, 30, {**settings, "PERWATT_WORK": str(tmp_path / "work")}, lists)
    # Only the place of the log and the ports of the service differ here.
    text = text.replace("/var/log/perwatt.log", str(log))
    for port in (boot.PORT, boot.FACTS_PORT):
        text = text.replace(f"$server:{port}", "$server").replace(f"127.0.0.1:{port}", settings["server"])
    (tmp_path / "script").write_text(text)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    environment.pop("OMP_NUM_THREADS", None)  # nproc heeds it; a machine that has just started has none
    subprocess.run(["bash", tmp_path / "script"], env=environment, capture_output=True, timeout=120, check=False)
    return calls.read_text().splitlines()


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Bucket]:
    (tmp_path / "indexes").mkdir()
    subprocess.run(["tar", "-cf", tmp_path / "index.tar", "-C", tmp_path, "indexes"], check=True)
    files = {
        "image": b"an image",
        "index": (tmp_path / "index.tar").read_bytes(),
        "readyz": b"{}",
        "machine.json": b"{}",
    }
    with Bucket(files) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def settings(bucket: Bucket, **more: str) -> dict[str, str]:
    given = {f"{name}_url": f"{bucket.url}/{name}" for name in ("image", "index", "log", "run")}
    hashes = {f"{name}_sha256": hashlib.sha256(bucket.files[name]).hexdigest() for name in ("image", "index")}
    return {**given, **hashes, "server": bucket.url.removeprefix("http://"), **more}


def test_the_machine_under_test_sets_its_end_then_serves(bucket: Bucket, tmp_path: Path) -> None:
    calls = machine(tmp_path, boot.SERVER, settings(bucket), {"serve": ["--threads", "2"]})
    assert calls[0].startswith("shutdown -h +30 ")
    assert calls[1].startswith("docker load ")
    assert calls[-1] == "docker wait 0123abcd"
    assert calls[-2].endswith(
        "localhost/perwatt:test serve --root /indexes --host 0.0.0.0 --port 8000 --insecure "
        f"--workers {len(os.sched_getaffinity(0))} --threads 2"
    )
    assert (tmp_path / "work" / "facts" / "machine.json").read_text() == "{}\n"
    assert "shutdown -h now" not in calls
    assert bucket.written == {}


@pytest.mark.parametrize("ready", [False, True])
def test_a_service_that_dies_says_why_and_ends_its_machine(ready: bool, bucket: Bucket, tmp_path: Path) -> None:
    """At its start, or later under load: the other machine must not wait for it until its time is over."""
    if not ready:
        del bucket.files["readyz"]
    calls = machine(tmp_path, boot.SERVER, settings(bucket), {"serve": []}, dies=True)
    assert calls[-3:] == ["docker wait 0123abcd", "docker logs 0123abcd", "shutdown -h now"]
    assert b"the reason of 0123abcd" in bucket.written["log"]


def test_other_bytes_than_those_of_the_plan_are_not_run(bucket: Bucket, tmp_path: Path) -> None:
    calls = machine(tmp_path, boot.SERVER, settings(bucket, image_sha256="0" * 64), {"serve": []})
    assert [call.split()[0] for call in calls] == ["shutdown", "shutdown"]
    assert calls[-1] == "shutdown -h now"
    assert b"FAILED" in bucket.written["log"]


def test_the_generator_writes_log_and_record_and_ends_itself(bucket: Bucket, tmp_path: Path) -> None:
    table = "instance,region\nc8g.4xlarge,eu-west-1\n"
    options = {"knee": ["--arm", "c8g.4xlarge", "--filter", "a b"]}
    calls = machine(tmp_path, boot.GENERATOR, settings(bucket, prices=table), options)
    assert calls[0].startswith("shutdown -h +30 ")
    prices = tmp_path / "work" / "prices.csv"
    assert f"--prices {prices} --out /runs/run.json --processes " in calls[-2]
    assert prices.read_text() == table
    assert calls[-2].endswith(" --arm c8g.4xlarge --filter a b")
    assert calls[-1] == "shutdown -h now"
    assert bucket.written["run"] == b"record\n"
    assert list(bucket.written) == ["log", "run"]


def test_a_generator_that_fails_writes_its_log_and_ends_itself(bucket: Bucket, tmp_path: Path) -> None:
    del bucket.files["index"]
    calls = machine(tmp_path, boot.GENERATOR, {**settings_without_index(bucket)}, {"knee": []})
    assert calls[-1] == "shutdown -h now"
    assert set(bucket.written) == {"log"}


def settings_without_index(bucket: Bucket) -> dict[str, str]:
    bucket.files["index"] = b""
    return settings(bucket, index_sha256="0" * 64)


def test_a_first_script_that_is_too_long_is_refused() -> None:
    with pytest.raises(DeployError, match="EC2 takes 16,384"):
        boot.user_data(boot.SERVER, 30, {"image_url": "x" * 16384}, {})


def test_the_plan_on_disk_is_the_plan(archives: dict[str, Path], tmp_path: Path) -> None:
    plan = planned(archives, blocks=2)
    write_plan(plan, tmp_path)
    assert read_plan(tmp_path) == plan
    (tmp_path / FILE).write_text(json.dumps({"format": "perwatt-fleet-0"}))
    with pytest.raises(DeployError, match="not a plan that this version can go on with"):
        read_plan(tmp_path)


def test_stacks_of_another_kind_are_refused() -> None:
    class Other:
        def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 – AWS's name
            return {"Stacks": [{"Outputs": [{"OutputKey": "Subnet", "OutputValue": "subnet-1"}]}]}

    with pytest.raises(DeployError, match="no output Bucket, PlacementGroup, SecurityGroup"):
        read_stack(Other(), "other", REGION)
    assert Stack("subnet", "group", "place", "bucket").bucket == "bucket"


# --- the index that all machines get --------------------------------------------------------------------------------


def test_the_index_is_made_of_a_corpus_beside_and_everybody_may_read_it(tmp_path: Path) -> None:
    """The service runs as another user than whoever packed it."""
    corpus = tmp_path / "here" / "corpus.jsonl"
    corpus.parent.mkdir()
    documents = ({"id": str(number), "title": f"title {number}", "text": f"text {number}"} for number in range(20))
    corpus.write_text("\n".join(map(json.dumps, documents)))
    script = Path(boot.__file__).parents[1] / "ci" / "index.sh"
    environment = {key: value for key, value in os.environ.items() if key != "PERWATT_TAG"}
    ran = subprocess.run(
        ["bash", "-c", 'umask 077 && exec "$@"', "bash", script, "archives/index.tar", "here/corpus.jsonl"],
        cwd=tmp_path, env={**environment, "PERWATT_COMMAND": str(Path(sys.executable).with_name("perwatt"))},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    with tarfile.open(tmp_path / "archives" / "index.tar") as archive:
        entries = {each.name: each for each in archive}
    assert any(name.endswith("/lexical/meta.json") for name in entries)
    assert {name.split("/")[0] for name in entries} == {"indexes", "vectors"}
    assert [name for name, each in entries.items() if ~each.mode & (0o055 if each.isdir() else 0o044)] == []
    assert hashlib.sha256((tmp_path / "archives" / "index.tar").read_bytes()).hexdigest() in ran.stdout
