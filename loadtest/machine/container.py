"""Which image this runs in, as far as it can be known from inside.

A container does not see the digest of its image, so whoever starts it may tell (`-e PERWATT_IMAGE_DIGEST=sha256:…`).
Podman tells privileged containers in `/run/.containerenv`. Else the container's id is read from the mounts that Docker,
containerd and Podman make from its folder: `docker inspect` finds the image by it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_ID = re.compile(r"/(?:containers|overlay-containers|sandboxes)/([0-9a-f]{64})/")


def container(root: Path) -> str | None:
    """The image's digest, or the container's id, or only that there is one; None outside of containers."""
    told = os.environ.get("PERWATT_IMAGE_DIGEST")
    if told:
        return told
    podman = _read(root / "run/.containerenv")
    image = re.search(r'^imageid="([0-9a-f]{64})"', podman or "", re.M)
    if image:
        return f"image id sha256:{image[1]}"
    by_mount = _ID.search(_read(root / "proc/self/mountinfo") or "")
    if by_mount:
        return f"container {by_mount[1][:12]} (digest not told)"
    inside = podman is not None or (root / ".dockerenv").exists()
    return "container (digest not told)" if inside else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return None
