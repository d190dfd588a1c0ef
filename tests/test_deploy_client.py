"""The distribution `perwatt-client`: built, installed into an environment that has nothing of perwatt, used from there
against the real server, and read by a type checker as a stranger's program would be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from client_programs import NOTHING_ELSE, PYTHON
from packaging.requirements import Requirement
from patience import patient
from serving import Server

from deploy.client.__main__ import EXTRAS

pytest_plugins = ["serving_fixtures", "writes_over_http_fixtures"]

TOP = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "deploy.client", out], check=True, cwd=TOP, timeout=patient(60))
    assert len(list(out.glob("perwatt_client-*.tar.gz"))) == 1
    (built,) = out.glob("perwatt_client-*-py3-none-any.whl")
    return built


@pytest.fixture(scope="module")
def stranger(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel and what it asks for. Those packages are copied from here, so that
    the test needs no network."""
    folder = tmp_path_factory.mktemp("stranger")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=patient(60))
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install"]
    subprocess.run([*pip, "--quiet", "--no-index", "--no-deps", wheel], check=True, timeout=patient(60))
    (packages,) = (folder / "lib").glob("python*/site-packages")
    with ZipFile(wheel) as packed:
        metadata = next(name for name in packed.namelist() if name.endswith("/METADATA"))
        lines = packed.read(metadata).decode().splitlines()
    needed = [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")]
    assert sorted(Requirement(each).name for each in needed if "extra ==" not in each) == ["httpx", "msgspec"]
    frameworks = ["haystack-ai", "langchain-core", "llama-index-core"]
    assert sorted(Requirement(each).name for each in needed if "extra ==" in each) == frameworks
    copied: set[str] = set()
    while needed:
        requirement = Requirement(needed.pop())
        if requirement.name in copied or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        copied.add(requirement.name)
        there = distribution(requirement.name)
        needed += there.requires or []
        for file in there.files or []:
            if ".." not in file.parts and file.suffix != ".pyc":
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), packages / file)
    return python


def test_the_wheel_alone_searches_and_writes_a_real_server(stranger: Path, writable: Server, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(NOTHING_ELSE + PYTHON)
    done = subprocess.run(
        [stranger, "-I", program, writable.url], capture_output=True, text=True, timeout=patient(60), check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_wheel_brings_the_langchain_store_without_the_rest_of_perwatt(wheel: Path) -> None:
    program = (
        "import sys; from perwatt_client.langchain import PerwattRetriever, PerwattVectorStore; "
        "assert not {'service', 'index', 'embed'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": str(wheel)}, timeout=patient(60)
    )


def test_what_the_shapes_of_frameworks_ask_for_is_what_their_suites_run_with() -> None:
    """The frameworks are extras of ours, and of the environment of `make test-integrations`."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())
    extras, suites = project["project"]["optional-dependencies"], project["dependency-groups"]["integrations"]
    assert {*extras["haystack"], *extras["llama-index"]} < set(suites)
    lock = (TOP / "deploy" / "locks" / "integrations.txt").read_text()
    for name in EXTRAS:
        (wanted,) = map(Requirement, extras[name])
        locked = [line.split()[0] for line in lock.splitlines() if line.startswith(f"{wanted.name}==")]
        assert [each for each in locked if each.partition("==")[2] in wanted.specifier] == locked != []


def test_a_type_checker_sees_what_the_client_gives(stranger: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PYTHON + '\nClient("http://127.0.0.1").search(3).hits\n')
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path, "--python-executable", stranger]
    checked = subprocess.run(
        [*mypy, program], capture_output=True, text=True, timeout=patient(300), check=False, cwd=tmp_path
    )
    wrong = [line for line in checked.stdout.splitlines() if " error: " in line]
    assert len(wrong) == 1, checked.stdout + checked.stderr
    assert 'Argument 1 has incompatible type "int"; expected "str"' in wrong[0]
