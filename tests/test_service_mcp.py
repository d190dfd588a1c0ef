"""`perwatt mcp` as agents use it: started by the official client over stdio and asked over HTTP, with real servers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from late import Late
from patience import patient
from server_keys import make_key
from serving import Server, serving
from warm import shared

pytest_plugins = ["serving_fixtures"]

mcp, transport = Late("mcp"), Late("mcp.client.streamable_http")
COMMAND = ["-m", "deploy.command", "mcp", "docs", "--url"]
ASK = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def over_stdio(url: str, *calls: tuple[str, dict[str, Any]], key: str = "") -> tuple[list[str], list[Any]]:
    """The names of the tools, and the results of `calls`."""

    async def talk() -> tuple[list[str], list[Any]]:
        started = mcp.StdioServerParameters(
            command=sys.executable, args=[*COMMAND, url], env={**os.environ, "PERWATT_KEY": key}
        )
        async with mcp.Client(started) as agent:
            listed = await agent.list_tools()
            return [tool.name for tool in listed.tools], [await agent.call_tool(*call) for call in calls]

    return asyncio.run(talk())


@contextmanager
def over_http(url: str) -> Iterator[str]:
    """The address of `perwatt mcp --http`."""
    command = [sys.executable, *COMMAND, url, "--http", "0"]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().removeprefix("tools on ").strip()
        finally:
            process.terminate()


def test_an_agent_searches_goes_on_to_the_like_and_reads_a_document(server: Server) -> None:
    bread = {"field": "url", "eq": "https://example.org/bread/starter"}
    names, (found, filtered, like, read) = over_stdio(
        server.url,
        ("search", {"text": "volcano", "k": 2, "mode": "hybrid", "fields": ["title"]}),
        ("search", {"text": "volcano", "filter": bread}),
        ("similar", {"id": "a18", "k": 3}),
        ("document", {"id": "a18", "fields": ["title"]}),
    )
    assert names == ["search", "similar", "document"]
    assert not any(each.is_error for each in (found, filtered, like, read))
    hits = found.structured_content["hits"]
    assert (hits[0]["id"], hits[0]["payload"], len(hits)) == ("a18", {"title": "Volcanic eruptions"}, 2)
    assert [hit["payload"]["title"] for hit in filtered.structured_content["hits"]] == ["Sourdough starter"]
    assert "a18" not in [hit["id"] for hit in like.structured_content["hits"]]
    assert read.structured_content == {"id": "a18", "payload": {"title": "Volcanic eruptions"}}


def test_what_the_service_refuses_an_agent_reads_and_goes_on(server: Server) -> None:
    _, (unknown, wrong, right) = over_stdio(
        server.url,
        ("document", {"id": "nobody"}),
        ("search", {"text": "volcano", "filter": {"field": "colour", "eq": "red"}}),
        ("document", {"id": "a18"}),
    )
    assert unknown.is_error
    assert "document-not-found" in unknown.content[0].text
    assert wrong.is_error
    assert "filter-field-not-indexed" in wrong.content[0].text
    assert not right.is_error


@pytest.fixture(scope="module")
def keyed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server that asks for keys, and one of them."""
    folder = tmp_path_factory.mktemp("keyed")
    key = make_key(folder / "keys.json", "agent", "search")
    with serving(root, folder, "--keys", str(folder / "keys.json")) as server:
        yield server, key


def test_the_key_of_the_process_is_used_over_stdio(keyed: tuple[Server, str]) -> None:
    server, key = keyed
    call = ("document", {"id": "a18"})
    for given, refused in ((key, False), ("", True)):
        _, (answer,) = over_stdio(server.url, call, key=given)
        assert answer.is_error == refused
        assert not refused or "unauthenticated" in answer.content[0].text


def test_over_http_each_request_is_asked_with_the_key_that_it_brings(keyed: tuple[Server, str]) -> None:
    server, key = keyed

    async def read(url: str, headers: dict[str, str]) -> Any:
        async with (
            httpx2.AsyncClient(headers=headers, timeout=patient(30)) as http,
            mcp.Client(transport.streamable_http_client(url, http_client=http)) as agent,
        ):
            return await agent.call_tool("document", {"id": "a18"})

    with over_http(server.url) as url:
        answered = asyncio.run(read(url, {"authorization": f"Bearer {key}"}))
        assert answered.structured_content["id"] == "a18"
        refused = asyncio.run(read(url, {}))
        assert "unauthenticated" in refused.content[0].text
        accepts = {"accept": "application/json, text/event-stream"}
        for strange in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
            assert httpx.post(url, json=ASK, headers={**accepts, **strange}, timeout=patient(30)).status_code in (
                403,
                421,
            )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ftp://127.0.0.1"], "expected an address like http://127.0.0.1:8000"),
        (["http://127.0.0.1:1", "--http", "0", "--key", "pw_x"], "each caller sends its own key"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(arguments: list[str], said: str) -> None:
    done = shared().run("mcp", "docs", "--url", *arguments)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_without_its_package_it_says_what_to_install() -> None:
    without = "import sys; sys.modules['mcp'] = None; from deploy.command import main; main()"
    command = [sys.executable, "-c", without, "mcp", "docs", "--url", "http://127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "pip install 'perwatt[mcp]'" in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr
