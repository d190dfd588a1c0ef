"""What CI would run: of the right shape, without known weaknesses, and made of scripts and targets that exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import pytest
import yaml

TOP = Path(__file__).parents[1]
FILES = sorted((TOP / ".github" / "workflows").glob("*.yaml"))
BIN = Path(sys.executable).parent


def workflow(path: Path) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true.
    return {("on" if key is True else key): value for key, value in yaml.safe_load(path.read_text()).items()}


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in workflow(path)["jobs"].values() for step in job.get("steps", [])]


def test_there_are_workflows() -> None:
    assert [path.stem for path in FILES] == ["ci", "measure", "release", "weekly"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_workflows_follow_the_schema(path: Path) -> None:
    folder = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"
    schema = json.loads((folder / "github-workflows.json").read_text())
    jsonschema.Draft7Validator(schema).validate(workflow(path))


def zizmor(path: Path) -> int:
    command = [BIN / "zizmor", "--offline", "--quiet", "--config", TOP / ".github" / "zizmor.yml", path]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_workflows_have_no_known_weakness(tmp_path: Path) -> None:
    assert zizmor(TOP / ".github" / "workflows") == 0
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    weak = (
        (TOP / ".github/workflows/ci.yaml").read_text().replace("- run: .ci/run", "- run: echo ${{ github.head_ref }}")
    )
    (folder / "ci.yaml").write_text(weak)
    assert zizmor(folder) != 0


def test_yaml_is_tidy() -> None:
    places = [".github", "deploy", ".hadolint.yaml", ".yamllint.yaml"]
    ran = subprocess.run(
        [BIN / "yamllint", "--strict", "-c", ".yamllint.yaml", *places],
        cwd=TOP, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    for step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"]), step["uses"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_steps_are_scripts_and_targets_that_exist(path: Path) -> None:
    makefile = (TOP / "Makefile").read_text()
    for step in steps(path):
        for word in re.findall(r"(?:deploy/|\.ci/)\S+", step.get("run", "")):
            assert (TOP / word).is_file(), word
        for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", "")):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_local_workflows_that_are_called_exist_and_can_be_called(path: Path) -> None:
    for job in workflow(path)["jobs"].values():
        if "uses" in job:
            assert "workflow_call" in workflow(TOP / job["uses"])["on"]


def test_both_architectures_run_natively() -> None:
    jobs = {name: job for path in FILES for name, job in workflow(path)["jobs"].items()}
    arches = {"ubuntu-24.04", "ubuntu-24.04-arm"}
    assert set(jobs["test"]["strategy"]["matrix"]["runner"]) == arches
    assert {each["runner"] for each in jobs["images"]["strategy"]["matrix"]["include"]} == arches
    assert {each["runner"] for each in jobs["loadtest"]["strategy"]["matrix"]["include"]} == arches


def test_the_report_compares_arms_that_are_measured() -> None:
    jobs = workflow(TOP / ".github/workflows/measure.yaml")["jobs"]
    arms = set(jobs["loadtest"]["strategy"]["matrix"]["arm"])
    [compared] = [step["run"] for step in jobs["report"]["steps"] if "compare.sh" in step.get("run", "")]
    gated = [step["run"].split()[-1] for step in jobs["report"]["steps"] if "gate.sh" in step.get("run", "")]
    assert set(compared.split()[-3:]) == arms
    assert set(gated) <= arms
