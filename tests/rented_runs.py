"""An experiment on simulated machines, run with machinery of the test's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from renting import Cloud

from deploy.cloud.experiment import run
from deploy.cloud.machines import Machines
from deploy.cloud.parcel import Parcel
from deploy.cloud.plan import RentalPlan


def run_with(
    cloud: Cloud, ec2: Any, plan: RentalPlan, folder: Path, archives: dict[str, Path], **more: Any
) -> list[Path]:
    rented = Machines(ec2, cloud.client("ssm"), cloud.stack, plan.experiment)
    parcel = Parcel(cloud.client("s3"), cloud.stack.bucket, plan.experiment, valid_s=1800)
    return run(plan, folder, archives, rented, parcel, **{"tell": lambda _: None, "wait": cloud.machinery.step, **more})
