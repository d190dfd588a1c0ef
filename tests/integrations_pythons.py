"""`perwatt-client` under the oldest Python that it promises and the newest that is here, with what pip brings today.

`make test-integrations` runs this file. It takes every `python3.N` on the PATH, of pyenv and of GitHub's runners.
`make test` has the wheel under its own Python, and without a network.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from client_programs import NOTHING_ELSE, PYTHON
from patience import patient
from serving import Server

pytest_plugins = ["serving_fixtures", "writes_over_http_fixtures"]

TOP = Path(__file__).parents[1]
PROMISED = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["requires-python"]
OLDEST = int(PROMISED.removeprefix(">=3."))


def found() -> dict[int, Path]:
    """Minor version to interpreter."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    runner = Path(os.environ.get("RUNNER_TOOL_CACHE", "/nowhere"))  # of GitHub's
    paths = [Path(path) for minor in range(OLDEST, 30) if (path := shutil.which(f"python3.{minor}"))]
    paths += [*pyenv.glob("versions/3.*/bin/python3.*"), *runner.glob("Python/3.*/*/bin/python3.*")]
    named = [(match, path) for path in paths if (match := re.fullmatch(r"python3\.(\d+)", path.name))]
    return {int(match[1]): path for match, path in named if int(match[1]) >= OLDEST}


PYTHONS = found()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "deploy.client", out], check=True, cwd=TOP, timeout=patient(60))
    (built,) = out.glob("*.whl")
    return built


def test_the_oldest_and_a_newer_python_are_here() -> None:
    assert OLDEST in PYTHONS
    assert max(PYTHONS) > OLDEST, f"only {PYTHONS}; install another, as python3.{OLDEST + 1} or newer on the PATH"


@pytest.mark.parametrize("minor", sorted({OLDEST, max(PYTHONS, default=OLDEST)}))
def test_the_client_installs_searches_writes_and_is_typed(
    minor: int, wheel: Path, writable: Server, tmp_path: Path
) -> None:
    venv, program = tmp_path / "venv", tmp_path / "program.py"
    subprocess.run([PYTHONS[minor], "-m", "venv", venv], check=True, timeout=patient(60))
    python = venv / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel]
    subprocess.run(install, check=True, timeout=patient(120))
    version = f"import sys\nassert sys.version_info[:2] == (3, {minor}), sys.version\n"
    program.write_text(version + NOTHING_ELSE + PYTHON)
    ran = subprocess.run(
        [python, "-I", "-W", "error", program, writable.url], capture_output=True, text=True, timeout=patient(60)
    )
    assert ran.returncode == 0, ran.stderr
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path, "--python-executable", python]
    checked = subprocess.run([*mypy, program], capture_output=True, text=True, timeout=patient(300), cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
