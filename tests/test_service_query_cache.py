"""Queries that were seen before: answered alike without the encoder, by every worker, and never for another model."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from serving import SERVED_PRECISION, Server, build_docs, serving
from worker_processes import children, eventually, workers

from embed.encoders.query_cache import CacheMemory, QueryCache
from index import Root
from service.query.batcher import LONGEST_LOOKED_UP, Batcher, Encoded

pytest_plugins = ["serving_fixtures"]

SEARCH = "/v1/indexes/docs/search"


def search(client: httpx.Client, text: str, **more: Any) -> dict[str, Any]:
    answer = client.post(SEARCH, json={"text": text, "k": 3, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def number(client: httpx.Client, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else -1.0


def encode(encoder: Any, memory: CacheMemory, *texts: str, kind: Any = "query") -> tuple[list[Encoded], list[int]]:
    """Each text after the other, through a batcher whose cache lies in `memory`; and the sizes of what was encoded."""
    sizes: list[int] = []

    async def main() -> list[Encoded]:
        cache = QueryCache(memory, encoder.fingerprint.id, encoder.dim)
        batcher = Batcher(encoder, sizes.append, cache=cache)
        try:
            return [await batcher.encode(text, kind) for text in texts]
        finally:
            batcher.close()

    return asyncio.run(main()), sizes


def test_the_second_time_the_encoder_is_not_asked(served_encoder: Any) -> None:
    texts = ("an octopus has arms", "how do apple trees grow", "an octopus has arms", "An octopus  has ARMS")
    encoded, sizes = encode(served_encoder, CacheMemory(1 << 20), *texts)
    assert [one.cached for one in encoded] == [False, False, True, True], "the same tokens are the same query"
    assert sizes == [1, 1]
    assert [one.tokens for one in encoded] == [6, 7, 6, 6]
    for one, text in zip(encoded, texts, strict=True):
        np.testing.assert_array_equal(one.vector, served_encoder.encode([text], "query")[0])
    again = encode(served_encoder, CacheMemory(1 << 20), *[texts[0]] * 6)[0]
    assert min(one.cpu_s for one in again[1:]) < again[0].cpu_s


def test_documents_and_long_texts_are_not_looked_up(served_encoder: Any) -> None:
    memory = CacheMemory(1 << 20)
    long = "ice " * (LONGEST_LOOKED_UP // 4 + 1)
    assert encode(served_encoder, memory, long, long)[1] == [1, 1]
    assert encode(served_encoder, memory, "ice", "ice", kind="document")[1] == [1, 1]
    assert encode(served_encoder, memory, "ice", "ice")[1] == [1]


def test_the_vector_of_another_model_is_never_the_answer(fp32_encoder: Any, int8_encoder: Any) -> None:
    memory = CacheMemory(1 << 20)
    for encoder in (fp32_encoder, int8_encoder, fp32_encoder):
        [one], _ = encode(encoder, memory, "warm summers")
        np.testing.assert_array_equal(one.vector, encoder.encode(["warm summers"], "query")[0])


def test_a_repeated_search_has_the_same_hits_and_says_that_it_was_cached(server: Server, client: httpx.Client) -> None:
    before = [number(client, f"perwatt_query_cache_{which}_total") for which in ("hits", "misses")]
    batches = number(client, "perwatt_encode_batch_texts_count")
    first, second, hybrid = (search(client, "feed flour to the dough", mode=m) for m in ("dense", "dense", "hybrid"))
    assert [one["usage"]["cached"] for one in (first, second, hybrid)] == [0, 1, 1]
    assert first["hits"] == second["hits"]
    assert first["usage"]["tokens"] == second["usage"]["tokens"] == hybrid["usage"]["tokens"] > 0
    other = search(client, "feed flour to the ducks")
    assert other["usage"]["cached"] == 0
    assert other["hits"] != first["hits"]
    after = [number(client, f"perwatt_query_cache_{which}_total") for which in ("hits", "misses")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 2]
    assert number(client, "perwatt_encode_batch_texts_count") == batches + 2
    assert 0 < number(client, "perwatt_query_cache_bytes") <= 64 << 20


def test_batches_and_embeddings_of_queries_find_what_searches_left(client: httpx.Client) -> None:
    texts = ["lava and ash", "three hearts", "nine bars"]
    search(client, texts[0])
    batch = client.post(f"{SEARCH}/batch", json={"queries": [{"text": text} for text in texts]}).json()
    assert [result["usage"]["cached"] for result in batch["results"]] == [1, 0, 0]
    assert batch["usage"]["cached"] == 1
    as_queries = client.post("/v1/embeddings", json={"input": texts, "input_type": "query"}).json()
    assert as_queries["usage"]["cached"] == 3
    as_documents = client.post("/v1/embeddings", json={"input": texts}).json()
    assert "cached" not in as_documents["usage"]
    near = [[one["embedding"] for one in answer["data"]] for answer in (as_queries, as_documents)]
    np.testing.assert_allclose(*near, atol=1e-5)  # this model has no prefix


def test_without_the_cache_every_query_is_encoded(root: Path, tmp_path: Path) -> None:
    with serving(root, tmp_path, "docs", "--no-query-cache") as server, server.client() as client:
        assert [search(client, "magma rises")["usage"]["cached"] for _ in range(3)] == [0, 0, 0]
        assert number(client, "perwatt_query_cache_hits_total") == 0
        assert number(client, "perwatt_query_cache_misses_total") == 0
        assert number(client, "perwatt_query_cache_bytes") == -1, "there is none"


def test_a_small_cache_keeps_to_its_size(root: Path, tmp_path: Path) -> None:
    with serving(root, tmp_path, "docs", "--query-cache", "1") as server, server.client() as client:
        texts = [f"{first} {second}" for first in range(50) for second in range(20)]
        for start in range(0, len(texts), 250):
            client.post("/v1/embeddings", json={"input": texts[start : start + 250], "input_type": "query"})
        assert (1 << 20) * 0.5 < number(client, "perwatt_query_cache_bytes") <= 1 << 20
        assert search(client, texts[-1])["usage"]["cached"] == 1


def test_what_one_worker_has_seen_all_have_and_a_new_one_with_another_model_has_not(
    own_root: Path, tmp_path: Path, fp32_encoder: Any, int8_encoder: Any
) -> None:
    text = "king and rook move together"
    other = int8_encoder if SERVED_PRECISION == "fp32" else fp32_encoder
    with workers(own_root, tmp_path) as server:
        with ExitStack() as stack:
            # Connections are spread evenly, so two that are open at once are two workers'.
            one, two = (stack.enter_context(server.client()) for _ in range(2))
            assert search(one, text)["usage"]["cached"] == 0
            seen = search(two, text)
            assert seen["usage"]["cached"] == 1
            assert seen["hits"] == search(one, text)["hits"]
        Root(own_root).switch("docs", build_docs(own_root, other).name)
        dead = children(server.process.pid)[0]
        os.kill(dead, signal.SIGKILL)
        eventually(lambda: server.log().count("is ready") == 1)
        with ExitStack() as stack:
            answers = [search(stack.enter_context(server.client()), text) for _ in range(2)]
        models = {answer["model"]: answer for answer in answers}
        assert len(models) == 2, "the old worker and the new one, each with its model"
        assert models[other.fingerprint.id]["usage"]["cached"] == 0
        assert models[seen["model"]]["hits"] == seen["hits"]
        best = models[other.fingerprint.id]["hits"][0]
        from serving import documents

        _, payloads = documents()
        document = next(f"{p['title']} {p['text']}" for p in payloads if p.get("title") == best["payload"]["title"])
        query, vector = (other.encode([each], kind)[0] for each, kind in ((text, "query"), (document, "document")))
        assert best["score"] == pytest.approx(float(query @ vector), abs=1e-4)
