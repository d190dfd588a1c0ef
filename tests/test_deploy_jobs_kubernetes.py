"""The chart's Jobs, and the command that applies and watches them beside a recorded `kubectl`: there was no cluster."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from charts import containers, pod, rendered
from click.testing import CliRunner
from late import Late
from recorded_kubectl import DONE, Recorded

from deploy.command import perwatt
from deploy.errors import JobError
from deploy.jobs import kubernetes
from deploy.jobs.kubernetes import numbers

kubernetes_validate, helm = Late("kubernetes_validate"), Late("helm_python")
OLDEST, NEWEST = "1.29", "1.34"
FAILED = {"type": "Failed", "status": "True", "message": "Job has failed indexes"}
PLANNED = {"job": "/jobs/docs", "id": "0", "index": "docs", "generation": "docs-20261129T170000Z-0001", "shards": 2,
           "fragments": 4}  # fmt: skip
SAID = (
    "perwatt: error: /documents/docs.jsonl:17: not JSON: …. To leave out records that cannot be used: --on-error skip"
)


def of_stage(stage: str, **job: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"job": {"stage": stage, "run": "7", "tasks": 40, **job}}
    [found] = [each for each in rendered(values) if each["kind"] in ("Job", "RayJob")]
    return found


@pytest.mark.parametrize("stage", ["plan", "embed", "build", "measure", "publish"])
def test_the_jobs_of_stages_are_what_kubernetes_expects(stage: str) -> None:
    manifest = of_stage(stage, inputs=["/documents"])
    for version in (OLDEST, NEWEST):
        kubernetes_validate.validate(manifest, version, strict=True)
    [work] = containers(manifest)
    assert work["args"][0] == (stage if stage in ("plan", "publish") else "work")
    assert "--job=/jobs/docs" in work["args"]
    assert manifest["metadata"]["name"] == f"demo-perwatt-{stage}-7"
    assert pod(manifest)["restartPolicy"] == "Never"
    assert {each["key"] for each in pod(manifest)["tolerations"]} >= {"cloud.google.com/gke-spot", "spot"}
    ignore, give_up = manifest["spec"]["podFailurePolicy"]["rules"]
    assert (ignore["action"], ignore["onPodConditions"]) == ("Ignore", [{"type": "DisruptionTarget", "status": "True"}])
    assert give_up["onExitCodes"] == {"containerName": work["name"], "operator": "In", "values": [42]}
    many = stage in ("embed", "build", "measure")
    assert give_up["action"] == ("FailIndex" if many else "FailJob")
    assert (manifest["spec"].get("completions"), manifest["spec"].get("parallelism")) == (
        (40, 10) if many else (None,) * 2
    )
    assert ("backoffLimitPerIndex" in manifest["spec"]) == many


def test_a_ray_job_runs_the_command_with_words_that_a_shell_reads() -> None:
    manifest = of_stage("ray", inputs=["/documents/it's here.jsonl"], ray={"image": {"repository": "own/ray"}})
    words = shlex.split(manifest["spec"]["entrypoint"])
    assert words[:4] == ["perwatt", "job", "run", "--on=ray"]
    assert "/documents/it's here.jsonl" in words
    ran = CliRunner().invoke(perwatt, [*words[1:], "--help"])  # every option is one
    assert ran.exit_code == 0
    cluster = manifest["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        [node] = group["template"]["spec"]["containers"]
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in node["env"]
    with pytest.raises(helm.HelmError, match=r"needs job\.ray\.image"):
        of_stage("ray")
    with pytest.raises(helm.HelmError, match=r"needs indexes\.source volume"):
        rendered({"job": {"stage": "embed"}, "indexes": {"source": "pull", "pull": {"from": "s3://b", "names": ["x"]}}})


@pytest.mark.parametrize("stage", ["plan", "embed", "publish", "ray"])
def test_a_job_in_a_store_needs_no_claim_and_has_the_credentials_of_a_secret(stage: str) -> None:
    place = {"store": "s3://bucket/perwatt", "secret": "store", "inputs": ["s3://bucket/docs"]}
    values: dict[str, Any] = {"job": {"stage": stage, **place, "ray": {"image": {"repository": "own/ray"}}}}
    values["indexes"] = {"source": "pull", "pull": {"from": place["store"], "names": ["docs"], "secret": "store"}}
    [manifest] = [each for each in rendered(values) if each["kind"] in ("Job", "RayJob")]
    if stage == "ray":
        cluster, words = manifest["spec"]["rayClusterSpec"], shlex.split(manifest["spec"]["entrypoint"])
        pods = [each["template"]["spec"] for each in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    else:
        kubernetes_validate.validate(manifest, OLDEST, strict=True)
        pods, words = [pod(manifest)], containers(manifest)[0]["args"]
    assert "--job=s3://bucket/perwatt/docs.job" in words
    assert ("--root=s3://bucket/perwatt" in words) == ("s3://bucket/docs" in words) == (stage in ("plan", "ray"))
    for spec in pods:
        assert [volume["name"] for volume in spec["volumes"]] == ["tmp"]
        [container] = spec["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "store"}}]
        assert [mount["name"] for mount in container["volumeMounts"]] == ["tmp"]
    place["inputs"] = ["/documents/docs.jsonl"]
    values["job"] |= place
    assert "perwatt-documents" in str(rendered(values))


def job_run(monkeypatch: pytest.MonkeyPatch, recorded: Recorded, *words: str) -> tuple[int, str]:
    monkeypatch.setattr(kubernetes, "_ran", recorded)
    monkeypatch.setattr(kubernetes, "LOOK_EVERY_S", 0.0)
    given = ["job", "run", "/documents/docs.jsonl", "--on", "kubernetes", "--index", "docs", "--shards", "2", *words]
    ran = CliRunner().invoke(perwatt, given)
    if ran.exception and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return ran.exit_code, ran.output


def test_the_stages_are_applied_and_watched_to_their_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recorded = Recorded(
        PLANNED,
        embed=[
            ({"active": 2}, [(0, "Running"), (1, "Running")]),
            ({"completedIndexes": "0", "failed": 1}, [(0, "Succeeded", 0), (1, "Failed", 137), (1, "Running")]),
            ({"completedIndexes": "0-3", "failed": 1, "conditions": [DONE]}, []),
        ],
    )
    values = tmp_path / "values.yaml"
    values.write_text("architecture: arm64\n")
    words = ("--filterable", "lang:keyword", "--no-lexical", "--workers", "3", "--usd-per-core-hour", "0.04")
    place = ("--namespace", "search", "--release", "demo", "--values", str(values))
    status, said = job_run(monkeypatch, recorded, *place, *words)
    assert status == 0, said
    assert "embed: 4 of 4 done, 0 failed, 1 retried" in said
    assert "so far" in said
    assert f"{PLANNED['generation']} in 2 shards for $" in said
    assert recorded.namespaces == {"--namespace=search"}
    assert list(recorded.applied) == ["plan", "embed", "build", "measure", "publish"]
    [plan] = containers(recorded.applied["plan"])
    assert plan["args"] == [
        "plan", "/documents/docs.jsonl", "--index=docs", "--shards=2", "--root=/indexes", "--job=/jobs/docs",
        "--filterable=lang:keyword", "--no-lexical", "--json",
    ]  # fmt: skip
    assert [job["spec"].get("completions") for job in recorded.applied.values()] == [None, 4, 2, 2, None]
    assert recorded.applied["embed"]["spec"]["parallelism"] == 3
    assert pod(recorded.applied["embed"])["nodeSelector"]["kubernetes.io/arch"] == "arm64"
    recorded = Recorded(PLANNED)
    status, said = job_run(monkeypatch, recorded, "--root", "s3://bucket/perwatt")
    assert (status, "is in s3://bucket/perwatt" in said) == (0, True)
    [plan], [embed] = (containers(recorded.applied[stage]) for stage in ("plan", "embed"))
    assert plan["args"][4:6] == ["--root=s3://bucket/perwatt", "--job=s3://bucket/perwatt/docs.job"]
    assert "--job=s3://bucket/perwatt/docs.job" in embed["args"]
    assert job_run(monkeypatch, recorded, "--root", "s3://b", "--job", "s3://b/j")[0] == 2


def test_a_bad_input_is_told_with_the_words_of_its_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"completedIndexes": "0,2,3", "failedIndexes": "1", "failed": 1, "conditions": [FAILED]}
    recorded = Recorded(PLANNED, embed=[(failed, [(1, "Failed", 42, SAID)])])
    status, said = job_run(monkeypatch, recorded)
    assert status == 42
    assert "1 of 4 tasks of the stage embed failed" in said
    assert "embed 1: /documents/docs.jsonl:17: not JSON" in said
    assert "give the same command again" in said
    assert "build" not in recorded.applied


def test_a_job_that_kubernetes_ends_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    late = {"conditions": [{"type": "Failed", "status": "True", "message": "Job was active longer than its deadline"}]}
    with pytest.raises(JobError, match="active longer than its deadline"):
        job_run(monkeypatch, Recorded(PLANNED, build=[(late, [])]))
    with pytest.raises(JobError, match="plan 0: no such file"):
        job_run(monkeypatch, Recorded(PLANNED, plan=[({"conditions": [FAILED]}, [(0, "Failed", 2, "no such file")])]))


def test_what_is_not_there_or_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kubernetes._ran(["sh", "-c", "cat"], "given") == "given"
    with pytest.raises(JobError, match="`sh -c` failed: no rights"):
        kubernetes._ran(["sh", "-c", "echo no rights >&2; exit 3"])
    with pytest.raises(JobError, match="runs `no-such-helm`, which is not installed here"):
        kubernetes._ran(["no-such-helm"])
    for words in (("--release", "x"), ("--on", "kubernetes", "--root", "r")):
        ran = CliRunner().invoke(perwatt, ["job", "run", "x", "--index", "docs", "--shards", "1", *words])
        assert ran.exit_code == 2
        assert "kubernetes" in ran.output


def test_numbers_of_tasks_are_read_as_kubernetes_writes_them() -> None:
    assert numbers("") == set()
    assert numbers("1,3-5,7") == {1, 3, 4, 5, 7}
