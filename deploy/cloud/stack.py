"""Where machines may be launched: the outputs of the stack that `fleet.yaml` describes.

A person deploys the stack once; it costs nothing while nothing runs. It holds a network without a way to the internet,
a bucket that forgets after a week, a cluster placement group, and the role whose rights end at all of these.
"""

from __future__ import annotations

from typing import Any

import msgspec

from deploy.errors import DeployError


class Stack(msgspec.Struct, frozen=True):
    subnet: str
    security_group: str
    placement_group: str
    bucket: str


OUTPUTS = {
    "subnet": "Subnet",
    "security_group": "SecurityGroup",
    "placement_group": "PlacementGroup",
    "bucket": "Bucket",
}


def read_stack(cloudformation: Any, name: str, region: str) -> Stack:
    """Raises DeployError when there is no such stack, or it is another one; ClientError when AWS refuses to say."""
    from botocore.exceptions import ClientError

    try:
        [found] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "ValidationError":
            raise
        raise DeployError(
            f"There is no stack {name} in {region} ({error}). Name its --region, or deploy it once: aws cloudformation "
            f"deploy --region {region} --stack-name {name} --template-file deploy/cloud/fleet.yaml --capabilities "
            "CAPABILITY_IAM"
        ) from error
    given = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    missing = sorted(set(OUTPUTS.values()) - set(given))
    if missing:
        raise DeployError(
            f"Stack {name} in {region} has no output {', '.join(missing)}: it was not made from "
            "deploy/cloud/fleet.yaml."
        )
    return Stack(**{field: given[output] for field, output in OUTPUTS.items()})
