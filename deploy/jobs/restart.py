"""Asks Kubernetes to replace the pods of a Deployment one by one: python3 -m deploy.jobs.restart NAMESPACE DEPLOYMENT

What `kubectl rollout restart` does, by the service account of the pod this runs in: one annotation of the pod template
changes, and the Deployment's own strategy does the rest. New pods load the new generation and check it before a request
reaches them; if they cannot, the old pods stay.
"""

from __future__ import annotations

import datetime
import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_S = 30.0


def restart(namespace: str, deployment: str, *, account: Path = ACCOUNT, server: str | None = None) -> None:
    """Patches the Deployment. Raises SystemExit with the API server's answer when it refuses."""
    if server is None:
        server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    annotations = {"kubectl.kubernetes.io/restartedAt": now}
    request = urllib.request.Request(
        f"{server}/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}",
        method="PATCH",
        data=json.dumps({"spec": {"template": {"metadata": {"annotations": annotations}}}}).encode(),
        headers={
            "Authorization": f"Bearer {(account / 'token').read_text().strip()}",
            "Content-Type": "application/strategic-merge-patch+json",
        },
    )
    context = ssl.create_default_context(cafile=str(account / "ca.crt")) if server.startswith("https:") else None
    try:
        urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context).close()
    except urllib.error.HTTPError as error:
        raise SystemExit(
            f"Kubernetes refused to restart {deployment}: {error.code} {error.read(2000).decode(errors='replace')}"
        ) from None


def main(arguments: list[str]) -> None:
    if len(arguments) != 2:
        raise SystemExit(__doc__)
    restart(*arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
