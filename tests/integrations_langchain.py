"""LangChain's own suites over a real server: every standard test of a vector store, sync and async, and of a retriever.

`make test-integrations` runs this file; its name keeps it out of `make test`, as the suites bring plugins of pytest's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests
from serving import serving

from index import build_generation
from service.integrations.langchain import PerwattRetriever, PerwattVectorStore

EMBEDDING_SIZE = len(VectorStoreIntegrationTests.get_embeddings().embed_query("any"))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server with two indexes of the suite's vectors: `store`, its one document deleted, and `books` of five."""
    folder = tmp_path_factory.mktemp("root")
    embeddings = VectorStoreIntegrationTests.get_embeddings()
    for name, texts in {"store": ["deleted"], "books": ["one", "two", "three", "four", "five"]}.items():
        vectors = np.array(embeddings.embed_documents(texts), dtype=np.float32)
        build_generation(vectors, texts, root=folder, name=name, payload=[{"text": text} for text in texts])
    with serving(folder, tmp_path_factory.mktemp("server")) as server:
        with store_of(server.url, "store") as store:
            store.delete(["deleted"])
        yield server.url


def store_of(url: str, index: str) -> PerwattVectorStore:
    return PerwattVectorStore(url, index, VectorStoreIntegrationTests.get_embeddings())


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, url: str) -> Iterator[PerwattVectorStore]:
        with store_of(url, "store") as store:
            yield store
            left: list[Document] = store.similarity_search("anything", k=1000)
            store.delete([str(document.id) for document in left])


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def served(self, url: str) -> Iterator[None]:
        with store_of(url, "books") as self.store:
            yield

    @property
    def retriever_constructor(self) -> type[PerwattRetriever]:
        return PerwattRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"store": self.store}

    @property
    def retriever_query_example(self) -> str:
        return "three"
