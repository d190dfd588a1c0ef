"""Vectors over HTTP in OpenAI's shape, equal to what the encoder gives."""

from __future__ import annotations

import base64
import math
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from patience import LONG, burden, patient
from serving import serving

from service.http.openai_errors import openai_error
from service.query.batcher import WINDOW_TEXTS
from service.wire import limits
from service.wire.problems import Problem

pytest_plugins = ["serving_fixtures"]

EMBEDDINGS = "/v1/embeddings"


def test_one_text_gives_the_encoders_vector(client: httpx.Client, served_encoder: Any) -> None:
    answer = client.post(EMBEDDINGS, json={"input": "noise"}).json()
    assert answer["object"] == "list"
    assert answer["model"] == "all-MiniLM-L6-v2"
    [one] = answer["data"]
    assert (one["object"], one["index"]) == ("embedding", 0)
    np.testing.assert_allclose(one["embedding"], served_encoder.encode(["noise"])[0], atol=1e-5)
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


def test_many_texts_come_back_in_order_as_base64(client: httpx.Client, served_encoder: Any) -> None:
    texts = [f"text number {number} " * (1 + number % 7) for number in range(40)]
    answer = client.post(EMBEDDINGS, json={"input": texts, "encoding_format": "base64"}).json()
    vectors = np.array([np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in answer["data"]])
    np.testing.assert_allclose(vectors, served_encoder.encode(texts), atol=1e-5)
    assert [one["index"] for one in answer["data"]] == list(range(40))


def test_what_other_clients_send_along_is_taken(client: httpx.Client, served_encoder: Any) -> None:
    for model in served_encoder.fingerprint.names:
        body = {"input": ["a"], "model": model, "dimensions": 384, "user": "u" * 1000, "encoding_format": "float"}
        assert client.post(EMBEDDINGS, json=body).status_code == 200
    nothing = dict.fromkeys(("model", "dimensions", "user", "encoding_format", "timeout_ms"))
    assert client.post(EMBEDDINGS, json={"input": ["a"], **nothing}).status_code == 200


def test_a_request_may_be_as_long_as_openais(client: httpx.Client) -> None:
    """2,048 texts, in more bytes than a search may have."""
    texts = ["a" + " " * 1000] * burden(limits.EMBEDDINGS_INPUTS)
    answer = client.post(EMBEDDINGS, json={"input": texts, "encoding_format": "base64"})
    assert answer.status_code == 200
    assert len(answer.json()["data"]) == len(texts)


def test_time_nobody_set_is_for_a_window_of_texts_and_time_somebody_set_for_all(
    root: Path, tmp_path: Path, client: httpx.Client
) -> None:
    window = [LONG[:100]] * WINDOW_TEXTS
    client.post(EMBEDDINGS, json={"input": window}).raise_for_status()

    def answered() -> int:
        start_s = time.perf_counter()
        client.post(EMBEDDINGS, json={"input": window}).raise_for_status()
        window_s = time.perf_counter() - start_s
        timeout_s = max(0.5, 8 * window_s)
        texts = window * min(math.ceil(1.5 * timeout_s / window_s), limits.EMBEDDINGS_INPUTS // WINDOW_TEXTS)
        with serving(root, tmp_path, "--timeout", f"{timeout_s:.2f}") as server, server.client() as own:
            answer = own.post(EMBEDDINGS, json={"input": texts, "encoding_format": "base64"}, timeout=patient(120))
            late = own.post(EMBEDDINGS, json={"input": texts, "timeout_ms": 1})
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline-exceeded")
        return answer.status_code

    # Where the machine is held up for eight windows, that one is late; a limit on all of them would be each time.
    assert any(answered() == 200 for _ in range(4))


def test_the_models_are_the_one_that_is_loaded(client: httpx.Client, served_encoder: Any) -> None:
    answer = client.get("/v1/models").json()
    [model] = answer["data"]
    assert answer["object"] == "list"
    assert (model["dimensions"], model["max_tokens"]) == (384, 256)
    for name in served_encoder.fingerprint.names:
        assert client.get(f"/v1/models/{name}").json() == model
        assert client.get(f"/v1/models/{quote(name, safe='')}").json() == model
    missing = client.get("/v1/models/gpt-7")
    assert (missing.status_code, missing.json()["code"]) == (404, "model-not-found")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"input": "a", "model": "text-embedding-3-small"}, "model-mismatch"),
        ({"input": "a", "model": "../../etc"}, "model-mismatch"),
        ({"input": "a", "dimensions": 64}, "dimension-mismatch"),
        ({"input": []}, "invalid-value"),
        ({"input": ["a"] * 2049}, "invalid-value"),
        ({"input": "a", "timeout_ms": 0}, "invalid-value"),
        ({"input": ""}, "invalid-value"),
        ({"input": "a" * 8193}, "invalid-value"),
        ({"input": [1, 2, 3]}, "invalid-value"),
        ({"input": [[1, 2], [3]]}, "invalid-value"),
        ({"input": ["a", 1]}, "invalid-value"),
        ({"input": "a", "encoding_format": "hex"}, "invalid-value"),
        ({"input": "a", "stream": True}, "unknown-field"),
        ({}, "invalid-value"),
    ],
)
def test_what_cannot_be_embedded_is_refused(client: httpx.Client, body: dict[str, Any], code: str) -> None:
    answer = client.post(EMBEDDINGS, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    error = answer.json()["error"]
    assert (error["message"], error["type"]) == (answer.json()["detail"], "invalid_request_error")


def test_tokens_are_refused_with_what_to_set(client: httpx.Client) -> None:
    for tokens in ([1, 2, 3], [[1, 2], [3]]):
        answer = client.post(EMBEDDINGS, json={"input": tokens}).json()
        assert answer["pointer"] == "/input"
        assert "check_embedding_ctx_length=False" in answer["detail"]


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        (Problem("invalid-value", "x.", pointer="/input/3"), ("invalid_request_error", "input[3]")),
        (Problem("invalid-value", "x.", pointer=""), ("invalid_request_error", None)),
        (Problem("unknown-field", "x.", pointer="/a/b"), ("invalid_request_error", "a.b")),
        (Problem("unauthenticated", "x."), ("authentication_error", None)),
        (Problem("forbidden", "x."), ("permission_error", None)),
        (Problem("quota-exceeded", "x."), ("rate_limit_error", None)),
        (Problem("overloaded", "x."), ("server_error", None)),
    ],
)
def test_a_problem_as_openais_error(problem: Problem, error: tuple[str, str | None]) -> None:
    made = openai_error(problem)
    assert (made["type"], made["param"]) == error
    assert (made["message"], made["code"]) == ("x.", problem.code)
