"""Locust's own closed loop beside ours: it runs, it is read, and it offers less when the service is slow."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from loadtest_servers import http_server

from loadtest.errors import LoadTestError
from loadtest.experiment.textbook import measure_textbook, percentile, users_for
from loadtest.workload.plan import Plan


def plan(url: str, folder: Path, **changes: Any) -> Plan:
    queries = folder / "queries.jsonl"
    queries.write_text("\n".join(json.dumps({"text": f"question {i}"}) for i in range(5)))
    given: dict[str, Any] = {"rate_qps": 40.0, "duration_s": 2.0, "slo_p99_ms": 50.0, **changes}
    return Plan(url=url, index="docs", queries=str(queries), **given)


def test_a_slow_service_makes_a_closed_loop_offer_less_and_call_it_success(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def slow(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        asked.append(json.loads(body))
        time.sleep(0.5)  # 8 users cannot make more than 16 q/s of it
        return 200, {"hits": []}

    with http_server(slow) as url:
        found = measure_textbook(plan(url, tmp_path), tmp_path)
    assert found.users == users_for(40, 50) == 8
    assert 1 < found.answered_qps <= 18
    assert found.p50_ms >= 500
    assert (found.failures, found.exit_status) == (0, 0)
    assert {query["k"] for query in asked} == {10}


def test_failures_are_counted_and_not_answers(tmp_path: Path) -> None:
    with http_server(lambda *_: (503, {"code": "overloaded"})) as url:
        found = measure_textbook(plan(url, tmp_path, duration_s=1.0), tmp_path)
    assert found.failures > 0
    assert found.answered_qps == 0


def test_a_load_without_statistics_is_an_error(tmp_path: Path) -> None:
    broken = plan("http://127.0.0.1:1", tmp_path)
    (tmp_path / "queries.jsonl").unlink()
    with pytest.raises(LoadTestError, match="gave no statistics"):
        measure_textbook(broken, tmp_path)


def test_percentiles_are_read_as_locust_reads_them() -> None:
    counts, shares = {1: 70, 2: 20, 7: 9, 110: 1}, (0.5, 0.9, 0.99, 0.999)
    # In a process of its own: importing locust changes the process that it is imported into.
    code = (
        "import json; from locust.stats import calculate_response_time_percentile as p; "
        f"print(json.dumps([p({counts}, 100, share) for share in {shares}]))"
    )
    theirs = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert [percentile({str(v): n for v, n in counts.items()}, share) for share in shares] == json.loads(theirs)
    assert percentile({}, 0.5) == 0
