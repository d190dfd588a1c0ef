"""A recorded `kubectl` for `perwatt job run --on kubernetes`: no cluster, but what one says of a Job, look by look.

Beside it a `helm`, which is Helm's own engine. Both take the words of their commands and print what those print.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from charts import rendered

INDEX = "batch.kubernetes.io/job-completion-index"
DONE = {"type": "Complete", "status": "True"}
Pod = tuple[int, str] | tuple[int, str, int] | tuple[int, str, int, str]


class Recorded:
    """
    Args:
        planned: what the pod of the stage `plan` prints.
        looks: of each stage, what is seen at each look: the Job's status, and its pods as (number, phase, exit status,
            last words). A stage without any is done at once.

    `applied` has the manifests that were applied, by stage.
    """

    def __init__(self, planned: dict[str, Any], **looks: list[tuple[dict[str, Any], list[Pod]]]) -> None:
        self._planned, self._looks, self._at = planned, looks, dict[str, int]()
        self.applied: dict[str, dict[str, Any]] = {}
        self.namespaces: set[str] = set()

    def __call__(self, words: Sequence[str], given: str | None = None) -> str:
        program, *rest = words
        self.namespaces |= {word for word in rest if word.startswith("--namespace=")}
        return self._helm(rest) if program == "helm" else self._kubectl(rest, given or "")

    def _kubectl(self, words: list[str], given: str) -> str:
        if words[0] == "apply":
            assert words[1] == "--filename=-"
            manifest = yaml.load(given, yaml.CSafeLoader)
            self.applied[_stage(manifest["metadata"]["name"])] = manifest
            return json.dumps(manifest)
        if words[0] == "logs":
            return "the model runs in fp32\n" + json.dumps(self._planned) + "\n"
        stage = _stage(words[2])
        looks = self._looks.get(stage, [({"conditions": [DONE]}, [])])
        if words[:2] == ["get", "pods"]:
            return json.dumps({"items": [_pod(*each) for each in looks[self._at[stage]][1]]})
        assert words[:2] == ["get", "job"]
        self._at[stage] = min(self._at.get(stage, -1) + 1, len(looks) - 1)
        return json.dumps({"spec": self.applied[stage]["spec"], "status": looks[self._at[stage]][0]})

    def _helm(self, words: list[str]) -> str:
        command, release, chart, show, *rest = words
        assert (command, show) == ("template", "--show-only=templates/job.yaml")
        assert (Path(chart) / "templates" / "job.yaml").is_file()
        values: dict[str, Any] = {"job": {}}
        for word in rest:
            name, _, value = word.removeprefix("--").partition("=")
            if name == "set-json":
                key, _, content = value.partition("=")
                values["job"][key.removeprefix("job.")] = json.loads(content)
            elif name == "values":
                values |= yaml.safe_load(Path(value).read_text())
        [job] = [each for each in rendered(values, release) if each["kind"] == "Job"]
        return str(yaml.safe_dump(job))


def _pod(number: int, phase: str, code: int | None = None, said: str = "") -> dict[str, Any]:
    state = {"running": {}} if code is None else {"terminated": {"exitCode": code, "message": said, "reason": "Error"}}
    return {
        "metadata": {"annotations": {INDEX: str(number)}},
        "status": {"phase": phase, "containerStatuses": [{"name": "work", "state": state}]},
    }


def _stage(name: str) -> str:
    found = re.search(r"perwatt-(plan|embed|build|measure|publish)-", name)
    assert found, name
    return found[1]
