"""What CI would run: of the right shape, without known weaknesses, and made of scripts and targets that exist."""

from __future__ import annotations

import itertools
import json
import re
import shutil
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
    assert [path.stem for path in FILES] == ["ci", "measure", "nightly", "rehearsal", "release", "weekly", "wheels"]


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
        for target in re.findall(r"\bmake ([a-z0-9-]+)", step.get("run", "")):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_local_workflows_that_are_called_exist_and_can_be_called(path: Path) -> None:
    for job in workflow(path)["jobs"].values():
        if "uses" in job:
            assert "workflow_call" in workflow(TOP / job["uses"])["on"]


def test_what_is_proposed_gets_one_short_load_test_and_what_is_landed_gets_all() -> None:
    jobs = workflow(TOP / ".github/workflows/ci.yaml")["jobs"]
    assert (jobs["trial"]["if"], jobs["measure"]["if"]) == tuple(
        f"github.event_name == '{event}'" for event in ("pull_request", "push")
    )
    trials = [step for step in jobs["trial"]["steps"] if "trial.sh" in step.get("run", "")]
    assert [("--no-curve" in step["env"]["KNEE_OPTIONS"], matrix_of(jobs["trial"])) for step in trials] == [
        (True, [{}])
    ]


def test_the_night_runs_the_longer_proofs() -> None:
    runs = [step["run"] for step in steps(TOP / ".github/workflows/nightly.yaml") if "run" in step]
    proofs = (
        "test-units",
        "test-long",
        "sanitize",
        "fuzz",
        "test-integrations",
        "test-arm64",
        "selftest",
        "test-crash",
    )
    assert runs == [f"make {target}" for target in proofs]


def test_what_is_pinned_is_kept_fresh() -> None:
    folder = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"
    asked = yaml.safe_load((TOP / ".github/dependabot.yml").read_text())
    jsonschema.Draft7Validator(json.loads((folder / "dependabot.json").read_text())).validate(asked)
    named = {"docker": "Dockerfile", "npm": "package-lock.json", "github-actions": ".github/workflows"}
    for update in asked["updates"]:
        assert (TOP / update["directory"].strip("/") / named[update["package-ecosystem"]]).exists()


def test_what_is_measured_is_what_is_released() -> None:
    """Images are built in one place, go on by their digests, and a release has no step that builds."""
    building = re.compile(r"stage\.sh|images\.sh|bake|build\.sh|publish\.sh")
    where = {
        (path.stem, name)
        for path in FILES
        for name, job in workflow(path)["jobs"].items()
        for step in job.get("steps", [])
        if building.search(step.get("run", ""))
    }
    assert where == {("ci", "trial"), ("measure", "images")}
    measure = workflow(TOP / ".github/workflows/measure.yaml")
    assert measure["jobs"]["loadtest"]["steps"][-2]["env"]["PERWATT_DIGESTS"] == "digests/${{ matrix.arch }}"
    jobs = workflow(TOP / ".github/workflows/release.yaml")["jobs"]
    [promote] = [step["run"] for step in jobs["promote"]["steps"] if "promote.sh" in step.get("run", "")]
    assert promote.split()[-2:] == ["digests/amd64", "digests/arm64"]
    assert jobs["promote"]["needs"] == ["find", "scan"]


def test_a_job_has_the_rights_that_it_needs() -> None:
    rights = {
        (path.stem, name, scope)
        for path in FILES
        for name, job in workflow(path)["jobs"].items()
        for scope, level in job["permissions"].items()
        if level == "write"
    }
    assert all(workflow(path)["permissions"] == {} for path in FILES)
    assert rights == {
        ("ci", "measure", "packages"),
        ("measure", "images", "packages"),
        ("release", "promote", "packages"),
        ("release", "promote", "id-token"),
        ("release", "describe", "packages"),
        ("release", "describe", "id-token"),
        ("release", "describe", "attestations"),
        ("release", "notes", "contents"),
    }


def test_both_architectures_run_natively() -> None:
    jobs = {name: job for path in FILES for name, job in workflow(path)["jobs"].items()}
    arches = {"ubuntu-24.04", "ubuntu-24.04-arm"}
    for name in ("test", "units"):
        assert set(jobs[name]["strategy"]["matrix"]["runner"]) == arches
    assert set(jobs["wheels"]["strategy"]["matrix"]["runner"]) == {*arches, "macos-15"}
    assert {each["runner"] for each in jobs["images"]["strategy"]["matrix"]["include"]} == arches
    assert {each["runner"] for each in jobs["loadtest"]["strategy"]["matrix"]["include"]} == arches


def matrix_of(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The combinations of a job's matrix, as GitHub makes them: an entry of `include` joins those that it agrees with,
    and is one of its own where there are none."""
    matrix = dict(job.get("strategy", {}).get("matrix", {}))
    included = matrix.pop("include", [])
    found = [dict(zip(matrix, values, strict=True)) for values in itertools.product(*matrix.values())] if matrix else []
    for entry in included:
        joined = [
            each for each in found if all(each.get(key, entry[key]) == entry[key] for key in matrix & entry.keys())
        ]
        for each in joined:
            each.update(entry)
        if not joined:
            found.append(dict(entry))
    return found or [{}]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_two_jobs_of_a_run_keep_an_artefact_under_the_same_name(path: Path) -> None:
    """The second of them would fail, and its trial be lost."""
    kept = [
        re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda found, case=case: str(case[found[1]]), step["with"]["name"])
        for job in workflow(path)["jobs"].values()
        for step in job.get("steps", [])
        if "upload-artifact" in step.get("uses", "")
        for case in matrix_of(job)
        if runs_in(step, case)
    ]
    assert len(set(kept)) == len(kept), kept
    if path.stem == "measure":
        assert len([name for name in kept if name.startswith("run-")]) == 12


def runs_in(step: dict[str, Any], case: dict[str, Any]) -> bool:
    """Whether a step runs in that combination, of the conditions that are used: none, always(), matrix.x == 'y'."""
    condition = str(step.get("if", "always()"))
    if condition == "always()":
        return True
    [(key, value)] = re.findall(r"^matrix\.(\w+) == '(\w+)'$", condition)
    return bool(case[key] == value)


def test_the_weekly_figures_are_measurements_that_there_are() -> None:
    from deploy.figures.measurements import MEASUREMENTS

    [names] = re.findall(r"set -- ([a-z -]+) \$", (TOP / "deploy/ci/peers.sh").read_text())
    assert set(names.split()) <= set(MEASUREMENTS)
    assert [step["run"] for step in steps(TOP / ".github/workflows/weekly.yaml") if "run" in step] == [
        "make audit",
        "deploy/ci/peers.sh figures",
    ]


def test_the_report_compares_arms_that_are_measured() -> None:
    jobs = workflow(TOP / ".github/workflows/measure.yaml")["jobs"]
    arms = set(jobs["loadtest"]["strategy"]["matrix"]["arm"])
    [compared] = [step["run"] for step in jobs["report"]["steps"] if "compare.sh" in step.get("run", "")]
    gated = [step["run"].split()[-1] for step in jobs["report"]["steps"] if "regression.sh" in step.get("run", "")]
    assert set(compared.split()[-3:]) == arms
    assert set(gated) <= arms


@pytest.mark.parametrize(
    ("ends", "kept", "status"), [(0, True, 0), (3, True, 0), (3, False, 3), (1, True, 1), (2, False, 2)]
)
def test_only_a_trial_that_may_not_be_believed_is_a_warning(ends: int, kept: bool, status: int, tmp_path: Path) -> None:
    """With a load test that only ends; 3 without a record is a refusal."""
    folder = tmp_path / "deploy" / "ci"
    folder.mkdir(parents=True)
    shutil.copy(TOP / "deploy/ci/trial.sh", folder)
    (folder / "loadtest.sh").write_text(
        f"#!/bin/sh\n{'mkdir runs; touch runs/arm64-2.json' if kept else ':'}\nexit {ends}\n"
    )
    (folder / "loadtest.sh").chmod(0o755)
    ran = subprocess.run(
        [folder / "trial.sh", "index.tar", "arm64", "2", "runs/arm64-2.json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == status
    assert ran.stdout.startswith("::warning::The trial of arm64 in block 2") == ((ends, status) == (3, 0))
