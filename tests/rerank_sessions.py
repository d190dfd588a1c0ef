"""Sessions with servers that rerank, written down from their documentation, since they do not run here.

text-embeddings-inference: `RerankRequest`, `RerankResponse` and `Info` of docs/openapi.json at version 1.7.1, with its
examples (commit 006e16b702263e09686b33f9152a5ad0f9468085). Cohere: the v2 reference of rerank, with values of its
example. Read in November 2026.
"""

from __future__ import annotations

from typing import Any

from tei_session import INFO, Told

COHERE_SOURCE = "https://docs.cohere.com/v2/reference/rerank (v2)"


def tei(query: str, texts: list[str]) -> dict[str, Any]:
    return {"query": query, "texts": texts, "truncate": True, "raw_scores": True}


def cohere(query: str, documents: list[str]) -> dict[str, Any]:
    return {"model": "rerank-v3.5", "query": query, "documents": documents, "top_n": len(documents)}


def ranks(*scores: tuple[int, float]) -> dict[str, Any]:
    found = [{"index": index, "relevance_score": score} for index, score in scores]
    meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
    return {"results": found, "id": "07734bd2-2473-4f07-94e1-0d9f0e6843cf", "meta": meta}


RERANKER = {**INFO, "model_id": "BAAI/bge-reranker-base", "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}}}}
TEI_RERANK = [
    Told("GET", "/info", None, RERANKER),
    Told("POST", "/rerank", tei("canary", ["a document"]), [{"index": 0, "score": 0.5}]),
    Told(
        "POST", "/rerank", tei("What is Deep Learning?", ["Deep Learning is not...", "Deep Learning is..."]),
        [{"index": 1, "score": 1.0}, {"index": 0, "score": 0.25}], {"x-compute-tokens": "31"},
    ),
]  # fmt: skip
COHERE = [
    Told("GET", "/info", None, {"message": "not found"}, None, 404),
    Told("POST", "/v2/rerank", cohere("canary", ["a document"]), ranks((0, 0.1))),
    Told(
        "POST", "/v2/rerank", cohere("What is the capital of the United States?", ["Carson City", "Washington, D.C."]),
        ranks((1, 0.999071), (0, 0.32713068)),
    ),
]  # fmt: skip
