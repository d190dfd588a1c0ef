"""The Helm chart rendered by Helm's own engine, and what tests look for in its manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from helm_python import chart as helm

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
