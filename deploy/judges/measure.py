"""Has the judges run where their packages are, and hands their findings on."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[2]


def measure(sources: Path, environment: Path | None = None) -> dict[str, Any]:
    """
    Args:
        sources: Where fetch.sh put the benchmarks.
        environment: Of `make test-integrations`.
    """
    python = (environment or Path(sys.prefix) / "integrations") / "bin" / "python"
    if not python.exists() or not sources.exists():
        raise SystemExit("The judges are not here: `make judges` brings their packages and sources, and runs this.")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "judges.json")
        subprocess.run([python, "-m", "deploy.judges.run", sources, out], check=True, cwd=TOP)
        figures: dict[str, Any] = json.loads(out.read_text("utf-8"))
        return figures
