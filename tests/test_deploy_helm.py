"""The Helm chart, rendered by Helm's own engine and held against Kubernetes' schemas."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
import yaml
from charts import ARCHIVE, CHART, EVERYTHING, FETCHED, OPERATORS, containers, notes, one, pod, rendered, workloads
from late import Late

from deploy.command import STEPS, perwatt

kubernetes_validate, helm = Late("kubernetes_validate"), Late("helm_python")
SECRET, SIGNED = "https://me:password@example.org/docs.tar", "https://example.org/docs.tar?X-Amz-Signature=1"
OLDEST, NEWEST = "1.27", "1.34"


def test_helm_lint_finds_nothing_but_the_missing_icon() -> None:
    said = helm.lint(str(CHART))
    assert said["errors"] == []
    assert [each["error"] for each in said["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("values", [{}, EVERYTHING, FETCHED])
def test_manifests_are_what_kubernetes_expects(values: dict[str, Any], version: str) -> None:
    for manifest in rendered(values):
        if manifest["apiVersion"] not in OPERATORS:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schemas_see_a_wrong_manifest() -> None:
    manifest = one("Deployment")
    manifest["spec"]["replicaz"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, NEWEST, strict=True)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"architecture": "x86"}, "architecture"),
        ({"serve": {"replica": 2}}, "replica"),
        ({"image": {"repository": "perwatt-serve", "digest": "sha256:12"}}, "digest"),
        ({"indexes": {"source": "fetch", "fetch": {"archives": [{**ARCHIVE, "sha256": "12"}]}}}, "sha256"),
        ({"indexes": {"source": "fetch"}}, "archives is empty"),
        ({"serve": {"logFormat": "xml"}}, "logFormat"),
        ({"serve": {"timeoutSeconds": 600}}, "timeoutSeconds"),
        ({"tracing": {"endpoint": "collector:4317"}}, "endpoint"),
        ({"serve": {"podAnnotations": {"team": True}}}, "podAnnotations"),
        ({"disruptionBudget": {"maxUnavailable": "some"}}, "maxUnavailable"),
        ({"autoscaling": {"enabled": True, "minReplicas": 20}}, "minReplicas is 20, expected at most"),
        ({"keys": {"secret": "perwatt-keys"}, "loadtest": {"enabled": True}}, "give loadtest.keySecret"),
        ({**FETCHED, "rebuild": {"enabled": True}}, "needs indexes.source volume"),
        (
            {"indexes": {"source": "pull", "pull": {"from": "s3://bucket/backups"}}},
            "at least one of indexes.pull.names",
        ),
        ({"indexes": {"source": "fetch", "fetch": {"archives": [{**ARCHIVE, "url": SECRET}]}}}, "url"),
        ({"indexes": {"source": "fetch", "fetch": {"archives": [{**ARCHIVE, "url": SIGNED}]}}}, "url"),
        ({"ingress": {"enabled": True}}, "needs ingress.hosts"),
        ({"httpRoute": {"enabled": True}}, "needs httpRoute.parentRefs"),
        ({**FETCHED, "networkPolicy": {"enabled": True}}, "needs networkPolicy.egress"),
        ({"keys": {"secret": "a"}, "serviceMonitor": {"enabled": True}}, "give serviceMonitor.keySecret"),
        ({"keys": {"secret": "a"}, "test": {"index": "docs"}}, "give test.keySecret"),
    ],
)
def test_values_that_cannot_work_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(helm.HelmError, match=says):
        rendered(values)


def largest(schema: dict[str, Any]) -> dict[str, Any]:
    """Values with every whole number of the chart as large as may be."""
    found: dict[str, Any] = {}
    for name, each in schema["properties"].items():
        if each.get("type") == "integer":
            found[name] = min(1_000_000, each.get("maximum", 1_000_000))
        elif inner := largest(each) if "properties" in each else {}:
            found[name] = inner
    return found


@pytest.mark.parametrize("autoscaled", [False, True])
def test_large_numbers_stay_whole_numbers(autoscaled: bool) -> None:
    """Helm reads numbers as floats, and would write a million as 1e+06."""
    values = largest(json.loads((CHART / "values.schema.json").read_text()))
    assert values["serve"]["queue"] == values["rebuild"]["deadlineSeconds"] == 1_000_000
    for part, enabled in {"autoscaling": autoscaled, "rebuild": True, "loadtest": True, "alerts": True}.items():
        values[part]["enabled"] = enabled
    values["shards"]["count"] = 2  # each is several objects
    values["disruptionBudget"] = {"maxUnavailable": 1_000_000}
    for manifest in rendered(values):
        assert "e+" not in yaml.safe_dump(manifest)
        if manifest["apiVersion"] not in OPERATORS:
            kubernetes_validate.validate(manifest, NEWEST, strict=True)


def test_names_that_look_like_numbers_stay_names() -> None:
    claim = {"claim": "123"}
    values = {
        "indexes": {"source": "volume", "volume": claim},
        "models": claim,
        "keys": {"secret": "123"},
        "rebuild": {"enabled": True, "documents": claim, "vectors": claim},
        "loadtest": {"enabled": True, "queries": claim, "runs": claim, "keySecret": "123"},
        "disruptionBudget": {"maxUnavailable": "50%"},
    }
    for manifest in rendered(values, name="123", namespace="456"):
        kubernetes_validate.validate(manifest, NEWEST, strict=True)


def test_every_container_is_confined() -> None:
    found = [
        each for values in (EVERYTHING, FETCHED) for workload in workloads(values) for each in containers(workload)
    ]
    assert len(found) >= 8
    for container in found:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, container["name"]
    for workload in workloads(EVERYTHING):
        assert pod(workload)["securityContext"]["runAsNonRoot"] is True


def test_every_container_may_write_to_tmp() -> None:
    """Opening a generation makes a folder there: serving, verifying, and the check at the end of a build."""
    for workload in [*workloads(EVERYTHING), *workloads(FETCHED)]:
        for container in containers(workload):
            [mount] = [each for each in container["volumeMounts"] if each["mountPath"] == "/tmp"]
            assert not mount.get("readOnly"), container["name"]
            [volume] = [each for each in pod(workload)["volumes"] if each["name"] == mount["name"]]
            assert "emptyDir" in volume, container["name"]


def test_commands_and_their_options_exist() -> None:
    for workload in [*workloads(EVERYTHING), *workloads(FETCHED)]:
        for container in containers(workload):
            if "command" in container:
                assert container["command"][:2] == ["python3", "-m"]
                continue
            words = container["args"]
            command: click.Command | None = perwatt.get_command(click.Context(perwatt), words[0])
            assert words[0] in STEPS
            while isinstance(command, click.Group):
                words = words[1:]
                command = command.get_command(click.Context(command), words[0])
            assert command
            known = {option for parameter in command.params for option in parameter.opts}
            assert {word.split("=")[0] for word in words if word.startswith("--")} <= known, container["name"]


@pytest.mark.parametrize("architecture", ["arm64", "amd64"])
def test_an_architecture_can_be_chosen_for_all_pods(architecture: str) -> None:
    for workload in workloads({**EVERYTHING, "architecture": architecture}):
        here = pod(workload)["nodeSelector"].get("kubernetes.io/arch")
        assert here == (None if workload["kind"] == "Job" else architecture)  # a generator runs anywhere
    assert "kubernetes.io/arch" not in pod(one("Deployment"))["nodeSelector"]


def test_a_digest_wins_over_the_tag() -> None:
    digest = "sha256:" + "a" * 64
    [container] = pod(one("Deployment", {"image": {"tag": "1", "digest": digest}}))["containers"]
    assert container["image"] == f"perwatt-serve@{digest}"


def test_a_fetched_index_is_checked_twice_before_it_is_served() -> None:
    deployment = one("Deployment", FETCHED)
    fetch, verify = pod(deployment)["initContainers"]
    assert fetch["args"] == [ARCHIVE["url"], ARCHIVE["sha256"], "/indexes"]
    assert verify["args"] == ["verify", "docs", "--root", "/indexes"]
    [mount] = [each for each in pod(deployment)["containers"][0]["volumeMounts"] if each["name"] == "indexes"]
    assert mount["readOnly"] is True


def test_pods_end_gracefully_and_not_all_at_once() -> None:
    deployment, budget = one("Deployment"), one("PodDisruptionBudget")
    words = pod(deployment)["containers"][0]["args"]
    lasts = sum(float(word.split("=")[1]) for word in words if word.startswith(("--drain", "--grace")))
    assert pod(deployment)["terminationGracePeriodSeconds"] > lasts
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (budget["spec"]["selector"]["matchLabels"], one("Service")["spec"]["selector"]):
        assert selector.items() <= labels.items()


def test_keys_take_the_place_of_trust() -> None:
    [open_to_all] = pod(one("Deployment"))["containers"]
    deployment = one("Deployment", {"keys": {"secret": "perwatt-keys"}})
    [with_keys] = pod(deployment)["containers"]
    assert "--insecure" in open_to_all["args"]
    assert "--insecure" not in with_keys["args"]
    assert "--keys=/keys/keys" in with_keys["args"]
    assert {"name": "keys", "secret": {"secretName": "perwatt-keys"}} in pod(deployment)["volumes"]


def test_the_load_test_has_a_key_where_one_is_asked_for() -> None:
    [loads] = pod(one("Job", EVERYTHING))["containers"]
    reference = {"secretKeyRef": {"name": "perwatt-loadtest", "key": "key"}}
    assert loads["env"] == [{"name": "PERWATT_KEY", "valueFrom": reference}]
    [open_to_all] = pod(one("Job", {"loadtest": {"enabled": True}}))["containers"]
    assert "--allow-interference" not in open_to_all["args"]
    [lenient] = pod(one("Job", {"loadtest": {"enabled": True, "allowInterference": True}}))["containers"]
    assert lenient["args"].count("--allow-interference") == 1
    assert "env" not in open_to_all
    [searches] = pod(one("Pod", EVERYTHING))["containers"]
    assert searches["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "perwatt-test", "key": "key"}


def annotations(values: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = one("Deployment", values)["spec"]["template"]["metadata"].get("annotations", {})
    return found


def test_nobody_is_told_to_scrape_who_would_be_refused() -> None:
    assert annotations({})["prometheus.io/scrape"] == "true"
    assert annotations({"keys": {"secret": "perwatt-keys"}}) == {}
    assert annotations({"serviceMonitor": {"enabled": True}}) == {}  # or all would be counted twice
    said = notes({"keys": {"secret": "perwatt-keys"}})
    assert "perwatt keys create prometheus --scope metrics" in said
    assert "Whoever reaches" not in said
    assert "Whoever reaches" in notes({})


def test_annotations_are_given_once() -> None:
    own = {"prometheus.io/scrape": "false", "team": "search"}
    assert annotations({"serve": {"podAnnotations": own}}).items() >= own.items()


def test_every_setting_of_the_service_can_be_given_as_a_value() -> None:
    from service.cli.serve import serve

    [container] = pod(one("Deployment", EVERYTHING))["containers"]
    given = {word.split("=")[0] for word in container["args"] if word.startswith("--")}
    known = {parameter.opts[0] for parameter in serve.params if parameter.opts[0].startswith("--")}
    # The port is the chart's own, names on the loopback do not reach a pod, the vectors say model and precision, a
    # cluster rebuilds in a job of its own, and what is seen again is not encoded again.
    assert known - given == {
        "--insecure",
        "--port",
        "--allow-host",
        "--model",
        "--precision",
        "--rebuilds",
        "--no-query-cache",
    }


def test_spans_go_where_the_values_say() -> None:
    [silent] = pod(one("Deployment"))["containers"]
    assert "env" not in silent
    assert "--otel" not in silent["args"]
    [traced] = pod(one("Deployment", {"tracing": {"endpoint": "http://collector:4318", "ratio": 0.25}}))["containers"]
    assert "--otel" in traced["args"]
    told = {each["name"]: each["value"] for each in traced["env"]}
    assert told == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.25",
    }
