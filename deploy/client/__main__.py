"""Builds the source archive and the wheel of `perwatt-client`, and the package for npm."""

from __future__ import annotations

import json
import re
import sys
import tarfile
import tomllib
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

from scikit_build_core.build import build_sdist, build_wheel

TOP = Path(__file__).parents[2]
JS = Path(__file__).parent / "js"
PACKAGE = "perwatt_client"
NEEDS = ("httpx", "msgspec")
# The shape of a framework is an extra, by the name of its module.
EXTRAS = ("haystack", "langchain", "llama-index")
SHAPES = ("documents", *(name.replace("-", "_") for name in EXTRAS))
# What is copied, and into which folder of the package.
SOURCES = {
    "service/client/*.py": "",
    "service/wire/answer/*.py": "answers",
    **{f"service/integrations/{name}.py": "" for name in SHAPES},
}
# Where a module of the repository goes, and what its name becomes in code and in prose.
MOVED = {
    "service.wire.answer": f"{PACKAGE}.answers",
    "service/wire/answer": "answers",
    "service.client": PACKAGE,
    "service.integrations": PACKAGE,
}
PROJECT = """\
[build-system]
requires = {build}
build-backend = "scikit_build_core.build"

[project]
name = "perwatt-client"
version = "{version}"
description = "The client of perwatt, a semantic search backend: sync and async, typed"
readme = "README.md"
requires-python = "{python}"
license = "{license}"
license-files = ["LICENSE"]
dependencies = {dependencies}
classifiers = ["Typing :: Typed"]

[project.optional-dependencies]
{extras}

[tool.scikit-build]
cmake.version = ">=3.15"  # said, so that no file is searched for it; nothing is compiled
wheel.cmake = false
wheel.py-api = "py3"
wheel.packages = ["{package}"]
"""


def stage(folder: Path) -> None:
    """Writes the project of the distribution into `folder`, which is empty."""
    package = folder / PACKAGE
    for pattern, to in SOURCES.items():
        (package / to).mkdir(parents=True, exist_ok=True)
        for source in TOP.glob(pattern):
            (package / to / source.name).write_text(renamed(source.read_text(encoding="utf-8")), encoding="utf-8")
    (package / "py.typed").touch()
    (folder / "README.md").write_text((Path(__file__).parent / "README.md").read_text(encoding="utf-8"))
    (folder / "LICENSE").write_text((TOP / "LICENSE").read_text(encoding="utf-8"))
    whole = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
    project = whole["project"]
    described = PROJECT.format(
        build=[each for each in whole["build-system"]["requires"] if each.startswith("scikit-build-core")],
        version=project["version"],
        python=project["requires-python"],
        license=project["license"],
        dependencies=[each for each in project["dependencies"] if re.split(r"[^\w-]", each)[0] in NEEDS],
        extras="\n".join(f"{name} = {project['optional-dependencies'][name]}" for name in EXTRAS),
        package=PACKAGE,
    )
    (folder / "pyproject.toml").write_text(described, encoding="utf-8")


def renamed(source: str) -> str:
    for old, new in MOVED.items():
        source = source.replace(old, new)
    return source


def main(out: Path) -> None:
    """Leaves the source archive, the wheel, which is built from it, and the package for npm in `out`."""
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as work:
        stage(Path(work))
        with chdir(work):
            archive = out / build_sdist(str(out))
    with TemporaryDirectory() as work:
        with tarfile.open(archive) as packed:
            packed.extractall(work, filter="data")
        with chdir(Path(work) / archive.name.removesuffix(".tar.gz")):
            wheel = out / build_wheel(str(out))
    print(archive, wheel, pack(out), sep="\n")


def pack(out: Path) -> Path:
    """Leaves the JavaScript client in `out` as `npm pack` would, which is not needed for it."""
    described = json.loads((JS / "package.json").read_text(encoding="utf-8"))
    packed = out / f"{described['name']}-{described['version']}.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        for name in ("package.json", "README.md", *described["files"]):
            archive.add(TOP / name if name == "LICENSE" else JS / name, f"package/{name}")
    return packed


if __name__ == "__main__":
    main(Path(sys.argv[1]))
