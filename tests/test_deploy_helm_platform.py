"""The chart among others: routes, monitoring, policies, claims, names, and what a platform adds to pods."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from charts import CHART, EVERYTHING, FETCHED, containers, one, pod, rendered, workloads

ALERTS = yaml.safe_load((CHART.parents[1] / "compose/alerts.yaml").read_text())


def test_a_small_release_is_four_objects_and_a_test() -> None:
    kinds = ["Deployment", "Service", "PodDisruptionBudget", "ServiceAccount", "Pod"]
    assert sorted(each["kind"] for each in rendered({})) == sorted(kinds)


@pytest.mark.parametrize("kind", ["Ingress", "HTTPRoute"])
def test_routes_lead_to_the_service(kind: str) -> None:
    service, route = one("Service"), one(kind, EVERYTHING)["spec"]
    if kind == "Ingress":
        [path] = route["rules"][0]["http"]["paths"]
        to = path["backend"]["service"]
        assert (to["name"], to["port"]["name"]) == (service["metadata"]["name"], service["spec"]["ports"][0]["name"])
        assert (path["path"], path["pathType"], route["ingressClassName"]) == ("/", "Prefix", "nginx")
        assert route["tls"][0]["hosts"] == [route["rules"][0]["host"]]
    else:
        [to] = route["rules"][0]["backendRefs"]
        assert (to["name"], to["port"]) == (service["metadata"]["name"], service["spec"]["ports"][0]["port"])
        assert route["parentRefs"] == EVERYTHING["httpRoute"]["parentRefs"]


def test_prometheus_is_told_where_and_with_which_key() -> None:
    monitor, service = one("ServiceMonitor", EVERYTHING), one("Service", EVERYTHING)
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    assert endpoint["authorization"]["credentials"] == {"name": "perwatt-metrics", "key": "key"}


def test_the_rules_of_one_machine_are_those_of_the_chart() -> None:
    [group] = one("PrometheusRule", {"alerts": {"enabled": True}})["spec"]["groups"]
    here, there = 'job="demo-perwatt",namespace="search"', 'job="perwatt"'
    for rule in group["rules"]:
        assert here in rule["expr"], rule["alert"]
        rule["expr"] = rule["expr"].replace(here, there)
    assert [group] == ALERTS["groups"]


def test_a_limit_is_a_value_and_an_age_of_none_is_no_alert() -> None:
    values = {"enabled": True, "p99Ms": 20, "shedPercent": 2.5, "generationAgeHours": 0}
    rules = {
        each["alert"]: each["expr"] for each in one("PrometheusRule", {"alerts": values})["spec"]["groups"][0]["rules"]
    }
    assert rules["PerwattSlow"].endswith("> 0.02")
    assert rules["PerwattShedding"].endswith("> 0.025")
    assert "PerwattGenerationOld" not in rules


def policies(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = [each["spec"] for each in rendered(values) if each["kind"] == "NetworkPolicy"]
    return {each["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: each for each in found}


def test_what_parses_documents_reaches_nobody_and_the_service_is_reached_by_whom_is_named() -> None:
    found = policies(EVERYTHING)
    alone = policies(EVERYTHING | {"encoder": EVERYTHING["encoder"] | {"url": ""}})["rebuild"]
    assert alone["policyTypes"] == found["rebuild"]["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(alone)
    assert "ingress" not in found["rebuild"]
    assert found["rebuild"]["egress"] == EVERYTHING["networkPolicy"]["egress"], "the encoder is one of those"
    [rule] = found["serve"]["ingress"]
    [named, own] = rule["from"]
    assert named == EVERYTHING["networkPolicy"]["from"][0]
    for kind in ("Job", "Pod"):
        workload = one(kind, EVERYTHING)
        labels = workload.get("spec", {}).get("template", workload)["metadata"]["labels"]
        assert own["podSelector"]["matchLabels"].items() <= labels.items()
    assert rule["ports"] == [{"port": pod(one("Deployment"))["containers"][0]["ports"][0]["name"]}]
    assert found["serve"]["egress"] == EVERYTHING["networkPolicy"]["egress"]
    closed = policies({"networkPolicy": {"enabled": True}})["serve"]
    assert (closed["ingress"][0]["from"], closed["egress"]) == ([{"podSelector": {}}], [])


def test_a_claim_with_a_size_is_made_and_kept_and_the_others_exist() -> None:
    assert not [each for each in rendered(EVERYTHING) if each["kind"] == "PersistentVolumeClaim"]
    sized = {"claim": "mine", "size": "20Gi", "storageClass": "fast"}
    claim = one("PersistentVolumeClaim", {"indexes": {"source": "volume", "volume": sized}})
    assert claim["metadata"]["name"] == "mine"
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "20Gi"}},
    }


def test_an_index_is_pulled_from_a_backup_with_credentials_that_no_argument_shows() -> None:
    pull = {"from": "s3://bucket/backups", "names": ["docs", "a_b"], "secret": "store"}
    values = {
        "indexes": {"source": "pull", "pull": pull},
        "serve": {"extraEnv": [{"name": "HTTPS_PROXY", "value": "p"}]},
    }
    first, second = pod(one("Deployment", values))["initContainers"]
    assert first["args"] == ["pull", "docs", "s3://bucket/backups", "--root=/indexes"]
    assert (first["name"], second["name"]) == ("pull-docs", "pull-a-b")
    for container in (first, second):
        assert container["envFrom"] == [{"secretRef": {"name": "store"}}]
        assert container["env"] == values["serve"]["extraEnv"]


def test_an_archive_is_fetched_with_credentials_that_no_argument_shows() -> None:
    archives = [{"name": "docs", "url": "env:DOCS_URL", "sha256": "0" * 64}]
    values = {"indexes": {"source": "fetch", "fetch": {"archives": archives, "secret": "store"}}}
    fetch, verify = pod(one("Deployment", values))["initContainers"]
    assert fetch["args"][0] == "env:DOCS_URL"
    assert fetch["envFrom"] == [{"secretRef": {"name": "store"}}]
    assert "envFrom" not in verify


def test_pods_carry_what_the_platform_adds() -> None:
    deployment = one("Deployment", EVERYTHING)
    spec, given = pod(deployment), EVERYTHING["serve"]
    [container] = spec["containers"]
    assert given["extraEnv"][0] in container["env"]
    assert container["envFrom"] == given["extraEnvFrom"]
    assert given["extraVolumes"][0] in spec["volumes"]
    assert given["extraVolumeMounts"][0] in container["volumeMounts"]
    for name in ("affinity", "tolerations", "topologySpreadConstraints", "priorityClassName"):
        assert spec[name] == given[name]
    assert deployment["metadata"]["annotations"] == given["annotations"]
    assert given["podLabels"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    for manifest in rendered(EVERYTHING):
        assert manifest["metadata"]["labels"]["cost-centre"] == "7", manifest["kind"]
    more = {"extraContainers": [{"name": "beside"}], "extraInitContainers": [{"name": "before"}]}
    added = one("Deployment", {"serve": more})
    assert [each["name"] for each in containers(added)] == ["before", "serve", "beside"]


def test_the_account_and_the_user_can_be_the_platforms() -> None:
    own = {"create": False, "name": "ours"}
    values = {**EVERYTHING, "serviceAccount": own, "podSecurityContext": {"runAsUser": 1000660000}}
    assert "ServiceAccount" not in [each["kind"] for each in rendered(values)]
    for workload in workloads(values):
        assert pod(workload)["serviceAccountName"] == "ours"
        security = pod(workload)["securityContext"]
        assert (security["runAsUser"], security["runAsNonRoot"]) == (1000660000, True)
    account = one("ServiceAccount", FETCHED)
    assert account["automountServiceAccountToken"] is False
    assert pod(one("Deployment", FETCHED))["serviceAccountName"] == account["metadata"]["name"]


def test_names_can_be_chosen() -> None:
    for values, name in (({"nameOverride": "search"}, "demo-search"), ({"fullnameOverride": "search"}, "search")):
        assert one("Service", values)["metadata"]["name"] == name


def test_helm_test_searches_through_the_service() -> None:
    [waits] = pod(one("Pod"))["containers"]
    assert waits["command"] == ["python3", "-m", "deploy.jobs.ready"]
    [waits_first], [searches] = (pod(one("Pod", EVERYTHING))[part] for part in ("initContainers", "containers"))
    assert waits_first["args"][0] == f"http://{one('Service')['metadata']['name']}:80"
    assert searches["args"] == ["search", "docs", "a first search", f"--url={waits_first['args'][0]}"]
    assert not [each for each in rendered({"test": {"enabled": False}}) if each["kind"] == "Pod"]
