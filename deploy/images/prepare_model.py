"""Packs the default model for every processor of the architecture, while the image is built.

The encoder packs a model once a machine, in the order in which its dot product reads weights: four inputs at a time, or
eight where an Arm processor has SMMLA. Which one a container meets is not known when its image is made, and a read-only
container could not write the other, so all that can occur are in the image, and so is the finding that int8 suits it.
fp32, as large as the model itself, is not: a server that wants it sets PERWATT_CACHE to a folder that can be written.
"""

from __future__ import annotations

import platform

from embed.models import find_model
from embed.packed_bert import packed_bert
from embed.precision import choose

# Inputs a dot product reads at a time, by architecture.
GROUPS = {"x86_64": (4,), "aarch64": (4, 8)}


def main() -> None:
    folder = find_model(None)
    for group in GROUPS[platform.machine()]:
        packed_bert(folder, folder.weights_sha256, group)
    choose(folder, "auto")


if __name__ == "__main__":
    main()
