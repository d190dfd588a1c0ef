"""What a router does when shards are slow, gone, exchanged or not those that were meant."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from indexing import clustered, write_vectors_folder
from patience import patient
from routing import Router, routing, serving_shards
from serving import NotStarted, Server, serving

from index import VectorsFolder, build_generation
from index.build.sharded import build_sharded
from index.shards.sealed import ShardedGeneration, ShardedIndex
from service.cli.keys import keys as keys_command

pytest_plugins = ["serving_fixtures"]

DIM, COUNT = 16, 400


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors") / "v"
    payload = [{"text": f"word {row % 7}", "lang": ("en", "de")[row % 2]} for row in range(COUNT)]
    return write_vectors_folder(
        folder, [f"d{row:03}" for row in range(COUNT)], clustered(COUNT, DIM), payload, bare=True
    )


@pytest.fixture
def sharded(vectors: Path, tmp_path: Path) -> ShardedGeneration:
    return build_sharded(VectorsFolder(vectors), 2, root=tmp_path / "i", name="docs", filterable=["lang:keyword"])


def ask(client: httpx.Client, **query: Any) -> httpx.Response:
    vector = clustered(1, DIM, seed=4)[0].tolist()
    return client.post("/v1/indexes/docs/search", json={"vector": vector, "k": 5, "params": {"exact": True}} | query)


def until(true: Any, what: str) -> None:
    limit_s = time.monotonic() + patient(30)
    while not true():
        assert time.monotonic() < limit_s, f"it never happened that {what}"
        time.sleep(0.05)


def counted(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name) and not line.startswith("# "))


def test_a_shard_that_is_gone_is_said_and_not_hidden(sharded: ShardedGeneration, tmp_path: Path) -> None:
    with (
        serving_shards(sharded, tmp_path / "s") as servers,
        routing(servers, tmp_path) as router,
        router.client() as client,
    ):
        whole = ask(client).json()
        assert whole["coverage"]["shards"] == whole["coverage"]["answered"] == 2
        servers[1][0].end(signal.SIGKILL)
        refused = ask(client)
        assert (refused.status_code, refused.json()["code"]) == (503, "not-ready")
        assert "Shard 1 of 2 does not answer" in refused.json()["detail"]
        assert refused.json()["answered"] == 1
        assert int(refused.headers["retry-after"]) > 0
        partial = ask(client, allow_partial=True).json()
        assert partial["coverage"] | {"survivors": 0} == whole["coverage"] | {"survivors": 0, "answered": 1}
        assert 0 < partial["coverage"]["survivors"] < COUNT
        kept = {hit["id"]: hit["score"] for hit in partial["hits"]}
        assert len(kept) == 5
        assert {id_: score for id_, score in kept.items() if id_ in {hit["id"] for hit in whole["hits"]}} == {
            hit["id"]: hit["score"] for hit in whole["hits"] if hit["id"] in kept
        }
        batch = {"queries": [{"id": partial["hits"][0]["id"], "allow_partial": allowed} for allowed in (True, False)]}
        done = client.post("/v1/indexes/docs/search/batch", json=batch).json()["results"]
        assert done[0]["coverage"]["answered"] == 1
        assert done[1]["error"]["code"] == "not-ready"
        assert counted(client, "perwatt_partial_answers_total") == 2
        until(lambda: client.get("/readyz").status_code == 503, "the router is not ready")
        assert "does not answer" in client.get("/readyz").json()["detail"]
        assert client.get("/livez").status_code == 200
        port = servers[1][0].url.rpartition(":")[2]
        again = Server(sharded.roots[1].folder, "--port", port, log_file=tmp_path / "again.log")
        try:
            until(lambda: client.get("/readyz").status_code == 200, "the router is ready again")
            assert ask(client).json()["hits"] == whole["hits"]
        finally:
            again.end(signal.SIGINT)


def test_a_replica_that_hangs_or_dies_costs_no_answer(sharded: ShardedGeneration, tmp_path: Path) -> None:
    with (
        serving_shards(sharded, tmp_path / "s", replicas=2) as servers,
        routing(servers, tmp_path) as router,
        router.client() as client,
    ):
        whole = ask(client).json()
        for _ in range(100):
            assert ask(client).json()["hits"] == whole["hits"]
        answers: Counter[int] = Counter()
        wrong: list[Any] = []

        def load(seconds: float) -> None:
            end_s = time.monotonic() + seconds
            with router.client() as mine:
                while time.monotonic() < end_s:
                    answer = ask(mine)
                    answers[answer.status_code] += 1
                    if answer.status_code != 200 or answer.json()["hits"] != whole["hits"]:
                        wrong.append(answer.text)
                    time.sleep(0.01)  # often enough to meet every moment, and without two CPUs at full load

        callers = [threading.Thread(target=load, args=(4.0,)) for _ in range(3)]
        for caller in callers:
            caller.start()
        time.sleep(0.5)
        hanging = servers[0][0].process
        os.kill(hanging.pid, signal.SIGSTOP)
        time.sleep(1.0)
        servers[1][1].end(signal.SIGKILL)
        for caller in callers:
            caller.join()
        os.kill(hanging.pid, signal.SIGCONT)
        assert wrong == []
        assert answers[200] > 20
        assert counted(client, "perwatt_shard_hedges_total") > 0
        assert client.get("/readyz").status_code == 200


def test_it_turns_to_another_generation_once_all_shards_have(vectors: Path, tmp_path: Path) -> None:
    first = build_sharded(VectorsFolder(vectors), 2, root=tmp_path / "i", name="docs")
    second = build_sharded(VectorsFolder(vectors), 2, root=tmp_path / "i", name="docs", switch=False)
    with (
        serving_shards(first, tmp_path / "s") as servers,
        routing(servers, tmp_path) as router,
        router.client() as client,
    ):

        def generation() -> str:
            return str(client.get("/v1/indexes/docs").json()["generation"])

        assert generation() == first.path.name
        ShardedIndex(tmp_path / "i", "docs").switch(second.path.name)
        servers[0][0].process.send_signal(signal.SIGHUP)
        servers[0][0].wait_for_log("switched from")
        for _ in range(3):  # the first shard has moved on, and keeps what it had for those who name it
            assert ask(client).json()["generation"] == first.path.name
            assert client.get("/readyz").status_code == 200
        servers[1][0].process.send_signal(signal.SIGHUP)
        until(lambda: generation() == second.path.name, "the router has turned")
        assert client.get("/readyz").status_code == 200
        assert ask(client).json()["generation"] == second.path.name


def test_replicas_of_an_index_in_one_piece(vectors: Path, tmp_path: Path) -> None:
    build_generation(VectorsFolder(vectors), root=tmp_path / "i", name="docs")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        serving(tmp_path / "i", tmp_path / "a") as a,
        serving(tmp_path / "i", tmp_path / "b") as b,
        routing([[a, b]], tmp_path) as router,
        router.client() as client,
        a.client() as direct,
    ):
        assert ask(client).json()["hits"] == ask(direct).json()["hits"]
        a.end(signal.SIGKILL)
        assert all(ask(client).status_code == 200 for _ in range(20))


def test_keys_of_the_router_and_of_its_shards(sharded: ShardedGeneration, tmp_path: Path) -> None:
    from click.testing import CliRunner

    def made(file: str, *words: str) -> str:
        done = CliRunner().invoke(keys_command, ["create", *words, "--keys", str(tmp_path / file)])
        assert done.exit_code == 0, done.output
        return next(word for word in done.output.split() if word.startswith("pw_"))

    inner = made("shards.keys", "router")
    german = made("router.keys", "german", "--filter", '{"field": "lang", "eq": "de"}')
    with serving_shards(sharded, tmp_path / "s", "--keys", str(tmp_path / "shards.keys")) as servers:
        keyed = ("--keys", str(tmp_path / "router.keys"), "--shard-key", inner)
        with routing(servers, tmp_path, *keyed) as router, router.client() as client:
            assert ask(client).status_code == 401
            client.headers["authorization"] = f"Bearer {german}"
            found = ask(client, k=1000, fields=["lang"]).json()
            assert {hit["payload"]["lang"] for hit in found["hits"]} == {"de"}
            assert found["coverage"]["survivors"] == len(found["hits"]) == COUNT // 2
            assert client.get("/v1/indexes/docs").json()["count"] == COUNT // 2
            assert ask(client, filter={"field": "lang", "eq": "en"}).json()["hits"] == []
            hidden, seen = "d000", "d001"
            assert client.get(f"/v1/indexes/docs/documents/{seen}").status_code == 200
            assert client.get(f"/v1/indexes/docs/documents/{hidden}").status_code == 404
            for id_, status in ((seen, 200), (hidden, 404)):
                query = {"id": id_, "filter": {"field": "lang", "eq": "de"}}
                answer = client.post("/v1/indexes/docs/search", json=query)
                assert answer.status_code == status
                if status == 200:
                    assert answer.json()["coverage"]["survivors"] == COUNT // 2 - 1
        with pytest.raises(NotStarted, match="was answered with 401"):
            Router([[each.url for each in one] for one in servers], "--wait", "0", log_file=tmp_path / "none.log")


def test_what_does_not_make_an_index_is_named_at_the_start(
    sharded: ShardedGeneration, vectors: Path, tmp_path: Path
) -> None:
    build_generation(VectorsFolder(vectors), root=tmp_path / "one", name="docs")
    (tmp_path / "w").mkdir()
    with serving_shards(sharded, tmp_path / "s") as servers, serving(tmp_path / "one", tmp_path / "w") as whole:
        (a,), (b,) = ([server.url for server in each] for each in servers)
        for shards, why in (
            ([[a]], "it has 2 shards, and 1 addresses were given"),
            ([[a], [a]], "are the same shard; replicas of one go together"),
            ([[a], [whole.url]], "serve different generations"),
            ([[a], [b], [b]], "it has 2 shards, and 3 addresses"),
            ([[a], ["http://127.0.0.1:9"]], "address 2 of 2 does not answer (http://127.0.0.1:9"),
            ([[a], ["https://127.0.0.1:9"]], "expected the address of a server"),
            ([[a], [f"{b}/v1"]], "expected the address of a server"),
        ):
            with pytest.raises(NotStarted) as failed:
                Router(shards, "--wait", "0", log_file=tmp_path / "none.log")
            assert why in failed.value.log
            assert "Traceback" not in failed.value.log
        file = tmp_path / "shards.json"
        for content, why in (
            ("{}", "does not say where the shards are"),
            ('{"shards": [[]]}', "a shard without an address"),
            ("no", "does not say"),
        ):
            file.write_text(content)
            with pytest.raises(NotStarted) as failed:
                Router([], "--shards", str(file), log_file=tmp_path / "none.log")
            assert why in failed.value.log
        file.write_text(json.dumps({"shards": [b, [a]]}))
        router = Router([], "--shards", str(file), log_file=tmp_path / "file.log")
        try:
            with router.client() as client:
                assert len(ask(client).json()["hits"]) == 5
        finally:
            router.end(signal.SIGINT)


def test_several_workers_and_many_at_once(sharded: ShardedGeneration, tmp_path: Path) -> None:
    with (
        serving_shards(sharded, tmp_path / "s") as servers,
        routing(servers, tmp_path, "--workers", "2") as router,
        router.client() as client,
    ):
        whole = ask(client).json()["hits"]
        wrong: list[str] = []

        def load() -> None:
            with router.client() as mine:
                wrong.extend(answer.text for answer in (ask(mine) for _ in range(40)) if answer.json()["hits"] != whole)

        callers = [threading.Thread(target=load) for _ in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert wrong == []
        assert router.end() == 0
    assert np.isfinite([hit["score"] for hit in whole]).all()


@pytest.fixture
def slow(sharded: ShardedGeneration, tmp_path: Path) -> Iterator[httpx.Client]:
    """A router of which one shard hangs."""
    with (
        serving_shards(sharded, tmp_path / "s") as servers,
        routing(servers, tmp_path) as router,
        router.client() as client,
    ):
        os.kill(servers[0][0].process.pid, signal.SIGSTOP)
        yield client
        os.kill(servers[0][0].process.pid, signal.SIGCONT)


def test_a_shard_that_hangs_is_late_or_left_out(slow: httpx.Client) -> None:
    late = ask(slow, timeout_ms=300)
    # Or it was looked at meanwhile, and found not to answer.
    assert (late.status_code, late.json()["code"]) in ((504, "deadline-exceeded"), (503, "not-ready"))
    until(
        lambda: ask(slow, timeout_ms=3000, allow_partial=True).json().get("coverage", {}).get("answered") == 1,
        "the other shard answers",
    )
