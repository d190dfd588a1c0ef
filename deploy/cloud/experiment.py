"""The loop: a pair of machines for every trial of the plan, one trial after another, and nothing left at the end.

However it ends, by success, by an error, by Ctrl-C, every machine of the experiment is terminated before the exception
goes on; should even that fail, each ends itself a few minutes later. A run that was killed outright goes on with the
same command: what it left is terminated first, trials whose records are here are not repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.cloud import boot
from deploy.cloud.machines import Machines
from deploy.cloud.parcel import Parcel
from deploy.cloud.plan import Plan, Trial, write_plan
from deploy.errors import DeployError

ENDING_TRIES = 5
ATTEMPTS = 3  # pairs for one trial, before the experiment is given up

Tell = Callable[[str], None]
Wait = Callable[[float], None]


def run(
    plan: Plan,
    folder: Path,
    archives: dict[str, Path],
    machines: Machines,
    parcel: Parcel,
    *,
    tell: Tell,
    poll_s: float = 10.0,
    wait: Wait = time.sleep,
) -> list[Path]:
    """Runs what is left of `plan`; returns the records of all its trials, which lie in `folder`/runs.

    archives: tar files, by the names that `plan.sha256` knows them by. poll_s: seconds between looks at a trial.

    Raises DeployError when a trial failed `ATTEMPTS` times or the budget does not allow another attempt.
    """
    runs = folder / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    for trial in plan.trials:
        trial.done = (runs / f"{trial.name}.json").exists()
    plan.check_budget()
    write_plan(plan, folder)
    try:
        left = machines.end_all()
        if left:
            tell(f"ended {len(left)} machines that an earlier run left")
        for name, path in archives.items():
            parcel.upload(path, plan.sha256[name])
        for trial in plan.trials:
            while not trial.done:
                if trial.attempts >= ATTEMPTS:
                    raise DeployError(f"Trial {trial.name} failed {trial.attempts} times; its logs are in {runs}.")
                plan.check_budget()
                trial.attempts += 1
                write_plan(plan, folder)  # before the launch: a crash must not make an attempt free
                _attempt(plan, trial, runs, machines, parcel, tell, poll_s, wait)
                write_plan(plan, folder)
    finally:
        _end_all(machines, tell, wait)
    return [runs / f"{trial.name}.json" for trial in plan.trials]


def _attempt(
    plan: Plan, trial: Trial, runs: Path, machines: Machines, parcel: Parcel, tell: Tell, poll_s: float, wait: Wait
) -> None:
    """One pair of machines, from launch to end; `trial.done` says whether there is a record."""
    key = f"{trial.name}-{trial.attempts}"
    tell(f"{trial.name}, attempt {trial.attempts}: launching {trial.instance} and {plan.generator}")
    index = {"index_url": parcel.to_read(plan.sha256["index"]), "index_sha256": plan.sha256["index"]}

    def image(role: str, arch: str) -> dict[str, str]:
        sha256 = plan.sha256[f"{role}-{arch}"]
        return {"image_url": parcel.to_read(sha256), "image_sha256": sha256}

    def launch(instance: str, arch: str, role: str, script: Path, settings: dict[str, str], **lists: list[str]) -> str:
        text = boot.user_data(script, plan.minutes, {**settings, **index}, lists)
        return machines.launch(instance, arch, trial.name, role, trial.attempts, text, plan.minutes, plan.spot)[1]

    address = launch(
        trial.instance,
        trial.arch,
        "server",
        boot.SERVER,
        {**image("serve", trial.arch), "log_url": parcel.to_write(f"{key}-server.log")},
        serve=plan.serve,
    )
    knee = ["--arm", trial.arm, "--block", str(trial.block), "--experiment", plan.experiment]
    knee += ["--instance", trial.instance, "--region", plan.region, *plan.knee]
    written = {"run_url": parcel.to_write(f"{key}.json"), "log_url": parcel.to_write(f"{key}.log")}
    launch(
        plan.generator,
        plan.generator_arch,
        "generator",
        boot.GENERATOR,
        {**image("loadtest", plan.generator_arch), **written, "server": address},
        knee=knee,
    )
    record = _await(key, plan.minutes, machines, parcel, poll_s, wait)
    for suffix in (".log", "-server.log"):
        log = parcel.read(key + suffix)
        if log is not None:
            (runs / f"{key}{suffix}").write_bytes(log)
    if record is None:
        tell(f"{trial.name}: no record; see the logs {key}* in {runs}")
    else:
        new = runs / f".{trial.name}.new"
        new.write_bytes(record)
        new.replace(runs / f"{trial.name}.json")
        trial.done = True
        tell(f"{trial.name}: done")
    machines.end_all()


def _await(key: str, minutes: int, machines: Machines, parcel: Parcel, poll_s: float, wait: Wait) -> bytes | None:
    """The record, or None when both machines' time is over or one of them is gone before there is one."""
    for _ in range(int(minutes * 60 / poll_s)):
        wait(poll_s)  # first: EC2 does not list at once what it has launched
        record = parcel.read(f"{key}.json")
        if record is not None:
            return record
        if len(machines.alive()) < 2:
            return parcel.read(f"{key}.json")  # the generator ends itself right after it has written
    return None


def _end_all(machines: Machines, tell: Tell, wait: Wait) -> None:
    """Ends what is alive, trying again where the cloud does not answer."""
    for attempt in range(1, ENDING_TRIES + 1):
        try:
            machines.end_all()
            return
        except BaseException as error:
            # Ctrl-C counts too: a person who is impatient now would pay for it.
            if attempt == ENDING_TRIES:
                tell("Machines may be alive; they end themselves, and `perwatt fleet reap --all` ends them now.")
                raise
            tell(f"ending the machines failed ({error!r}); trying again")
            wait(2.0**attempt)


def clients(region: str) -> dict[str, Any]:
    """Boto3 clients of the services that are used."""
    import boto3

    return {name: boto3.client(name, region_name=region) for name in ("ec2", "ssm", "s3", "cloudformation")}
