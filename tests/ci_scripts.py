"""The scripts of CI, run as CI runs them, on a path of the test's own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

CI = Path(__file__).parents[1] / "deploy" / "ci"


def without(tmp_path: Path, *programs: str) -> str:
    """A PATH on which everything is but these programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for place in reversed(os.environ["PATH"].split(":")):
        for program in Path(place).glob("*") if Path(place).is_dir() else []:
            if program.name not in programs:
                (folder / program.name).unlink(missing_ok=True)
                (folder / program.name).symlink_to(program)
    return str(folder)


def run(path: str, name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {key: value for key, value in os.environ.items() if key not in ("REGISTRY", "GH_TOKEN", "PERWATT_TAG")}
    return subprocess.run(
        [CI / name, *map(str, arguments)], env={**given, "PATH": path, **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
