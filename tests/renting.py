"""A cloud that moto simulates, for tests of experiments on rented machines.

moto keeps machines, buckets and the stack; what the machines would do is played by `Machinery`: it reads the user data
of a generator that runs, and writes a simulated record where that says.
"""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import msgspec
from late import Late
from warm import shared

from deploy.cloud import boot, machines
from deploy.cloud.experiment import run
from deploy.cloud.machines import Machines
from deploy.cloud.parcel import Parcel, sha256_of
from deploy.cloud.plan import RentalPlan, make_plan
from deploy.cloud.stack import read_stack
from loadtest.prices.table import find_price
from loadtest.record.run_record import Record
from loadtest.record.trial import ValidityCheck
from loadtest.selftest.example import simulated_record

boto3 = Late("boto3")
REGION = "us-east-1"
TEMPLATE = (Path(__file__).parents[1] / "deploy" / "cloud" / "fleet.yaml").read_text()
# A placement group is the one resource that moto does not know.
MOTO_TEMPLATE = re.sub(r"  PlacementGroup:\n    Type:.*?\n\n", "", TEMPLATE, flags=re.DOTALL).replace(
    "PlacementGroup: {Value: !Ref PlacementGroup}", "PlacementGroup: {Value: perwatt}"
).replace("placement-group/${PlacementGroup}", "placement-group/perwatt")  # fmt: skip
SPEED = {"c8g.4xlarge": 1.2, "c8i.4xlarge": 1.0}


def pack(archive: Path, *names: str, mode: int = 0o644) -> None:
    with tarfile.open(archive, "w") as file:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.mode = mode
            file.addfile(entry)


def planned(archives: dict[str, Path], **changed: Any) -> RentalPlan:
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
        self.seen: set[str] = set()

    def alive(self) -> list[dict[str, Any]]:
        found = self.ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": list(machines.ALIVE)}])
        return [each for reservation in found["Reservations"] for each in reservation["Instances"]]

    def step(self, _seconds: float = 0.0) -> None:
        for each in self.alive():
            if each["InstanceId"] in self.seen:
                continue
            self.seen.add(each["InstanceId"])
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
        Late("moto.ec2").ec2_backends[Late("moto.core").DEFAULT_ACCOUNT_ID][REGION].reservations.clear()

    def _crash(self, when: str) -> None:
        if self.crash == (when, len(self.calls)):
            raise self.error(f"crash {when} {self.calls[-1]}")

    def run(
        self, plan: RentalPlan, folder: Path, archives: dict[str, Path], wait: Callable[[float], None] | None = None
    ) -> Any:
        rented = Machines(self.client("ec2"), self.client("ssm"), self.stack, plan.experiment)
        parcel = Parcel(self.client("s3"), self.stack.bucket, plan.experiment, valid_s=1800)
        return run(plan, folder, archives, rented, parcel, tell=lambda _: None, wait=wait or self.machinery.step)


def starved(record: bytes) -> bytes:
    """The record of a generator that did not keep up, which says so."""
    read = msgspec.json.decode(record, type=Record)
    check = ValidityCheck("CPU of the generator", False, "71 %", "70 %")
    trials = [msgspec.structs.replace(trial, gates=[*trial.gates, check]) for trial in read.trials]
    return msgspec.json.encode(msgspec.structs.replace(read, trials=trials))


def of_one_trial(archives: dict[str, Path]) -> RentalPlan:
    plan = planned(archives)
    del plan.trials[1:]
    return plan


def environment(endpoint: str) -> dict[str, str]:
    top = str(Path(__file__).parents[1])
    return {**os.environ, "PYTHONPATH": top, "AWS_ENDPOINT_URL": endpoint}


def fleet(*arguments: object, endpoint: str) -> subprocess.CompletedProcess[str]:
    return shared().run("fleet", *map(str, arguments), AWS_ENDPOINT_URL=endpoint)
