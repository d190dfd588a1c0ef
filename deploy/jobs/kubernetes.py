"""Jobs of Kubernetes as the workers of a job: the chart renders one for each stage, `kubectl` applies and watches it.

Nothing is read here but what `helm` and `kubectl` print: the job is planned in the cluster, by a pod that sees the
inputs and says how many tasks there are. Pods that fail are tried again by Kubernetes, each task by itself; a pod that
ends with status 42 is not, and one whose node was taken away counts for nothing.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from deploy.errors import JobError
from deploy.jobs.plan import STAGES
from deploy.jobs.run import failure
from deploy.jobs.tally import JobDisplay, Tally
from deploy.jobs.work import BAD_INPUT

CHART = Path(__file__).parents[1] / "helm" / "perwatt"
LOOK_EVERY_S = 5.0
INDEX = "batch.kubernetes.io/job-completion-index"


class Planned(msgspec.Struct):
    """What the pod of the stage `plan` says."""

    job: str
    id: str
    index: str
    generation: str
    shards: int
    fragments: int

    def tasks(self, stage: str) -> int:
        return {"embed": self.fragments, "publish": 1}.get(stage, self.shards)


class Kubernetes:
    """
    Args:
        release: of the chart, whose claims and service account the pods use.
        namespace: None for the one of the current context.
        values: files, as `helm install` was given them.
        job: further values of the chart's `job`.
    """

    def __init__(
        self,
        release: str,
        namespace: str | None,
        values: Sequence[Path],
        job: dict[str, Any],
    ) -> None:
        self._release, self._values, self._job = release, values, job
        self._namespace = [] if namespace is None else [f"--namespace={namespace}"]

    def run(
        self, *, display: JobDisplay, cores: float, usd_per_core_hour: float | None = None
    ) -> tuple[Planned, float | None]:
        """Does all stages; what was planned, and the dollars that it took. Raises as `run` of other workers does."""
        said, spent = self._stage("plan", 1, display, cores, usd_per_core_hour, 0.0)
        planned = msgspec.json.decode(self._kubectl("logs", f"job/{said}").strip().splitlines()[-1], type=Planned)
        for stage in STAGES:
            _, spent = self._stage(stage, planned.tasks(stage), display, cores, usd_per_core_hour, spent)
        return planned, None if usd_per_core_hour is None else spent

    def _stage(
        self, stage: str, tasks: int, display: JobDisplay, cores: float, usd_per_core_hour: float | None, spent: float
    ) -> tuple[str, float]:
        """Applies the Job of a stage and waits for its end; its name, and the dollars so far."""
        manifest = self._rendered(stage, tasks)
        name = json.loads(self._kubectl("apply", "--filename=-", "--output=json", given=manifest))["metadata"]["name"]
        tally = Tally(stage, dict.fromkeys(range(tasks), 1.0), 0, cores, usd_per_core_hour, spent)
        while not (ended := self._look(name, tally)):
            display.show(tally)
            time.sleep(LOOK_EVERY_S)
        display.say(tally.line())
        if ended == "Failed":
            tally.failed = tally.failed or {0: f"Kubernetes ended the Job {name}: {self._why(name)}"}
            raise failure(tally, lambda stage, task: f"{stage} {task}")
        return name, tally.usd or 0.0

    def _look(self, name: str, tally: Tally) -> str | None:
        """Brings a tally to what the cluster says; how the Job ended, if it did."""
        job = json.loads(self._kubectl("get", "job", name, "--output=json"))
        pods = json.loads(
            self._kubectl("get", "pods", f"--selector=batch.kubernetes.io/job-name={name}", "--output=json")
        )
        status = job.get("status", {})
        tally.done = numbers(status.get("completedIndexes", ""))
        failed, running = numbers(status.get("failedIndexes", "")), set()
        for pod in pods["items"]:
            task, phase = int(pod["metadata"].get("annotations", {}).get(INDEX, 0)), pod["status"].get("phase")
            if phase == "Running":
                running.add(task)
            if phase == "Failed" and (task in failed or "completionMode" not in job["spec"]):
                code, said = last_words(pod)
                tally.failed[task] = said
                if code == BAD_INPUT:
                    tally.bad[task] = said
        tally.failed = {task: tally.failed.get(task, "") for task in failed} if failed else tally.failed
        tally.follow(running)
        tally.retried = max(0, int(status.get("failed", 0)) - len(failed))
        ended = {each["type"] for each in status.get("conditions", []) if each["status"] == "True"} & {
            "Complete",
            "Failed",
        }
        if ended == {"Complete"} and "completionMode" not in job["spec"]:
            tally.done, tally.failed = {0}, {}
        return ended.pop() if ended else None

    def _why(self, name: str) -> str:
        conditions = json.loads(self._kubectl("get", "job", name, "--output=json"))["status"]["conditions"]
        return "; ".join(str(each.get("message", each["type"])) for each in conditions if each["status"] == "True")

    def _rendered(self, stage: str, tasks: int) -> str:
        job = {**self._job, "stage": stage, "tasks": tasks}
        values = [f"--values={path}" for path in self._values]
        values += [f"--set-json=job.{key}={json.dumps(value)}" for key, value in job.items()]
        show = "--show-only=templates/job.yaml"
        return _ran(["helm", "template", self._release, str(CHART), show, *self._namespace, *values])

    def _kubectl(self, *words: str, given: str | None = None) -> str:
        return _ran(["kubectl", *words, *self._namespace], given)


def numbers(said: str) -> set[int]:
    """The tasks that a Job's status names: "0,3-5" is 0, 3, 4 and 5."""
    found: set[int] = set()
    for part in filter(None, said.split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def last_words(pod: dict[str, Any]) -> tuple[int, str]:
    """The exit status of a pod's container, and the end of what it said."""
    for status in pod["status"].get("containerStatuses", []):
        if ended := status.get("state", {}).get("terminated"):
            said = str(ended.get("message", "")).strip().rpartition("perwatt: error: ")[2]
            return int(ended["exitCode"]), said or f"ended with status {ended['exitCode']} ({ended.get('reason', '')})"
    return -1, str(pod["status"].get("message") or pod["status"].get("reason") or "was lost")


def _ran(words: Sequence[str], given: str | None = None) -> str:
    try:
        return subprocess.run(words, input=given, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        raise JobError(f"--on kubernetes runs `{words[0]}`, which is not installed here") from None
    except subprocess.CalledProcessError as error:
        raise JobError(f"`{words[0]} {words[1]}` failed: {str(error.stderr).strip()[:2000]}") from None
