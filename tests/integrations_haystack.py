"""Haystack's own suites of a document store over a real server, and what the store does beside them.

`make test-integrations` runs this file; its name keeps it out of `make test`. Documents without an embedding are
encoded by the server's own model; the suites' embeddings are cut to its dimensions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # before the import

import pytest
from haystack import Document, Pipeline
from haystack.dataclasses import ByteStream
from haystack.document_stores.types import DuplicatePolicy
from haystack.errors import FilterError
from haystack.testing.document_store import (
    CountDocumentsByFilterTest,
    DeleteAllTest,
    DeleteByFilterTest,
    create_filterable_docs,
)
from haystack.testing.document_store import DocumentStoreBaseTests as BaseTests
from haystack.testing.document_store_async import (
    CountDocumentsAsyncTest,
    CountDocumentsByFilterAsyncTest,
    DeleteAllAsyncTest,
    DeleteByFilterAsyncTest,
    DeleteDocumentsAsyncTest,
    FilterDocumentsAsyncTest,
    WriteDocumentsAsyncTest,
)
from haystack.utils import Secret
from serving import serving

from index import build_generation
from service.integrations.haystack import PerwattDocumentStore, PerwattEmbeddingRetriever, PerwattTextRetriever

DIMENSIONS = 384
TRUSTED = PerwattDocumentStore.__module__  # Haystack asks for it before it reads classes that are not its own
# Every field that a filter of the suites names.
EVERY = {
    **dict.fromkeys(["name", "page", "chapter", "category", "status"], "any"),
    "number": 1,
    "year": 2020,
    "date": "2020-01-01",
    "no_embedding": True,
}
TYPES = {str: "keyword", int: "int", bool: "bool"}
FILTERABLE = [f"{name}:{'date' if name == 'date' else TYPES[type(value)]}" for name, value in EVERY.items()]


@pytest.fixture(scope="module")
def url(served_encoder: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server with the index `store`, its one document deleted."""
    folder = tmp_path_factory.mktemp("root")
    build_generation(
        served_encoder.encode(["deleted"], kind="document"),
        ["deleted"],
        root=folder,
        name="store",
        payload=[{"text": "deleted", **EVERY}],
        filterable=FILTERABLE,
        model=served_encoder.fingerprint.as_dict(),
    )
    with serving(folder, tmp_path_factory.mktemp("server")) as server:
        store = store_of(server.url)
        store.delete_documents(["deleted"])
        store.close()
        yield server.url


def store_of(url: str, **options: Any) -> PerwattDocumentStore:
    return PerwattDocumentStore(url, "store", **options)


def in_order(documents: list[Document]) -> list[dict[str, Any]]:
    """Documents come in no order, and without their embeddings."""
    return sorted(
        (each.to_dict(flatten=False) | {"embedding": None} for each in documents), key=lambda each: each["id"]
    )


class TestDocumentStore(
    BaseTests,
    DeleteAllTest,
    DeleteByFilterTest,
    CountDocumentsByFilterTest,
    CountDocumentsAsyncTest,
    CountDocumentsByFilterAsyncTest,
    DeleteAllAsyncTest,
    DeleteByFilterAsyncTest,
    DeleteDocumentsAsyncTest,
    FilterDocumentsAsyncTest,
    WriteDocumentsAsyncTest,
):
    @pytest.fixture
    def document_store(self, url: str) -> Iterator[PerwattDocumentStore]:
        store = store_of(url)
        yield store
        store.delete_all_documents()
        store.close()

    @pytest.fixture
    def filterable_docs(self) -> list[Document]:
        return [
            replace(each, embedding=each.embedding and each.embedding[:DIMENSIONS]) for each in create_filterable_docs()
        ]

    @staticmethod
    def assert_documents_are_equal(received: list[Document], expected: list[Document]) -> None:
        assert in_order(received) == in_order(expected)

    def test_write_documents(self, document_store: PerwattDocumentStore) -> None:
        """What the store does without a policy: it overwrites."""
        for content in ("one", "two"):
            assert document_store.write_documents([Document(id="1", content=content)]) == 1
        self.assert_documents_are_equal(document_store.filter_documents(), [Document(id="1", content="two")])

    @staticmethod
    async def test_write_documents_async(document_store: PerwattDocumentStore) -> None:
        for content in ("one", "two"):
            assert await document_store.write_documents_async([Document(id="1", content=content)]) == 1
        assert [each.content for each in await document_store.filter_documents_async()] == ["two"]


@pytest.fixture
def store(url: str) -> Iterator[PerwattDocumentStore]:
    opened = store_of(url)
    yield opened
    opened.delete_all_documents()
    opened.close()


def test_a_pipeline_finds_by_text_by_embedding_and_by_words_and_can_be_written_down(
    store: PerwattDocumentStore,
) -> None:
    store.write_documents(
        [
            Document(id="rye", content="Bake rye bread in a hot oven with steam.", meta={"year": 2020}),
            Document(id="mine", content="A mine is dug for coal and ore.", meta={"year": 2021}),
        ]
    )
    pipeline = Pipeline()
    pipeline.add_component("text", PerwattTextRetriever(store, top_k=1))
    pipeline.add_component("words", PerwattTextRetriever(store, search={"mode": "lexical"}))
    pipeline.add_component("embedding", PerwattEmbeddingRetriever(store, top_k=1))
    (vector,) = store.documents.client.embed(["digging for ore"])
    asked = {
        "text": {"query": "how is a loaf made"},
        "words": {"query": "coal"},
        "embedding": {"query_embedding": vector},
    }
    read = Pipeline.loads(pipeline.dumps(), allowed_modules=[TRUSTED])
    for each in (pipeline, read):
        found = each.run(asked)
        (loaf,) = found["text"]["documents"]
        assert (loaf.id, loaf.content, loaf.meta) == ("rye", "Bake rye bread in a hot oven with steam.", {"year": 2020})
        assert 0 < loaf.score < 1
        assert [[hit.id for hit in found[name]["documents"]] for name in ("words", "embedding")] == [["mine"], ["mine"]]
    for name in asked:
        read.get_component(name).document_store.close()
    before = {"field": "meta.year", "operator": "<", "value": 2021}
    only = PerwattTextRetriever(store, filters=before).run("digging for ore")["documents"]
    assert [each.id for each in only] == ["rye"]


def test_a_key_goes_into_a_file_by_the_name_of_its_variable_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERWATT_KEY", "pw_secret")
    store = PerwattDocumentStore("http://127.0.0.1:1", timeout_s=3)
    written = store.to_dict()
    assert "pw_secret" not in str(written)
    again = PerwattDocumentStore.from_dict(written)
    assert again.to_dict() == written
    with pytest.raises(ValueError, match="token-based"):
        PerwattDocumentStore(key=Secret.from_token("pw_secret")).to_dict()


def test_what_would_be_lost_is_refused(store: PerwattDocumentStore) -> None:
    with pytest.raises(ValueError, match="a blob or a sparse embedding"):
        store.write_documents([Document(content="text", blob=ByteStream(b"bytes"))])
    with pytest.raises(ValueError, match="choose another text_key"):
        store.write_documents([Document(content="text", meta={"text": "of somebody"})])
    with pytest.raises(ValueError, match=r"1 of 2 documents were refused, as wordy: .*year"):
        store.write_documents([Document(content="fine"), Document(id="wordy", content="text", meta={"year": "many"})])
    assert store.count_documents() == 1
    with pytest.raises(FilterError, match="not declared filterable"):
        store.filter_documents({"field": "meta.nowhere", "operator": "==", "value": 1})


def test_of_many_documents_only_those_that_are_new_are_written(store: PerwattDocumentStore) -> None:
    documents = [Document(id=f"{number}", content=f"Document {number}.") for number in range(7)]
    store.write_documents(documents[2:5])
    assert store.write_documents([*documents, documents[0]], policy=DuplicatePolicy.SKIP) == 4
    assert store.count_documents() == 7
