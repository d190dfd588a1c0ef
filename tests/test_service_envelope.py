"""What leaves the application when something nobody foresaw happens inside it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from service.access.auth import Auth, RouteEntry
from service.http.envelope import Envelope
from service.telemetry.metrics import Metrics
from service.wire.limits import ClientGone

AUTH = Auth([RouteEntry("GET", "/", "open", "none")], None)


def answer_of(error: BaseException, metrics: Metrics | None = None, *, ending: bool = False) -> httpx.Response:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    async def ask() -> httpx.Response:
        app: Any = Envelope(failing, metrics or Metrics(), AUTH, lambda: ending)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.get("/", headers={"x-request-id": "the-id"})

    return asyncio.run(ask())


def test_an_unforeseen_error_is_logged_and_shows_the_caller_only_its_id(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "perwatt.service"):
        answer = answer_of(ZeroDivisionError("a secret path"))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert answer.json()["instance"] == "urn:request:the-id"
    [record] = caplog.records
    assert "the-id" in record.getMessage()
    assert record.exc_info is not None
    assert "secret" in str(record.exc_info[1])


def test_memory_that_is_not_there_is_a_state_that_passes() -> None:
    answer = answer_of(MemoryError())
    assert (answer.status_code, answer.json()["code"]) == (503, "insufficient-memory")
    assert answer.headers["retry-after"] == "1"


def test_a_caller_who_is_gone_is_counted_and_not_answered() -> None:
    metrics = Metrics()
    with pytest.raises(AssertionError):  # httpx found no answer
        answer_of(ClientGone(), metrics)
    assert 'perwatt_requests_total{operation="none",status="499"} 1.0' in metrics.text().decode()


def test_who_is_still_unanswered_when_the_server_ends_is_told_to_ask_again() -> None:
    metrics = Metrics()
    answer = answer_of(asyncio.CancelledError(), metrics, ending=True)
    assert (answer.status_code, answer.json()["code"]) == (503, "not-ready")
    assert answer.headers["retry-after"] == "1"
    with pytest.raises(AssertionError):  # cancelled as the connection was lost: httpx found no answer
        answer_of(asyncio.CancelledError(), metrics)
    for status in (503, 499):
        assert f'perwatt_requests_total{{operation="none",status="{status}"}} 1.0' in metrics.text().decode()


def test_an_answer_under_way_is_cut_off_and_not_patched() -> None:
    sent: list[Any] = []

    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    app: Any = Envelope(failing, Metrics(), AUTH, lambda: False)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(app({"type": "http", "method": "GET", "path": "/", "headers": []}, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start"]
