"""The Helm chart, rendered by Helm's own engine and held against Kubernetes' schemas."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml
from helm_python import chart as helm
from helm_python.errors import HelmError

from deploy.command import STEPS, perwatt

CHART = Path(__file__).parents[1] / "deploy" / "helm" / "perwatt"
EVERYTHING: dict[str, Any] = {
    "rebuild": {
        "enabled": True,
        "embedArguments": ["--model=/models/own", "--title-field", "name"],
        "buildArguments": ["--filterable=kind:keyword,year:int"],
    },
    "models": {"claim": "perwatt-models"},
    "loadtest": {"enabled": True, "keySecret": "perwatt-loadtest"},
    "autoscaling": {"enabled": True},
    "modelCache": {"writable": True},
    "keys": {"secret": "perwatt-keys"},
    "serve": {"accessLog": True},
    "tracing": {"endpoint": "http://collector:4318", "ratio": 0.25},
}
ARCHIVE = {"name": "docs", "url": "https://example.org/docs.tar", "sha256": "0" * 64}
FETCHED: dict[str, Any] = {"indexes": {"source": "fetch", "fetch": {"archives": [ARCHIVE]}}}
OLDEST, NEWEST = "1.27", "1.34"


def rendered(
    values: dict[str, Any] | None = None, name: str = "demo", namespace: str = "search", revision: int = 1
) -> list[dict[str, Any]]:
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values=values or {}, name=name, namespace=namespace, revision=revision)
    texts = [text for path, text in files.items() if path.endswith(".yaml")]
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


def notes(values: dict[str, Any]) -> str:
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values=values, name="demo", namespace="search")
    [found] = [text for path, text in files.items() if path.endswith("NOTES.txt")]
    return found


def one(kind: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
    [found] = [each for each in rendered(values) if each["kind"] == kind]
    return found


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    spec = workload["spec"]
    if workload["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    found: dict[str, Any] = spec["template"]["spec"]
    return found


def containers(workload: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod(workload).get("initContainers", []), *pod(workload)["containers"]]


def workloads(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in rendered(values) if each["kind"] in ("Deployment", "CronJob", "Job")]


def test_helm_lint_finds_nothing_but_the_missing_icon() -> None:
    said = helm.lint(str(CHART))
    assert said["errors"] == []
    assert [each["error"] for each in said["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("values", [{}, EVERYTHING, FETCHED])
def test_manifests_are_what_kubernetes_expects(values: dict[str, Any], version: str) -> None:
    for manifest in rendered(values):
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
    ],
)
def test_values_that_cannot_work_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(HelmError, match=says):
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
    for part, enabled in {"autoscaling": autoscaled, "rebuild": True, "loadtest": True}.items():
        values[part]["enabled"] = enabled
    values["disruptionBudget"] = {"maxUnavailable": 1_000_000}
    for manifest in rendered(values):
        assert "e+" not in yaml.safe_dump(manifest)
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
        assert pod(workload)["nodeSelector"]["kubernetes.io/arch"] == architecture
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


def annotations(values: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = one("Deployment", values)["spec"]["template"]["metadata"].get("annotations", {})
    return found


def test_nobody_is_told_to_scrape_who_would_be_refused() -> None:
    assert annotations({})["prometheus.io/scrape"] == "true"
    assert annotations({"keys": {"secret": "perwatt-keys"}}) == {}
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
    # The port is the chart's own, names on the loopback do not reach a pod, the vectors say model and precision, and a
    # cluster rebuilds in a job of its own.
    assert known - given == {"--insecure", "--port", "--allow-host", "--model", "--precision", "--rebuilds"}


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


def test_the_autoscaler_and_the_deployment_do_not_fight_over_replicas() -> None:
    assert "replicas" not in one("Deployment", {"autoscaling": {"enabled": True}})["spec"]
    target = one("HorizontalPodAutoscaler", EVERYTHING)["spec"]["scaleTargetRef"]["name"]
    assert target == one("Deployment")["metadata"]["name"]


def test_the_rebuild_may_restart_its_own_deployment_and_nothing_else() -> None:
    [rule] = one("Role", EVERYTHING)["rules"]
    deployment = one("Deployment")["metadata"]["name"]
    assert rule == {
        "apiGroups": ["apps"],
        "resources": ["deployments"],
        "resourceNames": [deployment],
        "verbs": ["patch"],
    }
    [restart] = pod(one("CronJob", EVERYTHING))["containers"]
    assert restart["args"] == ["search", deployment]
    assert pod(one("Deployment"))["automountServiceAccountToken"] is False


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
    assert list(found) == ["gc", "embed", "build", "restart"]
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
            assert [each["kind"] for each in rendered(values)].count("CronJob") == 1


def test_the_access_mode_of_the_claim_is_said_wherever_it_is_chosen() -> None:
    for text in (PAGE, (CHART / "values.yaml").read_text(), notes({"rebuild": {"enabled": True}})):
        assert "ReadWriteMany" in text
    assert "ReadOnlyMany" in notes({})
    assert "ReadOnlyMany" not in notes(FETCHED)


def test_whoever_rebuilds_without_options_is_told_what_that_means() -> None:
    assert "give\nthem in rebuild.buildArguments" in notes({"rebuild": {"enabled": True}})
    assert "rebuild.buildArguments" not in notes(EVERYTHING)
