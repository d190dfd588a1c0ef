"""The Helm chart rendered by Helm's own engine, and what tests look for in its manifests."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any

import yaml
from late import Late

helm = Late("helm_python.chart")
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
    "serve": {
        "accessLog": True,
        "cpuPrice": 0.0446,
        "cpuWatts": "1.4:3.6",
        "nodeSelector": {"pool": "search"},
        "tolerations": [{"key": "search", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}}},
        "topologySpreadConstraints": [
            {"topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
        ],
        "priorityClassName": "high",
        "annotations": {"team": "search"},
        "podLabels": {"team": "search"},
        "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/own/ca.crt"}],
        "extraEnvFrom": [{"configMapRef": {"name": "proxies"}}],
        "extraVolumes": [{"name": "own", "configMap": {"name": "authorities"}}],
        "extraVolumeMounts": [{"name": "own", "mountPath": "/own"}],
    },
    "encoder": {"url": "http://tei:8080", "keySecret": "perwatt-encoder"},
    "reranker": {"model": "bge-reranker@http://tei:8081", "keySecret": "perwatt-reranker"},
    "tracing": {"endpoint": "http://collector:4318", "ratio": 0.25},
    "labels": {"cost-centre": "7"},
    "service": {"annotations": {"team": "search"}},
    "ingress": {"enabled": True, "className": "nginx", "hosts": [{"host": "search.example.org"}],
                "tls": [{"secretName": "certificate", "hosts": ["search.example.org"]}]},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["search.example.org"]},
    "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {"matchLabels": {"name": "shop"}}}],
                      "egress": [{"ports": [{"port": 4318}]}]},
    "serviceMonitor": {"enabled": True, "keySecret": "perwatt-metrics", "labels": {"release": "prometheus"}},
    "alerts": {"enabled": True},
    "test": {"index": "docs", "keySecret": "perwatt-test"},
}  # fmt: skip


ARCHIVE = {"name": "docs", "url": "https://example.org/docs.tar", "sha256": "0" * 64}
# Of resources that are not Kubernetes' own: their operators have the schemas.
OPERATORS = ("monitoring.coreos.com/v1", "gateway.networking.k8s.io/v1", "ray.io/v1")
FETCHED: dict[str, Any] = {"indexes": {"source": "fetch", "fetch": {"archives": [ARCHIVE]}}}


def rendered(
    values: dict[str, Any] | None = None, name: str = "demo", namespace: str = "search", revision: int = 1
) -> list[dict[str, Any]]:
    return copy.deepcopy(_manifests(json.dumps(values or {}), name, namespace, revision))


def notes(values: dict[str, Any]) -> str:
    [found] = [text for path, text in _files(json.dumps(values)).items() if path.endswith("NOTES.txt")]
    return found


@functools.cache
def _manifests(values: str, *of: Any) -> list[dict[str, Any]]:
    texts = [text for path, text in _files(values, *of).items() if path.endswith(".yaml")]
    return [each for text in texts for each in yaml.load_all(text, yaml.CSafeLoader) if each]


@functools.cache
def _files(values: str, name: str = "demo", namespace: str = "search", revision: int = 1) -> dict[str, str]:
    """Rendered once for the same values, which many tests look at."""
    with helm.Chart.load(CHART) as chart:
        files: dict[str, str] = chart.render(
            values=json.loads(values), name=name, namespace=namespace, revision=revision
        )
    return files


def one(kind: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
    [found] = [each for each in rendered(values) if each["kind"] == kind]
    return found


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = workload["spec"]
    if workload["kind"] == "Pod":
        return spec
    if workload["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    found: dict[str, Any] = spec["template"]["spec"]
    return found


def containers(workload: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod(workload).get("initContainers", []), *pod(workload)["containers"]]


def workloads(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in rendered(values) if each["kind"] in ("Deployment", "CronJob", "Job", "Pod")]
