"""Exchanging what is served while it is being asked, and refusing what is not fit to be served."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from patience import patient
from serving import SERVED_PRECISION, NotStarted, Server, build_docs, own_address, serving

from embed.models.fingerprint import TOLERANCE
from index import Root

pytest_plugins = ["serving_fixtures"]

SEARCH = "/v1/indexes/docs/search"
ALIAS = "/v1/aliases/docs"


def put(client: httpx.Client, generation: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.put(ALIAS, json={"generation": generation}, headers=named)


def served(client: httpx.Client) -> str:
    return str(client.post(SEARCH, json={"text": "a"}).json()["generation"])


def damage(generation: Path, file: str = "index.faiss") -> None:
    content = bytearray((generation / file).read_bytes())
    content[len(content) // 2] ^= 1
    (generation / file).write_bytes(content)


def test_switch_and_rollback_change_disk_and_answers(own_root: Path, tmp_path: Path, served_encoder: Any) -> None:
    root = Root(own_root)
    first = root.alias("docs").generation
    second = build_docs(own_root, served_encoder, drop=2, switch=False).name
    with serving(own_root, tmp_path) as server, server.client() as client:
        answer = put(client, second)
        assert (answer.status_code, answer.json()["generation"], answer.json()["previous"]) == (200, second, first)
        assert answer.headers["etag"] == f'"{root.alias("docs").etag}"'
        assert (served(client), root.alias("docs").generation) == (second, second)
        assert client.get("/v1/indexes/docs").json()["count"] == 20
        gone = client.post(f"/v1/indexes/{first}/search", json={"text": "a"})
        assert (gone.status_code, gone.json()["code"], gone.json()["current"]) == (410, "generation-gone", second)

        back = client.post(f"{ALIAS}/rollback")
        assert (back.status_code, back.json()["generation"], back.json()["previous"]) == (200, first, second)
        assert (served(client), root.alias("docs").generation) == (first, first)


def test_switching_to_what_is_served_changes_nothing(own_root: Path, tmp_path: Path) -> None:
    with serving(own_root, tmp_path) as server, server.client() as client:
        before = client.get("/v1/indexes/docs").json()
        assert put(client, before["generation"]).json() == before


def test_if_match_lets_only_one_of_two_change(own_root: Path, tmp_path: Path, served_encoder: Any) -> None:
    second = build_docs(own_root, served_encoder, drop=2, switch=False).name
    third = build_docs(own_root, served_encoder, drop=3, switch=False).name
    with serving(own_root, tmp_path) as server, server.client() as client:
        etag = client.get("/v1/indexes/docs").headers["etag"]
        assert put(client, second, if_match=f'"x", {etag}').status_code == 200
        assert put(client, third, if_match=f"W/{etag}").status_code == 412
        late = put(client, third, if_match=etag)
        assert (late.status_code, late.json()["code"]) == (412, "precondition-failed")
        assert late.json()["generation"] == second
        assert served(client) == second
        assert put(client, third, if_match=f'"{late.json()["etag"]}"').status_code == 200
        assert put(client, second, if_match="*").status_code == 200


def test_a_rollback_needs_something_to_go_back_to(client: httpx.Client) -> None:
    answer = client.post(f"{ALIAS}/rollback")
    assert (answer.status_code, answer.json()["code"]) == (412, "precondition-failed")


@pytest.mark.parametrize(
    ("alias", "generation", "status", "code"),
    [
        ("nowhere", "nowhere-20260101T000000Z-0000", 404, "index-not-found"),
        ("docs", "docs-20260101T000000Z-0000", 422, "invalid-value"),
        ("docs", "bare-20260101T000000Z-0000", 422, "invalid-value"),
        ("docs", "../bare", 422, "invalid-value"),
        ("docs", "", 422, "invalid-value"),
        ("docs", "docs", 422, "invalid-value"),
    ],
)
def test_a_generation_that_is_none_is_refused(
    client: httpx.Client, alias: str, generation: str, status: int, code: str
) -> None:
    answer = client.put(f"/v1/aliases/{alias}", json={"generation": generation})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_damaged_generation_is_refused_by_name_and_the_old_one_answers(
    own_root: Path, tmp_path: Path, served_encoder: Any
) -> None:
    first = Root(own_root).alias("docs").generation
    damaged = build_docs(own_root, served_encoder, drop=2, switch=False)
    damage(damaged)
    with serving(own_root, tmp_path) as server, server.client() as client:
        answer = put(client, damaged.name)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-value")
        assert "index.faiss" in answer.json()["detail"]
        assert f"docs stays at {first}" in answer.json()["detail"]
        assert (served(client), Root(own_root).alias("docs").generation) == (first, first)
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert "index.faiss" in ready.json()["indexes"]["docs"]["refused"]
        assert "index.faiss" in client.get("/v1/indexes/docs").json()["refused"]
        assert 'perwatt_reload_refused{index="docs"} 1.0' in client.get("/metrics").text
        assert "index.faiss" in server.log()


def test_sighup_follows_the_alias_and_survives_a_damaged_generation(
    own_root: Path, tmp_path: Path, served_encoder: Any
) -> None:
    root = Root(own_root)
    first = root.alias("docs").generation
    with serving(own_root, tmp_path) as server, server.client() as client:
        second = build_docs(own_root, served_encoder, drop=2)
        assert served(client) in (first, second.name)  # a server that has just started looks once by itself
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log(f"docs switched from {first} to {second.name}")
        assert served(client) == second.name

        third = build_docs(own_root, served_encoder, drop=3)
        damage(third, "payload.arrow")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log(f"docs stays at {second.name}")
        assert served(client) == second.name
        assert "payload.arrow" in client.get("/readyz").json()["indexes"]["docs"]["refused"]

        root.rollback("docs")
        server.process.send_signal(signal.SIGHUP)
        fourth = build_docs(own_root, served_encoder, drop=1)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log(f"to {fourth.name}")
        assert client.get("/readyz").json()["indexes"]["docs"] == {"generation": fourth.name, "refused": None}


def test_a_server_that_follows_the_aliases_needs_no_signal(own_root: Path, tmp_path: Path, served_encoder: Any) -> None:
    """As in a container whose index another one builds: nobody there may send a signal or knows a key."""
    with serving(own_root, tmp_path, "--follow") as server, server.client() as client:
        first = served(client)
        second = build_docs(own_root, served_encoder, drop=2)
        server.wait_for_log(f"docs switched from {first} to {second.name}")
        third = build_docs(own_root, served_encoder, drop=3)
        server.wait_for_log(f"docs switched from {second.name} to {third.name}")
        assert served(client) == third.name


def test_an_alias_file_that_is_damaged_is_said_and_changes_nothing(own_root: Path, tmp_path: Path) -> None:
    with serving(own_root, tmp_path) as server, server.client() as client:
        first = served(client)
        (own_root / "docs" / "current").write_text("{}")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log(f"docs stays at {first}")
        assert served(client) == first
        assert client.get("/v1/indexes/docs").json()["previous"] is None
        answer = put(client, first)
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "current" in answer.json()["detail"]


def test_another_model_is_refused_at_a_switch_and_at_the_start(
    own_root: Path, tmp_path: Path, served_encoder: Any
) -> None:
    model = {**served_encoder.fingerprint.as_dict(), "name": "another", "id": "sha256:" + "0" * 64}
    other = build_docs(own_root, served_encoder, model=model, switch=False).name
    with serving(own_root, tmp_path) as server, server.client() as client:
        first = served(client)
        answer = put(client, other)
        assert (answer.status_code, answer.json()["code"]) == (422, "model-mismatch")
        assert "another" in answer.json()["detail"]
        assert "all-MiniLM-L6-v2" in answer.json()["detail"]
        assert served(client) == first
    Root(own_root).switch("docs", other)
    with pytest.raises(NotStarted) as caught, serving(own_root, tmp_path, "--model", "all-MiniLM-L6-v2"):
        pass
    assert caught.value.status == 1
    assert caught.value.log.startswith("perwatt: error: Generation")
    assert "another" in caught.value.log


def test_a_model_that_computes_something_else_is_found_by_the_canaries(
    own_root: Path, tmp_path: Path, served_encoder: Any
) -> None:
    vector = served_encoder.encode(["something else entirely"])[0]
    changed = build_docs(
        own_root, served_encoder, canaries=[{"text": "a text", "vector": vector.tolist()}], switch=False
    ).name
    with serving(own_root, tmp_path) as server, server.client() as client:
        answer = put(client, changed)
        assert (answer.status_code, answer.json()["code"]) == (422, "model-mismatch")
        assert "canary 0" in answer.json()["detail"]
        assert str(TOLERANCE[SERVED_PRECISION]) in answer.json()["detail"]


def test_the_other_precision_is_another_model(own_root: Path, tmp_path: Path) -> None:
    other = "int8" if SERVED_PRECISION == "fp32" else "fp32"
    with pytest.raises(NotStarted) as caught, serving(own_root, tmp_path, "--precision", other):
        pass
    assert "(int8, sha256:" in caught.value.log
    assert f"({SERVED_PRECISION}, sha256:" in caught.value.log


@pytest.mark.parametrize(
    ("workers", "switches"), [(1, 4), (2, 6), *(pytest.param(each, 50, marks=pytest.mark.long) for each in (1, 2))]
)
def test_switches_under_load_lose_no_request_and_mix_no_answer(
    own_root: Path, tmp_path: Path, served_encoder: Any, workers: int, switches: int
) -> None:
    first = Root(own_root).alias("docs").generation
    second = build_docs(own_root, served_encoder, drop=2, switch=False).name
    counts = {first: 22, second: 20}
    vector = served_encoder.encode(["espresso"], kind="query")[0].tolist()
    queries = [{"vector": vector, "k": 100}, {"text": "espresso", "k": 100}, {"id": "a14", "k": 100}]
    over = threading.Event()

    def ask(server: Server, query: dict[str, Any]) -> list[str]:
        answered = []
        with server.client() as client:
            while not over.is_set():
                answer = client.post(SEARCH, json=query)
                assert answer.status_code == 200, answer.text
                content = answer.json()
                survivors = counts[content["generation"]] - ("id" in query)
                assert content["coverage"]["survivors"] == len(content["hits"]) == survivors
                answered.append(content["generation"])
        return answered

    with serving(own_root, tmp_path, "--workers", str(workers)) as server, ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask, server, query) for query in queries]
        try:
            with server.client() as client:
                for round_ in range(switches):
                    generation = (second, first)[round_ % 2]
                    answer = (
                        put(client, generation) if round_ % 3 else client.put(ALIAS, json={"generation": generation})
                    )
                    assert answer.status_code == 200, answer.text
        finally:
            over.set()
        answered = [generation for one in asking for generation in one.result(60)]
    assert set(answered) == {first, second}


def test_changes_are_taken_from_this_machine_and_from_no_web_page(own_root: Path, tmp_path: Path) -> None:
    with serving(own_root, tmp_path, "--host", "0.0.0.0", "--insecure") as server:
        port = server.url.rsplit(":", 1)[1]
        with httpx.Client(base_url=f"http://{own_address()}:{port}", timeout=patient(30)) as from_outside:
            assert from_outside.post(SEARCH, json={"text": "a"}).status_code == 200
            for answer in (from_outside.post(f"{ALIAS}/rollback"), put(from_outside, "x")):
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=patient(30)) as here:
            answer = here.post(f"{ALIAS}/rollback", headers={"origin": "https://evil.example"})
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
            same = here.post(f"{ALIAS}/rollback", headers={"origin": f"http://127.0.0.1:{port}"})
            assert same.status_code == 412


def test_a_switch_goes_on_when_who_asked_for_it_is_gone(own_root: Path, tmp_path: Path, served_encoder: Any) -> None:
    """Or the alias on disk would be at one generation, and what answers at another, until somebody notices."""
    second = build_docs(own_root, served_encoder, drop=2, switch=False).name
    hook = tmp_path / "hook"
    hook.mkdir()
    go = tmp_path / "go"
    (hook / "sitecustomize.py").write_text(
        "import os, time\n"
        "from index.disk import root\n"
        "switch = root.Root.switch\n"
        "def slowly(self, *words, **more):\n"
        f"    while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "    return switch(self, *words, **more)\n"
        "root.Root.switch = slowly\n"
    )
    with serving(own_root, tmp_path, "--workers", "2", env={"PYTHONPATH": str(hook)}) as server:
        with server.client() as client, pytest.raises(httpx.ReadTimeout):
            client.put(ALIAS, json={"generation": second}, timeout=httpx.Timeout(patient(30), read=2.0))
        go.touch()
        limit_s = time.monotonic() + patient(30)
        while True:
            now = set()
            for _ in range(4):  # by either worker
                with server.client() as client:
                    now.add(served(client))
            if now == {second}:
                break
            assert time.monotonic() < limit_s, now
            time.sleep(0.1)
    assert Root(own_root).alias("docs").generation == second
