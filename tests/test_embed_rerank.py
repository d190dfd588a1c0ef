"""Rerankers: a cross-encoder on our kernels beside sentence-transformers', and servers that rerank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cross_encoders import make_cross_encoder
from encoder_server import encoder_server
from patience import patient
from rerank_sessions import COHERE, COHERE_SOURCE, TEI_RERANK
from tei_session import replayed

from embed import ModelError, load_reranker
from embed.encoders.remote.endpoint import Patience
from embed.errors import EncoderError
from embed.models.folder import find_model
from embed.rerankers.native import NativeReranker

QUERY = "how do I rotate an API key"
BRIEF = Patience(patient(60), 2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cross_encoder(tmp_path_factory.mktemp("cross") / "tiny-cross-encoder")


@pytest.mark.parametrize("identity", [True, False], ids=["identity", "sigmoid"])
def test_scores_are_those_of_sentence_transformers(identity: bool, tmp_path: Path, texts: list[str]) -> None:
    from sentence_transformers import CrossEncoder

    path = make_cross_encoder(tmp_path / "cross", identity=identity)
    theirs = CrossEncoder(str(path), device="cpu", max_length=64)
    ours = NativeReranker(find_model(path), "fp32", 2)
    for query in (QUERY, "a", "a very long question " * 30):  # the longer of the two is cut
        wanted = theirs.predict([(query, text) for text in texts], batch_size=1, show_progress_bar=False)
        found = ours.scores(query, texts)
        np.testing.assert_allclose(found.scores, wanted, atol=2e-5)
        assert np.ptp(wanted) > (0.1 if identity else 0.02)  # they differ, so agreeing says something
        assert found.tokens <= 64 * len(texts)
    assert ours.scores(QUERY, []).scores.shape == (0,)


def test_int8_orders_nearly_as_fp32_and_threads_change_nothing(model: Path, texts: list[str]) -> None:
    documents = [f"{text} {number}" for number in range(8) for text in texts]
    exact = NativeReranker(find_model(model), "fp32", 1).scores(QUERY, documents).scores
    rough = [NativeReranker(find_model(model), "int8", threads).scores(QUERY, documents).scores for threads in (1, 2)]
    assert np.array_equal(*rough)
    assert np.corrcoef(exact, rough[0])[0, 1] > 0.97


def test_a_model_that_is_no_reranker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no tensor 'bert\.pooler.*is it a model of vectors\?"):
        load_reranker(str(find_model().path))
    with pytest.raises(ModelError, match="has 3 outputs; a reranker has one"):
        load_reranker(str(make_cross_encoder(tmp_path / "classes", outputs=3)))


def test_a_text_that_is_no_unicode_is_named(model: Path) -> None:
    from embed.errors import TextError

    with pytest.raises(TextError, match="Text 1 of 2 is not valid Unicode"):
        NativeReranker(find_model(model), "fp32", 1).scores(QUERY, ["\ud800"])


def test_the_session_of_text_embeddings_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERWATT_RERANKER_KEY", "k-1")
    with replayed(TEI_RERANK) as (url, sent):
        reranker = load_reranker(url, patience=BRIEF)
        assert (reranker.name, reranker.backend) == ("BAAI/bge-reranker-base", f"text-embeddings-inference at {url}")
        relevance = reranker.scores("What is Deep Learning?", ["Deep Learning is not...", "Deep Learning is..."])
        reranker.close()
    np.testing.assert_allclose(relevance.scores, [0.25, 1.0])
    assert relevance.tokens == 31
    assert sent == [(one.method, one.path, one.asked) for one in TEI_RERANK]


def test_the_session_of_cohere() -> None:
    assert "cohere" in COHERE_SOURCE
    with replayed(COHERE) as (url, sent):
        reranker = load_reranker(f"rerank-v3.5@{url}", patience=BRIEF)
        relevance = reranker.scores("What is the capital of the United States?", ["Carson City", "Washington, D.C."])
        reranker.close()
    np.testing.assert_allclose(relevance.scores, [0.32713068, 0.999071])
    assert sent == [(one.method, one.path, one.asked) for one in COHERE]


def test_a_server_that_does_not_rerank_is_refused() -> None:
    with encoder_server() as running:
        with pytest.raises(ModelError, match="does not say which model it has; name it: MODEL@http"):
            load_reranker(running.url, patience=BRIEF)
        running.answers.append(b'{"results": [{"index": 7, "relevance_score": 1}]}')
        with pytest.raises(EncoderError, match="answers with no scores: expected one for each of 1 documents"):
            load_reranker(f"m@{running.url}", patience=BRIEF)
