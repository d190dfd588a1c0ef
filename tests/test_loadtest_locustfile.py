"""Our load under Locust's own web UI, driven over HTTP as a browser drives it: start, watch, stop, start again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadtest.generator.calibration import null_server
from loadtest.generator.ports import free_port
from loadtest.generator.workers.starting import LOCUSTFILE
from loadtest.record.trial import Trial


def ask(url: str, form: dict[str, str] | None = None) -> bytes:
    """GET, or POST of a form."""
    data = urllib.parse.urlencode(form).encode() if form is not None else None
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=30) as answer:
        body: bytes = answer.read()
    return body


def until(holds: Callable[[], Any], limit_s: float = 90) -> Any:
    """What `holds` returns once it is true; a server that is not there yet is not an error."""
    ends = time.monotonic() + limit_s
    while time.monotonic() < ends:
        try:
            if found := holds():
                return found
        except OSError:
            pass
        time.sleep(0.1)
    pytest.fail(f"nothing of the kind within {limit_s:g} s")


def statistics(ui: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Locust's row of our requests, and the rows of our tab by name."""
    told = json.loads(ask(f"{ui}/stats/requests"))
    row = next((row for row in told["stats"] if row["name"] == "search"), {"num_requests": 0})
    tab = {entry["name"]: entry["value"] for table in told["extended_stats"] for entry in table["data"]}
    return {**row, "state": told["state"], "users": told["user_count"]}, tab


def answered(tab: dict[str, str]) -> int:
    return int(tab.get("Due, answered", "0, 0").split(", ")[1])


def running(told: tuple[dict[str, Any], dict[str, str]], users: int) -> Any:
    """`told`, once so many users run and enough is answered; Locust keeps its own rows for up to two seconds."""
    row, tab = told
    enough = min(row["num_requests"], answered(tab)) >= 20
    return told if (row["state"], row["users"]) == ("running", users) and enough else None


def read_trial(path: Path) -> Trial | None:
    return msgspec.json.decode(path.read_bytes(), type=Trial) if path.exists() else None


def test_the_web_ui_starts_shows_and_stops_our_load_twice(tmp_path: Path) -> None:
    queries, trial_file, log = tmp_path / "queries.txt", tmp_path / "trial.json", tmp_path / "log"
    queries.write_text("one\ntwo\nthree\n")
    ui = f"http://127.0.0.1:{free_port()}"
    with null_server() as url, log.open("wb") as file:
        locust = subprocess.Popen(
            [
                sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--web-host", "127.0.0.1", "--web-port",
                ui.rpartition(":")[2], "--search-index", "known", "--queries", str(queries), "--rate-per-user", "20",
                "--warmup-s", "0", "--trial", str(trial_file), "--host", url,
            ],
            stdout=file, stderr=file, cwd=LOCUSTFILE.parents[1],
        )  # fmt: skip
        try:
            page = until(lambda: ask(ui)).decode()
            assert "Open loop" in page
            for users in (2, 4):
                form = {"user_count": str(users), "spawn_rate": "10", "host": url}
                assert json.loads(ask(f"{ui}/swarm", form))["success"]
                _, tab = until(lambda users=users: running(statistics(ui), users))
                assert tab["State"] == "measuring"
                assert tab["Response time p99, from when it was due"].endswith("s")
                assert json.loads(ask(f"{ui}/stop", {}))["success"]
                trial = until(lambda: read_trial(trial_file))
                assert trial.planned == trial.answered + trial.missed + trial.shed + sum(trial.errors.values())
                assert trial.answered >= 20  # `running` has seen as many
                _, tab = until(lambda: (found := statistics(ui))[1].get("State") != "measuring" and found)
                assert (tab["Due, answered"], answered(tab)) == (f"{trial.planned}, {trial.answered}", trial.answered)
                assert "Service time p99, from when it was sent" in tab
                trial_file.unlink()
        finally:
            locust.terminate()
            locust.wait(30)
    assert "Traceback" not in log.read_text("utf-8", errors="replace")


def test_a_generator_starts_without_the_statistics_of_reports_and_drivers_of_databases() -> None:
    """They take a second to import, in every one of its processes."""
    code = "import sys, loadtest.generator.locustfile; print({'scipy.stats', 'psycopg'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
