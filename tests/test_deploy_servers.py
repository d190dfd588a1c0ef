"""Servers beside each other: a closed loop is called one, and the open loop sends the same requests when due."""

from __future__ import annotations

import copy
import os
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
from loadtest_servers import http_server

from deploy.figures.store import BENCHMARKS, kept
from deploy.figures.tables import http
from service.bench import load

ANSWER_S = 0.3


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "SHORTEST_S", 2.0)
    monkeypatch.setattr(load, "REQUESTS", 20)
    monkeypatch.setattr(load, "validity_checks", lambda *_: [])  # a crowded machine fails them; they have tests


def opened(url: str, folder: Path, path: str, bodies: list[str]) -> load.Open:
    core = max(os.sched_getaffinity(0))
    return load.open_loop(folder, urlsplit(url).port or 0, path, bodies, 20 / load.OPEN_SHARE, core, True)


@pytest.mark.parametrize(("path", "bodies"), [("/search?a=b", ['{"vector": [1.0]}', '{"text": "ü"}']),
                                              ("", ["/search?query=one", "/search?query=two"])])  # fmt: skip
def test_the_open_loop_sends_what_wrk_sends_and_does_not_wait_for_answers(
    path: str, bodies: list[str], short: None, tmp_path: Path
) -> None:
    asked: set[tuple[str, str, bytes]] = set()
    waiting, most = [0], [0]
    lock = threading.Lock()

    def answer(method: str, where: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        with lock:
            waiting[0] += 1
            most[0] = max(most[0], waiting[0])
            asked.add((method, where, body))
        time.sleep(ANSWER_S)
        with lock:
            waiting[0] -= 1
        return 200, {"ids": []}

    with http_server(answer) as url:
        found = opened(url, tmp_path, path, bodies)
    assert asked == {("POST", path, body.encode()) if path else ("GET", body, b"") for body in bodies}
    assert found["offered_per_s"] == pytest.approx(20)
    assert ANSWER_S * 1e3 <= found["p50_ms"] <= found["p99_ms"]
    assert most[0] > 2, "20 a second of which each takes 0.3 s: some are always on their way"


def test_a_server_that_fails_has_no_times(short: None, tmp_path: Path) -> None:
    with http_server(lambda *_: (500, {})) as url, pytest.raises(click.ClickException) as failed:
        opened(url, tmp_path, "/search", ["{}"])
    assert "were not answered (status 500: " in failed.value.message


def http_figures() -> dict[str, Any]:
    return copy.deepcopy(kept("http")["figures"] | kept("http-workers")["figures"])


def test_the_table_calls_wrk_a_closed_loop_beside_its_times() -> None:
    found = http_figures()
    [header, *_] = http.servers(found).splitlines()
    assert "p50 / p99 ms in wrk's closed loop" in header
    assert "wrk is a closed loop: each of its 16 connections sends when its last answer is there" in http.remarks(found)
    readme = BENCHMARKS.read_text()
    block = readme[readme.index("<!-- figures: http -->") : readme.index("<!-- end: http -->")]
    assert "closed loop |" in block


def test_the_open_loop_stands_beside_it_where_it_was_measured() -> None:
    found = http_figures()
    for row in found["rows"]:
        row["open"] = None
    [header, *_] = http.servers(found).splitlines()
    assert "open loop" not in header
    found["conditions"]["open_share"] = 0.7
    found["rows"][0]["open"] = {"offered_per_s": 3227.0, "p50_ms": 0.41, "p99_ms": 2.34, "late_ms": 0.19}
    header, _, *rows = http.servers(found).splitlines()
    cells = [cell.strip() for cell in header.split("|")]
    assert cells[5:7] == ["p50 / p99 ms in an open loop at 70%", "p50 / p99 ms in wrk's closed loop"]
    shown = {line.split("|")[5].strip() for line in rows if found["rows"][0]["name"] in line}
    assert "0.4 / 2.3 at 3,227/s" in shown
    assert "at most 0.19 ms late (p99)" in http.remarks(found)
