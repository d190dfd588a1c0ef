"""A run as it goes: what the board makes of the generator's words, the line, and the page in a browser."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from browsing import CONTRAST, open_page, overflow
from playwright.sync_api import Browser, expect

from loadtest.errors import LoadTestError
from loadtest.live.board import Board
from loadtest.live.line import line
from loadtest.live.server import LiveServer, live_server

pytest_plugins = ["browsing_fixtures"]


def told(elapsed_s: float, answered: int, **changes: Any) -> dict[str, Any]:
    """What the generator tells in one second."""
    fields = {
        "role": "search", "elapsed_s": elapsed_s, "offered_qps": 100.0, "planned": answered, "answered": answered,
        "shed": 0, "missed": 0, "errors": 0, "p50_ms": 2.0, "p99_ms": 9.0, "p99_now_ms": 8.0, "lag_p99_ms": 0.2,
        "cpu": 0.31, "service_cores": 0.75, "recalls": 19.0, "recall_queries": 20,
    }  # fmt: skip
    return {**fields, **changes}


@pytest.fixture
def board() -> Board:
    board = Board("knee · ours", 20.0, 0.9)
    for second in range(1, 6):
        board.add(told(float(second), 100 * second))
    return board


@pytest.fixture
def live(board: Board) -> Iterator[LiveServer]:
    with live_server(board, 0) as running:
        yield running
        running._looked_s = -math.inf  # nobody looks any more, so nobody is waited for


def test_a_rate_is_that_of_the_last_second_and_begins_anew_with_a_trial(board: Board) -> None:
    slow = board.add(told(7.0, 540))
    assert slow["answered_qps"] == pytest.approx(20.0)
    assert slow["recall"] == pytest.approx(0.95)
    again = board.add(told(1.0, 80))
    assert again["answered_qps"] == pytest.approx(80.0)
    other = board.add(told(2.0, 60, role="confirm", recall_queries=0, p99_now_ms=math.nan))
    assert (other["answered_qps"], other["recall"], other["p99_now_ms"]) == (30.0, None, None)
    assert json.dumps(board.state(), allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "failed", "blame"),
    [
        ({"lag_p99_ms": 2.1}, "late sends, p99", "generator"),
        ({"cpu": 0.71}, "busiest process", "generator"),
        ({"missed": 3}, "not sent in time", "generator"),
        ({"shed": 3}, "no connection free", "service"),
    ],
)
def test_each_way_of_being_too_slow_is_told_while_it_happens(changes: dict[str, Any], failed: str, blame: str) -> None:
    row = Board("run", 20.0).add(told(5.0, 500, **changes))
    assert [(check["name"], check["blame"]) for check in row["checks"] if not check["ok"]] == [(failed, blame)]
    assert f"{blame.upper()}: {failed}" in line(row)


def test_the_line_has_both_sides_recall_and_health(board: Board) -> None:
    row = board.state()["rows"][-1]
    said = line(row)
    for part in ("offered 100/s", "answered 100/s", "p99 9.00 ms", "recall 0.9500", "service 0.75 CPU",
                 "generator 0.31 CPU", "generator healthy"):  # fmt: skip
        assert part in said
    assert "service" not in line({**row, "service_cores": None, "recall": None})


def test_a_page_is_told_what_it_has_not_seen(live: LiveServer, board: Board) -> None:
    with httpx.Client(base_url=live.url) as client:
        first = client.get("/state").json()
        assert (first["next"], len(first["rows"]), first["ended"]) == (5, 5, [])
        board.add(told(6.0, 600))
        board.end(["at 100 q/s offered: 99 q/s answered"])
        second = client.get("/state?after=5").json()
        assert (second["next"], [row["elapsed_s"] for row in second["rows"]]) == (6, [6.0])
        assert second["ended"] == ["at 100 q/s offered: 99 q/s answered"]
        assert 0 <= second["cost_s"] < 5
        assert client.get("/other").status_code == 404
        assert live.cost_s > 0
        assert client.get("/state?after=x").status_code == 200


def test_only_this_machine_by_its_name_is_answered(live: LiveServer) -> None:
    with httpx.Client(base_url=live.url) as client:
        assert client.get("/state", headers={"host": f"evil.example:{live.port}"}).status_code == 403
        assert client.get("/", headers={"host": f"localhost:{live.port}"}).status_code == 200
        assert "default-src 'none'" in client.get("/").headers["content-security-policy"]


def test_a_port_that_is_taken_is_told(live: LiveServer, board: Board) -> None:
    with pytest.raises(LoadTestError, match=f"--watch-port {live.port}"):
        LiveServer(board, live.port)


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1200, "dark")])
def test_the_page_shows_the_run_fits_and_stands_out(
    browser: Browser, live: LiveServer, board: Board, width: int, scheme: str
) -> None:
    page = open_page(browser, live.url, (width, 900), scheme)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    expect(page.locator("#health")).to_have_text("generator healthy")
    shown = page.locator("#figures").inner_text()
    for part in ("100/s", "9 ms", "0.9500", "0.75", "0.31"):
        assert part in shown
    assert page.locator("#rate path").count() == 2
    assert overflow(page) == 0
    assert page.evaluate(CONTRAST) == []
    board.add(told(6.0, 600, lag_p99_ms=5.0))
    expect(page.locator("#health")).to_have_text("generator too slow")
    board.end(["what it came to"])
    expect(page.locator("#lines")).to_have_text("what it came to")
    assert errors == []
    page.close()
