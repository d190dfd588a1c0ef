"""The instance type, from EC2's metadata service (IMDSv2), or nothing after half a second.

Only the link-local address is asked, only two names are read, and `PERWATT_NO_IMDS=1` or AWS's own
`AWS_EC2_METADATA_DISABLED=true` switch it off. Off EC2 the address leads nowhere and the question times out.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request

ADDRESS = "http://169.254.169.254"
TIMEOUT_S = 0.5
NAMES = {"instance_type": "instance-type", "region": "placement/region"}


def instance(address: str = ADDRESS, timeout_s: float = TIMEOUT_S) -> dict[str, str]:
    """{"instance_type", "region"} on EC2, else empty."""
    if os.environ.get("PERWATT_NO_IMDS") or os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return {}
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open  # never through a proxy
    try:
        request = urllib.request.Request(
            f"{address}/latest/api/token",
            method="PUT",
            headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"},
        )
        with ask(request, timeout=timeout_s) as response:
            token = response.read(512).decode("ascii")
        found = {}
        for key, name in NAMES.items():
            request = urllib.request.Request(
                f"{address}/latest/meta-data/{name}", headers={"X-aws-ec2-metadata-token": token}
            )
            with ask(request, timeout=timeout_s) as response:
                found[key] = response.read(256).decode("ascii")
        return found
    except (OSError, urllib.error.URLError, UnicodeDecodeError, ValueError):
        return {}
