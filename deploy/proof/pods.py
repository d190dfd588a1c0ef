"""Kubernetes' manifests as podman takes them: pods.py WHAT FILE

WHAT is rules (those of a PrometheusRule, as Prometheus reads them), serve, rebuild or test: one pod, with what podman 4
does not know left out. That is said on stderr: probes, which podman runs by systemd's timers.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

# podman 4 stumbles when it removes init containers that have ended.
KEPT = "io.podman.annotations.init.container.type"


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """The pod that a workload makes, or is."""
    spec = manifest["spec"]
    if manifest["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    if manifest["kind"] != "Pod":
        spec = spec["template"]["spec"]
    # To podman 4 a port is one of this machine's, and scratch is a volume that all pods share under its name.
    scratch = {each["name"] for each in spec["volumes"] if "emptyDir" in each}
    own = {name: f"{manifest['metadata']['name']}-{name}" for name in scratch}
    for each in spec["volumes"]:
        each["name"] = own.get(each["name"], each["name"])
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        container.pop("ports", None)
        container["volumeMounts"] = [
            {**each, "name": own.get(each["name"], each["name"])} for each in container["volumeMounts"]
        ]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if container.pop(probe, None):
                print(f"left out: {probe} of {container['name']}", file=sys.stderr)
    metadata = manifest["metadata"]
    metadata.setdefault("annotations", {})[KEPT] = "always"
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def main(what: str, file: str) -> None:
    manifests = [each for each in yaml.safe_load_all(Path(file).read_text()) if each]
    kinds = {"rules": "PrometheusRule", "serve": "Deployment", "rebuild": "CronJob", "test": "Pod"}
    [found] = [each for each in manifests if each["kind"] == kinds[what]]
    print(yaml.safe_dump(found["spec"] if what == "rules" else pod_of(found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
