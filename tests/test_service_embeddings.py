"""Vectors over HTTP in OpenAI's shape, equal to what the encoder gives."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import pytest

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
    for model in ("all-MiniLM-L6-v2", served_encoder.fingerprint.id):
        body = {"input": ["a"], "model": model, "dimensions": 384, "user": "u", "encoding_format": "float"}
        assert client.post(EMBEDDINGS, json=body).status_code == 200


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"input": "a", "model": "text-embedding-3-small"}, "model-mismatch"),
        ({"input": "a", "model": "../../etc"}, "model-mismatch"),
        ({"input": "a", "dimensions": 64}, "dimension-mismatch"),
        ({"input": []}, "invalid-value"),
        ({"input": ["a"] * 257}, "invalid-value"),
        ({"input": ""}, "invalid-value"),
        ({"input": "a" * 8193}, "invalid-value"),
        ({"input": [1, 2, 3]}, "invalid-value"),
        ({"input": "a", "encoding_format": "hex"}, "invalid-value"),
        ({"input": "a", "stream": True}, "unknown-field"),
        ({}, "invalid-value"),
    ],
)
def test_what_cannot_be_embedded_is_refused(client: httpx.Client, body: dict[str, Any], code: str) -> None:
    answer = client.post(EMBEDDINGS, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
