"""The chart's jobs, the rebuild and the load test, and the pages that say how to use them."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import pytest
import yaml
from charts import CHART, EVERYTHING, FETCHED, containers, notes, one, pod, rendered, workloads


def test_the_autoscaler_and_the_deployment_do_not_fight_over_replicas() -> None:
    assert "replicas" not in one("Deployment", {"autoscaling": {"enabled": True}})["spec"]
    target = one("HorizontalPodAutoscaler", EVERYTHING)["spec"]["scaleTargetRef"]["name"]
    assert target == one("Deployment")["metadata"]["name"]


def test_no_pod_has_a_token_and_what_is_rebuilt_is_followed_in_the_pod() -> None:
    """Whoever parses documents must not be able to ask Kubernetes for anything."""
    for workload in workloads(EVERYTHING):
        assert pod(workload)["automountServiceAccountToken"] is False
    assert {each["kind"] for each in rendered(EVERYTHING)}.isdisjoint({"Role", "RoleBinding", "ClusterRole"})
    [serve] = pod(one("Deployment", EVERYTHING))["containers"]
    assert "--follow" in serve["args"]
    [fetched] = pod(one("Deployment", FETCHED))["containers"]
    assert "--follow" not in fetched["args"]  # nobody changes what is in the pod


def steps(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The containers of the rebuild by name, in their order."""
    return {each["name"]: each for each in containers(one("CronJob", values))}


def test_a_rebuild_is_made_with_the_options_that_are_given() -> None:
    """A build inherits nothing from the served generation: its filters would be gone in the morning."""
    found = steps(EVERYTHING)
    for name, given in (("embed", "embedArguments"), ("build", "buildArguments")):
        options = EVERYTHING["rebuild"][given]
        assert found[name]["args"][-len(options) :] == options


def test_a_model_of_ones_own_reaches_whoever_needs_it() -> None:
    serve = pod(one("Deployment", EVERYTHING))
    rebuild = pod(one("CronJob", EVERYTHING))
    for spec, container in ((serve, serve["containers"][0]), (rebuild, steps(EVERYTHING)["embed"])):
        mounted = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
        volumes = {each["name"]: each for each in spec["volumes"]}
        assert volumes[mounted["/models"]]["persistentVolumeClaim"]["claimName"] == "perwatt-models"
        assert {"name": "PERWATT_CACHE", "value": "/cache"} in container["env"]
        assert "emptyDir" in volumes[mounted["/cache"]]
    assert not [each for each in workloads({"rebuild": {"enabled": True}}) if "models" in str(pod(each)["volumes"])]


def test_rebuilds_that_fail_do_not_fill_the_volume() -> None:
    found = steps(EVERYTHING)
    assert list(found) == ["gc", "embed", "build"]
    assert found["gc"]["args"] == ["gc", "docs", "--root=/indexes", "--keep=2", "--missing-ok"]
    assert one("CronJob", EVERYTHING)["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0


def test_every_container_says_what_it_needs() -> None:
    for workload in [*workloads(EVERYTHING), *workloads(FETCHED)]:
        for container in containers(workload):
            assert container["resources"]["requests"]["cpu"], container["name"]
            assert container["resources"]["limits"]["memory"], container["name"]


def test_the_load_test_never_shares_a_node_with_what_it_loads() -> None:
    [term] = pod(one("Job", EVERYTHING))["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    labels = one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"].items() <= labels.items()


def test_the_load_test_is_placed_apart_from_the_service() -> None:
    own = {"nodeSelector": {"pool": "load"}, "tolerations": [{"key": "load"}], "architecture": "amd64"}
    nodes = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
    placed = pod(one("Job", {**EVERYTHING, "loadtest": {**EVERYTHING["loadtest"], **own, "affinity": nodes}}))
    assert placed["nodeSelector"] == {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "pool": "load"}
    assert placed["tolerations"] == own["tolerations"]
    assert placed["affinity"] == {**nodes, **pod(one("Job", EVERYTHING))["affinity"]}
    assert "priorityClassName" not in placed
    served = pod(one("Deployment", EVERYTHING))
    assert served["nodeSelector"] == {"kubernetes.io/os": "linux", "pool": "search"}


def test_the_load_test_waits_for_what_it_loads() -> None:
    """A Job starts with the Deployment, and one that fails is not repeated."""
    job = one("Job", {**EVERYTHING, "service": {"port": 8080}})
    [ready] = pod(job)["initContainers"]
    [loads] = pod(job)["containers"]
    assert ready["image"] == loads["image"]
    assert importlib.util.find_spec(ready["command"][2])
    url, seconds = ready["args"]
    assert f"--url={url}" in loads["args"]
    assert url == f"http://{one('Service')['metadata']['name']}:8080"
    startup = pod(one("Deployment"))["containers"][0]["startupProbe"]
    assert int(seconds) > startup["periodSeconds"] * startup["failureThreshold"]


def test_every_revision_has_a_load_test_of_its_own() -> None:
    """A Job's template may not be changed: under one name, Kubernetes would refuse every upgrade."""
    first, second = (
        next(each for each in rendered(EVERYTHING, revision=revision) if each["kind"] == "Job") for revision in (1, 2)
    )
    assert first["spec"]["template"] != second["spec"]["template"]
    assert first["metadata"]["name"] != second["metadata"]["name"]


@pytest.mark.parametrize("name", ["a" * 53, "perwatt-" + "a" * 45, "a-" * 26 + "a"])
def test_names_of_long_releases_are_short_enough(name: str) -> None:
    for manifest in rendered(EVERYTHING, name=name, revision=123456):
        given = manifest["metadata"]["name"]
        assert len(given) <= (52 if manifest["kind"] == "CronJob" else 63), given
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", given), given
        assert manifest["kind"] != "Job" or given.endswith("-loadtest-123456")


PAGE = (CHART / "README.md").read_text()
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())


def test_the_page_names_values_that_there_are() -> None:
    named = {path for path in re.findall(r"`(\w+(?:\.\w+)+)`", PAGE) if path.split(".")[0] in VALUES}
    assert len(named) > 8
    for path in named:
        found = VALUES
        for part in path.split("."):
            assert part in found, path
            found = found[part]
    for example in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL):
        values = yaml.safe_load(example)
        if set(values) <= set(VALUES):
            kinds = [each["kind"] for each in rendered(values)]
            assert ("StatefulSet" if "shards" in values else "CronJob") in kinds


def test_the_access_mode_of_the_claim_is_said_wherever_it_is_chosen() -> None:
    for text in (PAGE, (CHART / "values.yaml").read_text(), notes({"rebuild": {"enabled": True}})):
        assert "ReadWriteMany" in text
    assert "ReadOnlyMany" in notes({})
    assert "ReadOnlyMany" not in notes(FETCHED)


def test_whoever_rebuilds_without_options_is_told_what_that_means() -> None:
    assert "give\nthem in rebuild.buildArguments" in notes({"rebuild": {"enabled": True}})
    assert "rebuild.buildArguments" not in notes(EVERYTHING)
