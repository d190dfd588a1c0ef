"""Launching, ending, and finding what was left behind.

Every machine carries its tags from the moment it exists (they are part of the call that makes it): the experiment, the
trial, and when its time is over. Ending goes by tag, so that a machine whose launch was answered to nobody is found
too; and by id where the launch was answered and EC2 does not list the machine yet, which takes it some seconds.
"""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from deploy.cloud.boot import SPARE_MINUTES
from deploy.cloud.stack import Stack

EXPERIMENT, TRIAL, EXPIRES = "perwatt-experiment", "perwatt-trial", "perwatt-expires"
ALIVE = ("pending", "running", "stopping", "stopped")
# Amazon's image with a container engine already in it, so that machines need no way to the internet.
AMI = "/aws/service/ecs/optimized-ami/amazon-linux-2023/{path}recommended/image_id"
AMI_PATHS = {"amd64": "", "arm64": "arm64/"}
DISK_GIB = 40


class Machines:
    """The EC2 machines of one experiment in one region."""

    def __init__(self, ec2: Any, ssm: Any, stack: Stack, experiment: str) -> None:
        self._ec2, self._ssm, self._stack, self._experiment = ec2, ssm, stack, experiment
        self._images: dict[str, str] = {}
        self._unlisted: set[str] = set()  # launched, and in no listing so far

    def launch(
        self, instance: str, arch: str, trial: str, role: str, user_data: str, minutes: int, spot: bool
    ) -> tuple[str, str]:
        """The id and the private address of a machine that ends itself after `minutes`."""
        now = datetime.datetime.now(datetime.UTC)
        expires = now + datetime.timedelta(minutes=minutes + SPARE_MINUTES)
        tags = {
            "Name": f"perwatt {trial} {role}",
            EXPERIMENT: self._experiment,
            TRIAL: trial,
            EXPIRES: expires.isoformat(timespec="seconds"),
        }
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        market: dict[str, Any] = {}
        if spot:
            options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
            market = {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": options}}
        answer = self._ec2.run_instances(
            ImageId=self._image(arch),
            InstanceType=instance,
            MinCount=1,
            MaxCount=1,
            # The same call again, after an answer that was lost, launches nothing more. Of this call alone: one that
            # was refused is asked again with other addresses in its user data, which EC2 takes for a mistake.
            ClientToken=str(uuid.uuid4()),
            InstanceInitiatedShutdownBehavior="terminate",
            UserData=user_data,
            NetworkInterfaces=[
                {
                    "DeviceIndex": 0,
                    "SubnetId": self._stack.subnet,
                    "Groups": [self._stack.security_group],
                    "AssociatePublicIpAddress": False,
                    "DeleteOnTermination": True,
                }
            ],
            Placement={"GroupName": self._stack.placement_group},
            MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
            BlockDeviceMappings=[
                {
                    "DeviceName": "/dev/xvda",
                    "Ebs": {
                        "VolumeSize": DISK_GIB,
                        "VolumeType": "gp3",
                        "DeleteOnTermination": True,
                        "Encrypted": True,
                    },
                }
            ],
            TagSpecifications=[{"ResourceType": kind, "Tags": listed} for kind in ("instance", "volume")],
            **market,
        )
        [launched] = answer["Instances"]
        self._unlisted.add(launched["InstanceId"])
        return launched["InstanceId"], launched["PrivateIpAddress"]

    def alive(self) -> list[str]:
        """Those that are listed as alive, and those that were launched and are in no listing yet."""
        listed = _found(self._ec2, self._experiment)
        self._unlisted.difference_update(each["InstanceId"] for each in listed)
        return sorted({*self._unlisted, *(each["InstanceId"] for each in listed if each["State"]["Name"] in ALIVE)})

    def end_all(self) -> list[str]:
        """Terminates every machine of the experiment that is alive, listed or not, and says which there were."""
        found = self.alive()
        if found:
            self._ec2.terminate_instances(InstanceIds=found)
            self._unlisted.clear()
        return found

    def _image(self, arch: str) -> str:
        if arch not in self._images:
            name = AMI.format(path=AMI_PATHS[arch])
            self._images[arch] = self._ssm.get_parameter(Name=name)["Parameter"]["Value"]
        return self._images[arch]


def reap(ec2: Any, now: datetime.datetime, everything: bool = False) -> list[tuple[str, str]]:
    """Terminates machines of any experiment whose time is over, or all of them; returns (id, experiment) of each."""
    over = []
    for each in _found(ec2, None):
        if each["State"]["Name"] not in ALIVE:
            continue
        tags = {tag["Key"]: tag["Value"] for tag in each.get("Tags", [])}
        try:
            expired = datetime.datetime.fromisoformat(tags.get(EXPIRES, "")) <= now
        except ValueError:
            expired = True  # nobody can tell any more when its time was to be over
        if everything or expired:
            over.append((each["InstanceId"], tags[EXPERIMENT]))
    if over:
        ec2.terminate_instances(InstanceIds=[id for id, _ in over])
    return over


def _found(ec2: Any, experiment: str | None) -> list[dict[str, Any]]:
    """Machines of an experiment, or of any, in whatever state: EC2 lists terminated ones for an hour."""
    wanted = (
        {"Name": f"tag:{EXPERIMENT}", "Values": [experiment]}
        if experiment
        else {"Name": "tag-key", "Values": [EXPERIMENT]}
    )
    pages = ec2.get_paginator("describe_instances").paginate(Filters=[wanted])
    return [each for page in pages for reservation in page["Reservations"] for each in reservation["Instances"]]
