"""The chart with an index in shards: a StatefulSet for each, and routers where the pods that serve were."""

from __future__ import annotations

from typing import Any

import pytest
from charts import EVERYTHING, FETCHED, OPERATORS, containers, one, pod, rendered, workloads
from late import Late

kubernetes_validate, helm = Late("kubernetes_validate"), Late("helm_python")
SHARDS: dict[str, Any] = {"shards": {"count": 3, "index": "docs", "replicas": 2, "keySecret": "perwatt-shard-key"}}
ALL: dict[str, Any] = {**EVERYTHING, **SHARDS}
PULLED: dict[str, Any] = {
    "shards": {
        **SHARDS["shards"],
        "backup": "20261129T101112.000000Z-0abc",
        "resources": {"limits": {"memory": "9Gi"}},
    },
    "indexes": {"source": "pull", "pull": {"from": "s3://bucket/perwatt", "secret": "store", "sizeLimit": "40Gi"}},
}


def of(kind: str, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in rendered(values) if each["kind"] == kind}


def options(workload: dict[str, Any], name: str) -> list[str]:
    words: list[str] = pod(workload)["containers"][0]["args"]
    return [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]


@pytest.mark.parametrize("values", [SHARDS, ALL, PULLED])
@pytest.mark.parametrize("version", ["1.27", "1.34"])
def test_manifests_are_what_kubernetes_expects(values: dict[str, Any], version: str) -> None:
    for manifest in rendered(values):
        if manifest["apiVersion"] not in OPERATORS:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_router_knows_every_pod_of_every_shard_by_its_name() -> None:
    sets, services, router = of("StatefulSet", ALL), of("Service", ALL), one("Deployment", ALL)
    assert list(sets) == ["demo-perwatt-shard-0", "demo-perwatt-shard-1", "demo-perwatt-shard-2"]
    asked = options(router, "--shard")
    assert pod(router)["containers"][0]["args"][:2] == ["route", "docs"]
    for number, (name, each) in enumerate(sets.items()):
        spec, service = each["spec"], services[each["spec"]["serviceName"]]
        pods = [f"http://{name}-{replica}.{name}:8000" for replica in range(spec["replicas"])]
        assert asked[number] == ",".join(pods)
        assert options(each, "--root") == [f"/indexes/docs.shards/{number}-of-3"]
        assert pod(each)["containers"][0]["args"][:2] == ["serve", "docs"]
        assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == ("None", True)
        labels = spec["template"]["metadata"]["labels"]
        for selector in (spec["selector"]["matchLabels"], service["spec"]["selector"]):
            assert selector.items() <= labels.items()
            assert [other for other in sets.values() if selector.items() <= pod_labels(other).items()] == [each]
        assert not services["demo-perwatt"]["spec"]["selector"].items() <= labels.items()
    assert services["demo-perwatt"]["spec"]["selector"].items() <= pod_labels(router).items()


def test_a_pod_pulls_its_shard_alone_and_a_router_nothing() -> None:
    from index.backup.cli import pull

    known = {option for parameter in pull.params for option in parameter.opts}
    for number, each in enumerate(of("StatefulSet", PULLED).values()):
        [first] = pod(each)["initContainers"]
        assert first["args"] == [
            *("pull", "docs", "s3://bucket/perwatt", f"--shard={number}-of-3"),
            *("--backup=20261129T101112.000000Z-0abc", "--root=/indexes"),
        ]
        assert {word.split("=")[0] for word in first["args"][3:]} <= known
        assert first["envFrom"] == [{"secretRef": {"name": "store"}}]
        assert first["resources"] == {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "9Gi"}}
        assert options(each, "--root") == [f"/indexes/docs.shards/{number}-of-3"]
        assert {"name": "indexes", "emptyDir": {"sizeLimit": "40Gi"}} in pod(each)["volumes"]
    router = pod(one("Deployment", PULLED))
    assert "initContainers" not in router
    assert "indexes" not in {volume["name"] for volume in router["volumes"]}


def pod_labels(workload: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def test_the_router_reads_no_index_and_shards_have_a_router_rerank() -> None:
    router, [shard, *_] = one("Deployment", ALL), of("StatefulSet", ALL).values()
    mounted = [{mount["name"] for mount in pod(each)["containers"][0]["volumeMounts"]} for each in (router, shard)]
    assert ["indexes" in each for each in mounted] == [False, True]
    assert [{volume["name"] for volume in pod(each)["volumes"]} >= names for each, names in zip(
        (router, shard), mounted, strict=True
    )] == [True, True]  # fmt: skip
    assert [bool(options(each, "--reranker")) for each in (router, shard)] == [True, False]
    assert ["--follow" in pod(each)["containers"][0]["args"] for each in (router, shard)] == [False, True]


def test_the_key_of_the_shards_is_the_routers_alone() -> None:
    router, [shard, *_] = one("Deployment", ALL), of("StatefulSet", ALL).values()
    told = [{each["name"]: each for each in pod(workload)["containers"][0]["env"]} for workload in (router, shard)]
    reference = {"secretKeyRef": {"name": "perwatt-shard-key", "key": "key"}}
    assert told[0]["PERWATT_SHARD_KEY"]["valueFrom"] == reference
    assert "PERWATT_SHARD_KEY" not in told[1]
    for workload in (router, shard):
        assert "--keys=/keys/keys" in pod(workload)["containers"][0]["args"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({**FETCHED, **SHARDS}, "needs indexes.source volume, .* or pull"),
        ({**SHARDS, "indexes": {"source": "pull"}}, "expected indexes.pull.from"),
        ({**PULLED, "indexes": {"source": "pull", "pull": {"from": "s3://b/f", "names": ["docs"]}}}, "leave .* empty"),
        ({"shards": {"count": 2, "backup": "newest"}}, "backup"),
        ({"shards": {"count": 3}, "keys": {"secret": "a"}}, "give shards.keySecret"),
        ({**SHARDS, "networkPolicy": {"enabled": True}}, "DNS, by which it finds their pods"),
        ({"shards": {"count": 2000}}, "count"),
        ({"shards": {"count": 2, "index": "../docs"}}, "index"),
    ],
)
def test_values_that_cannot_work_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(helm.HelmError, match=says):
        rendered(values)


def test_every_pod_is_confined_and_may_write_to_tmp() -> None:
    every = [*workloads(ALL), *of("StatefulSet", ALL).values()]
    for container in (container for each in every for container in containers(each)):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert [each for each in container["volumeMounts"] if each["mountPath"] == "/tmp"]
        assert container["resources"]["limits"]["memory"]
    assert all(pod(each)["automountServiceAccountToken"] is False for each in every)


def test_options_exist_and_those_of_a_router_can_be_given() -> None:
    from service.cli.route import route
    from service.cli.serve import serve

    router, [shard, *_] = one("Deployment", ALL), of("StatefulSet", ALL).values()
    for workload, command in ((router, route), (shard, serve)):
        given = {word.split("=")[0] for word in pod(workload)["containers"][0]["args"] if word.startswith("--")}
        known = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        assert given <= known
        if command is route:  # as of `serve`; the shards are named one by one, and their key is a secret
            assert known - given == {
                *("--insecure", "--port", "--allow-host", "--model", "--precision", "--no-query-cache"),
                *("--shards", "--shard-key"),
            }


def test_each_shard_gives_up_one_pod_at_a_time_and_is_reached_by_the_router_alone() -> None:
    budgets, sets = of("PodDisruptionBudget", ALL), of("StatefulSet", ALL)
    assert set(budgets) == {"demo-perwatt", *sets}
    for name, each in sets.items():
        assert budgets[name]["spec"]["maxUnavailable"] == 1
        assert budgets[name]["spec"]["selector"]["matchLabels"] == each["spec"]["selector"]["matchLabels"]
    found = {name: each["spec"] for name, each in of("NetworkPolicy", ALL).items()}
    shards, router = found["demo-perwatt-shards"], found["demo-perwatt"]
    for each in sets.values():
        assert shards["podSelector"]["matchLabels"].items() <= pod_labels(each).items()
    asks, measures = shards["ingress"][0]["from"]
    assert asks["podSelector"]["matchLabels"].items() <= pod_labels(one("Deployment", ALL)).items()
    assert measures == EVERYTHING["networkPolicy"]["from"][0]
    *given, to = router["egress"]
    assert given == EVERYTHING["networkPolicy"]["egress"]
    assert to["to"][0]["podSelector"] == shards["podSelector"]


def test_prometheus_follows_the_shards_too_and_an_alert_says_that_one_is_gone() -> None:
    [choice] = one("ServiceMonitor", ALL)["spec"]["selector"]["matchExpressions"]
    services = of("Service", ALL).values()
    assert all(each["metadata"]["labels"][choice["key"]] in choice["values"] for each in services)
    rules = {each["alert"]: each["expr"] for each in one("PrometheusRule", ALL)["spec"]["groups"][0]["rules"]}
    jobs = 'job=~"demo-perwatt|demo-perwatt-shard-[0-9]+",namespace="search"'
    assert all(jobs in expression for expression in rules.values())
    assert rules["PerwattShardGone"] == f"min by (index, shard) (perwatt_shard_replicas{{{jobs}}}) < 1"
