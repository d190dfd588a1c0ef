"""Searches whose texts are encoded elsewhere: a real server of embeddings behind a real service."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from encoder_server import EncoderServer, encoder_server
from patience import patient
from serving import Server, build_docs, serving
from tei_session import SESSION, SOURCE, replayed

from embed import open_remote
from index import Root
from service.errors import LoadError, SettingsError
from service.query.loading import encoder_for, open_checked
from service.settings import Settings

pytest_plugins = ["serving_fixtures"]

SEARCH = "/v1/indexes/docs/search"


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[EncoderServer]:
    with encoder_server() as running:
        yield running


@pytest.fixture(scope="module")
def remote_root(elsewhere: EncoderServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    encoder = open_remote(elsewhere.url)
    build_docs(folder, encoder, family="flat")
    encoder.close()
    return folder


@pytest.fixture(scope="module")
def service(elsewhere: EncoderServer, remote_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(remote_root, tmp_path_factory.mktemp("served"), "--encoder", elsewhere.url) as running:
        yield running


@pytest.fixture
def asking(service: Server) -> Iterator[httpx.Client]:
    with service.client() as talking:
        yield talking


def ask(client: httpx.Client, **query: Any) -> httpx.Response:
    return client.post(SEARCH, json={"k": 3, **query})


def test_texts_are_encoded_elsewhere_and_once(asking: httpx.Client, elsewhere: EncoderServer) -> None:
    text = "Pruning apple trees: cut dead branches in late winter"
    first, again = ask(asking, text=text).json(), ask(asking, text=text).json()
    assert first["hits"][0]["id"] == again["hits"][0]["id"] == "a03"
    assert elsewhere.texts().count(text) == 1
    assert (first["usage"]["tokens"], first["usage"]["cached"]) == (len(text.split()) + 2, 0)
    assert (again["usage"]["tokens"], again["usage"]["cached"]) == (0, 1)
    vectors = asking.post("/v1/embeddings", json={"input": ["a", "b"]}).json()["data"]
    np.testing.assert_allclose([one["embedding"] for one in vectors], elsewhere.vectors(["a", "b"]), atol=1e-6)


def test_a_slow_encoder_costs_its_callers_their_own_time_and_nobody_else(
    asking: httpx.Client, elsewhere: EncoderServer
) -> None:
    ask(asking, text="warm")
    elsewhere.released.clear()
    elsewhere.slow_s, elsewhere.most_under_way = 60.0, 0
    try:
        with ThreadPoolExecutor(24) as pool:
            asked = [pool.submit(ask, asking, text=f"slow {number}", timeout_ms=300) for number in range(24)]
            answers = [each.result() for each in asked]
        assert {answer.status_code for answer in answers} <= {503, 504}
        assert {answer.json()["code"] for answer in answers} <= {"deadline-exceeded", "overloaded"}
        assert elsewhere.most_under_way <= 8
        assert ask(asking, text="apple trees", mode="lexical").json()["hits"]
    finally:
        elsewhere.slow_s = 0.0
        elsewhere.released.set()
    assert ask(asking, text="quick again").status_code == 200


@pytest.mark.parametrize("path", [SEARCH, "/v1/embeddings"])
def test_an_encoder_that_fails_is_a_503_that_says_so(
    asking: httpx.Client, elsewhere: EncoderServer, service: Server, path: str
) -> None:
    body = {"text": "a private text"} if path == SEARCH else {"input": "a private text"}
    elsewhere.failures.extend([(429, {"retry-after": "1"}, b"a private text")])
    elsewhere.failures.extend([(500, {}, b"a private text")] * 2)
    answer = asking.post(path, json=body)
    problem = answer.json() if path == SEARCH else answer.json()["error"]
    assert (answer.status_code, problem["code"]) == (503, "encoder-unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    said = answer.text + service.log()
    assert "The encoder of this service gave no answer: it answered with" in answer.text
    assert "private" not in said
    assert elsewhere.url not in answer.text
    assert f"the encoder at {elsewhere.url} answered with" in said
    elsewhere.failures.clear()
    assert asking.post(SEARCH, json={"vector": elsewhere.vectors(["a"])[0]}).status_code == 200


def test_a_model_that_changes_under_a_service_is_refused_until_it_is_back(
    asking: httpx.Client, elsewhere: EncoderServer
) -> None:
    elsewhere.called = "hashing-2"
    try:
        for text in ("first", "second"):
            answer = ask(asking, text=text, timeout_ms=patient(10) * 1000)
            assert (answer.status_code, answer.json()["code"]) == (503, "encoder-unavailable")
            assert "has another model than when it was first asked: it calls its model 'hashing-2'" in answer.text
        assert ask(asking, text="apple", mode="lexical").status_code == 200
    finally:
        elsewhere.called = "hashing-1"


def test_a_service_does_not_start_with_another_model(elsewhere: EncoderServer, remote_root: Path) -> None:
    with pytest.raises(SettingsError, match=r"elsewhere that calls its model 'hashing-1'; say where it is with --enc"):
        encoder_for(Settings(root=remote_root), Root(remote_root), ["docs"])
    with pytest.raises(SettingsError, match="--precision is of a model that runs here"):
        encoder_for(Settings(root=remote_root, encoder=elsewhere.url, precision="fp32"), Root(remote_root), ["docs"])
    with encoder_server(seed="another") as changed:
        settings = Settings(root=remote_root, encoder=changed.url)
        encoder = encoder_for(settings, Root(remote_root), ["docs"])
        assert encoder is not None
        with pytest.raises(LoadError, match=r"encodes canary \d+ differently .*at least 0\.99 is expected at remote"):
            open_checked(Root(remote_root).path("docs"), encoder, 1)
        encoder.close()
    with encoder_server(dim=32) as wider:
        encoder = encoder_for(Settings(root=remote_root, encoder=wider.url), Root(remote_root), ["docs"])
        assert encoder is not None
        with pytest.raises(LoadError, match="holds vectors of hashing-1"):
            open_checked(Root(remote_root).path("docs"), encoder, 1)
        encoder.close()


def test_a_perwatt_elsewhere_has_the_fingerprint_of_its_model(server: Server, served_encoder: Any) -> None:
    """Vectors that it made are served by the same model here, and the other way round."""
    encoder = open_remote(server.url)
    assert encoder.fingerprint == served_encoder.fingerprint
    texts = ["how do I rotate a key", "naïve café 東京", *(f"text {number}" for number in range(40))]
    for kind in ("document", "query"):
        np.testing.assert_allclose(encoder.encode(texts, kind), served_encoder.encode(texts, kind), atol=1e-5)
    encoder.close()


def test_the_session_of_text_embeddings_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent is what its documentation takes, and its documented answers are read."""
    assert "text-embeddings-inference" in SOURCE
    with replayed(SESSION) as (url, sent):
        encoder = open_remote(url)
        assert (encoder.fingerprint.name, encoder.dim) == ("thenlper/gte-base", 3)
        vectors, tokens = encoder.encode_counted(["What is Deep Learning?"], "query")
        assert (vectors.tolist(), tokens.tolist()) == ([[0.0, 1.0, 2.0]], [7])
        encoder.close()
    assert sent == [(one.method, one.path, one.asked) for one in SESSION]
