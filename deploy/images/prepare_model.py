"""Packs models for every processor of the architecture, while an image is built.

    python3 -m deploy.images.prepare_model                      # the default model
    python3 -m deploy.images.prepare_model /indexes /models     # those of the indexes that are baked into the image

The encoder packs a model once a machine, in the order in which its dot product reads weights: four inputs at a time,
eight where an Arm processor has SMMLA, in an order of its own where one from Intel or AMD has no VNNI. Which one a
container meets is not known when its image is made, and a read-only container could not write the other, so all that
can occur are in the image. Of the default model that is int8, with the finding that int8 suits it; fp32, as large as
the model itself, is not: a server that wants it sets PERWATT_CACHE to a folder that can be written. A baked index
brings its model in the precision of its vectors.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.errors import DeployError
from embed.encoders.backends import start
from embed.encoders.native import unsuited
from embed.encoders.packed_bert import packed_bert
from embed.encoders.precision import choose
from embed.kernels import Packing, built, packing
from embed.models.fingerprint import fingerprint_of
from embed.models.folder import DEFAULT_MODEL, ModelFolder, find_model
from index import Root
from index.disk.manifest import read_manifest


def packings() -> list[Packing]:
    """Those that the units of this architecture read."""
    return sorted({packing(unit) for unit in built()})


def pack(folder: ModelFolder, precision: str) -> None:
    """Leaves in the cache what an encoder of `folder` reads, whichever processor of this architecture it meets."""
    if unsuited(folder):
        start(folder, fingerprint_of(folder, precision), "auto", 1).close()
        return
    for each in packings() if precision == "int8" else [None]:
        packed_bert(folder, folder.weights_sha256, each)


def pack_for(root: Root, models: Path) -> None:
    """Packs the model of every index of `root` that has one; `models` holds its folder, unless it is the default one.

    Raises DeployError when it is not there, or is another than the vectors were made with: the image would not start.
    """
    for name in root.names():
        made_with = read_manifest(root.path(name))["model"]
        if made_with is None:
            continue
        default = made_with["name"] == DEFAULT_MODEL
        path = models / made_with["name"]
        if not default and not path.is_dir():
            there = ", ".join(sorted(each.name for each in models.iterdir())) if models.is_dir() else ""
            raise DeployError(
                f"The vectors of index {name} were made with {made_with['name']}, and the folder of models has "
                f"{there or 'nothing'}. Give a folder that holds the model's under that name: "
                "--build-context models=FOLDER."
            )
        folder = find_model(None if default else path)
        if folder.weights_sha256 != made_with["weights_sha256"]:
            raise DeployError(
                f"The vectors of index {name} were made with other weights than {folder.path} has: sha256 "
                f"{made_with['weights_sha256'][:16]}… there, {folder.weights_sha256[:16]}… here."
            )
        pack(folder, made_with["precision"])


def main() -> None:
    if len(sys.argv) == 3:
        pack_for(Root(sys.argv[1]), Path(sys.argv[2]))
        return
    folder = find_model(None)
    pack(folder, "int8")
    choose(folder)


if __name__ == "__main__":
    main()
