"""The loop: a pair of machines for every trial of the plan, one trial after another, and nothing left at the end.

However it ends, by success, by an error, by Ctrl-C or a signal that the command turns into an exception, every machine
of the experiment is terminated before the exception goes on; should even that fail, each ends itself a few minutes
later. A run that was killed outright goes on with the same command: what it left is terminated first, trials whose
records are here are not repeated.

A launch that the cloud refuses costs nothing and counts for nothing; where another minute may help, it is asked again.
A record that cannot be read, or that says itself that it is invalid, is kept aside and its trial is made again, as long
as the budget lasts; the report counts those.
"""

from __future__ import annotations

import contextlib
import csv
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from deploy.cloud import boot
from deploy.cloud.machines import Machines
from deploy.cloud.parcel import Parcel
from deploy.cloud.plan import RentalPlan, RentedTrial, write_plan
from deploy.errors import DeployError
from loadtest.analysis.reading import Reading
from loadtest.errors import RecordError
from loadtest.prices.price import Price
from loadtest.record.run_record import read_record

if TYPE_CHECKING:  # a plan is shown without it
    from botocore.exceptions import ClientError

ENDING_TRIES = 5
ATTEMPTS = 3  # pairs that may fail for one trial before the run is given up; the same command tries as often again
RUNS, INVALID = "runs", "invalid"  # folders of records: those that count, and those that do not
# What another minute may change: no such machine is free, or the last pair still counts against the quota.
SCARCE = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientCapacity",
        "SpotMaxPriceTooLow",
        "MaxSpotInstanceCountExceeded",
        "VcpuLimitExceeded",
        "InstanceLimitExceeded",
    }
)
SCARCE_WAITS_S = (30.0, 60.0, 120.0, 240.0)

Tell = Callable[[str], None]
Wait = Callable[[float], None]


def run(
    plan: RentalPlan,
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

    Raises DeployError when a trial failed `ATTEMPTS` times, the budget does not allow another attempt, or a record of
    another experiment is in the way; ClientError when AWS refuses.
    """
    experiment = _RentedRun(plan, folder, machines, parcel, tell, poll_s, wait)
    experiment.take_stock()
    plan.check_budget()
    write_plan(plan, folder)
    try:
        left = machines.end_all()
        if left:
            tell(f"ended {len(left)} machines that an earlier run left")
        for name, path in archives.items():
            parcel.upload(path, plan.sha256[name])
        for trial in plan.trials:
            experiment.measure(trial)
    finally:
        _end_all(machines, plan.region, tell, wait)
    return [experiment.record_of(trial) for trial in plan.trials]


@dataclass(frozen=True)
class _RentedRun:
    """What one run of the plan works with. poll_s: seconds."""

    plan: RentalPlan
    folder: Path
    machines: Machines
    parcel: Parcel
    tell: Tell
    poll_s: float
    wait: Wait

    def record_of(self, trial: RentedTrial) -> Path:
        return self.folder / RUNS / f"{trial.name}.json"

    def take_stock(self) -> None:
        """Which trials are done. Raises DeployError when a record is here that another experiment made."""
        for name in (RUNS, INVALID):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for trial in self.plan.trials:
            trial.done = False
            path = self.record_of(trial)
            if path.exists():
                self._refuse_stranger(path)
                self._take(trial, f"{trial.name}-{trial.attempts}", path)

    def _refuse_stranger(self, path: Path) -> None:
        try:
            made_by = read_record(path).label.experiment
        except RecordError:
            return  # damaged: its trial is made again
        if made_by != self.plan.experiment:
            raise DeployError(
                f"{path} is a record of {made_by or 'another experiment'}, and this is {self.plan.experiment}: "
                "expected a folder without records of others. Move them away, or take another --out."
            )

    def measure(self, trial: RentedTrial) -> None:
        """Until there is a record of `trial` that can be used. Raises DeployError and ClientError."""
        from botocore.exceptions import ClientError

        failed, waits = 0, iter(SCARCE_WAITS_S)
        while not trial.done:
            if failed == ATTEMPTS:
                raise DeployError(
                    f"Trial {trial.name} failed {failed} times; its logs are in {self.folder / RUNS}. The same command "
                    "tries again, as far as --max-usd allows."
                )
            self.plan.check_budget()
            try:
                self._attempt(trial)
                failed += not trial.done
            except ClientError as error:
                pause_s = next(waits, None)
                if pause_s is None or error.response.get("Error", {}).get("Code") not in SCARCE:
                    raise
                self.machines.end_all()  # of this pair, the one that was not refused
                self.tell(f"{trial.name}: {error}; asking again in {pause_s:g} s")
                self.wait(pause_s)

    def _attempt(self, trial: RentedTrial) -> None:
        """One pair of machines, from launch to end; `trial.done` says whether there is a record."""
        plan, parcel = self.plan, self.parcel
        key = f"{trial.name}-{trial.attempts + 1}"
        parcel.renew()
        index = {"index_url": parcel.to_read(plan.sha256["index"]), "index_sha256": plan.sha256["index"]}
        server = {**index, **self._image("serve", trial.arch), "log_url": parcel.to_write(f"{key}-server.log")}
        first = boot.user_data(boot.SERVER, plan.minutes, server, {"serve": plan.serve})
        self.tell(f"{trial.name}, attempt {trial.attempts + 1}: launching {trial.instance} and {plan.generator}")
        address = self._launch_counted(trial, first)
        knee = ["--arm", trial.arm, "--block", str(trial.block), "--experiment", plan.experiment]
        knee += ["--instance", trial.instance, "--region", plan.region, *plan.knee]
        written = {"run_url": parcel.to_write(f"{key}.json"), "log_url": parcel.to_write(f"{key}.log")}
        told = {"server": address, "prices": _table(plan.price(trial.instance))}
        generator = {**index, **self._image("loadtest", plan.generator_arch), **written, **told}
        second = boot.user_data(boot.GENERATOR, plan.minutes, generator, {"knee": knee})
        self._launch(plan.generator, plan.generator_arch, trial, "generator", second)
        record = self._await(key)
        self._keep_logs(key)
        if record is None:
            self.tell(f"{trial.name}: no record; see the logs {key}* in {self.folder / RUNS}")
        else:
            new = self.folder / RUNS / f".{trial.name}.new"
            new.write_bytes(record)
            self._take(trial, key, new)
        self.machines.end_all()
        write_plan(plan, self.folder)

    def _image(self, role: str, arch: str) -> dict[str, str]:
        sha256 = self.plan.sha256[f"{role}-{arch}"]
        return {"image_url": self.parcel.to_read(sha256), "image_sha256": sha256}

    def _launch_counted(self, trial: RentedTrial, user_data: str) -> str:
        """Launches the machine under test: its address. The attempt counts from here on, unless it was refused."""
        from botocore.exceptions import ClientError

        trial.attempts += 1
        write_plan(self.plan, self.folder)  # before the launch: a crash must not make an attempt free
        try:
            return self._launch(trial.instance, trial.arch, trial, "server", user_data)
        except ClientError as error:
            if _refused(error) and not self.machines.end_all():
                trial.attempts -= 1
                write_plan(self.plan, self.folder)
            raise

    def _launch(self, instance: str, arch: str, trial: RentedTrial, role: str, user_data: str) -> str:
        return self.machines.launch(instance, arch, trial.name, role, user_data, self.plan.minutes, self.plan.spot)[1]

    def _await(self, key: str) -> bytes | None:
        """The record, or None when both machines' time is over or one of them is gone before there is one."""
        for _ in range(int(self.plan.minutes * 60 / self.poll_s)):
            self.wait(self.poll_s)
            record = self.parcel.read(f"{key}.json")
            if record is not None:
                return record
            if len(self.machines.alive()) < 2:
                return self.parcel.read(f"{key}.json")  # the generator ends itself right after it has written
        return None

    def _keep_logs(self, key: str) -> None:
        for suffix in (".log", "-server.log"):
            log = self.parcel.read(key + suffix)
            if log is not None:
                (self.folder / RUNS / f"{key}{suffix}").write_bytes(log)

    def _take(self, trial: RentedTrial, key: str, path: Path) -> None:
        """The record in `path` as that of `trial`, or, where it cannot be used, as one of those that are kept aside."""
        why = _unfit(path, self.plan, trial)
        trial.done = why is None
        target = self.record_of(trial) if trial.done else self.folder / INVALID / f"{key}.invalid.json"
        path.replace(target)
        if why is not None:
            self.tell(f"{trial.name}: {why}; kept as {target}, and the trial is made again")
        elif target != path:
            self.tell(f"{trial.name}: done")


def _unfit(path: Path, plan: RentalPlan, trial: RentedTrial) -> str | None:
    """Why the record in `path` is none of `trial`, or None when it is."""
    try:
        record = read_record(path)
    except RecordError as error:
        return str(error)
    label = record.label
    said, asked = (label.experiment, label.arm, label.block), (plan.experiment, trial.arm, trial.block)
    if said != asked:
        return f"the record is of {said}, expected {asked}"
    reading = Reading(record)
    if reading.invalid:
        return f"the record is invalid: {reading.invalid[0]}"
    if reading.capacity is None:
        return "the record has no capacity: the search did not come to its end"
    return None


def put_aside(folder: Path) -> list[Path]:
    """Records of the experiment in `folder` that did not count."""
    return sorted((folder / INVALID).glob("*.invalid.json"))


def _refused(error: ClientError) -> bool:
    """Whether AWS said no, so that nothing was launched, and not that it failed, when nobody knows."""
    code = error.response.get("Error", {}).get("Code")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return code in SCARCE or code == "RequestLimitExceeded" or 400 <= status < 500


def _table(price: Price) -> str:
    """A price table of one row, as `--prices` reads it: the generator's own may not know the region."""
    text = io.StringIO()
    row = msgspec.structs.asdict(price)
    writer = csv.DictWriter(text, row, lineterminator="\n")
    writer.writeheader()
    writer.writerow(row)
    return text.getvalue()


def _end_all(machines: Machines, region: str, tell: Tell, wait: Wait) -> None:
    """Ends what is alive, trying again where the cloud does not answer."""
    for attempt in range(1, ENDING_TRIES + 1):
        try:
            machines.end_all()
            return
        except BaseException as error:
            # Ctrl-C and signals count too: a person who is impatient now would pay for it. Nor may a terminal that is
            # gone, or an impatience while waiting, keep the next try from being made.
            if attempt == ENDING_TRIES:
                with contextlib.suppress(OSError):
                    tell(
                        "Machines may be alive; they end themselves, and `perwatt fleet reap --all --region "
                        f"{region}` ends them now."
                    )
                raise
            with contextlib.suppress(BaseException):
                tell(f"ending the machines failed ({error!r}); trying again")
            with contextlib.suppress(BaseException):
                wait(2.0**attempt)


def clients(session: Any) -> dict[str, Any]:
    """Clients of the services that are used, of a boto3 session."""
    from deploy.cloud.parcel import s3_client

    others = {name: session.client(name) for name in ("ec2", "ssm", "cloudformation")}
    return {**others, "s3": s3_client(session)}
