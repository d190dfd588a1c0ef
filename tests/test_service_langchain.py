"""The vector store and the retriever, over a real server that encodes the texts itself. LangChain's own suite of stores
runs in `make test-integrations`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import numpy as np
import pytest
from late import Late
from serving import Server

pytest_plugins = ["serving_fixtures", "writes_over_http_fixtures"]


perwatt, documents = Late("service.integrations.langchain"), Late("langchain_core.documents")
Opens = Callable[..., Any]


@pytest.fixture
def store_of() -> Iterator[Opens]:
    """Makes stores, and closes them after the test."""
    with ExitStack() as opened:
        yield lambda *given, **options: opened.enter_context(perwatt.PerwattVectorStore(*given, **options))


def test_an_index_built_from_files_is_a_store(server: Server, store_of: Opens) -> None:
    store = store_of(server.url, "docs")
    (found,) = store.similarity_search("volcano", k=1)
    assert (found.id, found.metadata["title"]) == ("a18", "Volcanic eruptions")
    assert found.page_content == "Magma rises, gas expands, and lava and ash leave the crater."
    assert "text" not in found.metadata
    filtered = store.similarity_search("volcano", filter={"field": "url", "eq": "https://example.org/kitchen/espresso"})
    assert [each.metadata["title"] for each in filtered] == ["Espresso"]
    ((_, best), (_, second)) = store.similarity_search_with_relevance_scores("volcano", k=2)
    assert 0 <= second < best <= 1


def test_documents_are_written_replaced_read_and_deleted(writable: Server, store_of: Opens) -> None:
    store = store_of(writable.url, "docs")
    rye, mine = store.add_documents(
        [
            documents.Document(page_content="Bake rye bread in a hot oven with steam.", metadata={"lang": "en"}),
            documents.Document(page_content="A mine is dug for coal and ore.", id="mine"),
        ]
    )
    assert mine == "mine"
    (found,) = store.similarity_search("how is rye bread baked", k=1)
    assert found == documents.Document(
        id=rye, page_content="Bake rye bread in a hot oven with steam.", metadata={"lang": "en"}
    )
    store.add_texts(["Wheat, this time."], ids=[rye])
    assert [each.page_content for each in store.get_by_ids([rye, "nobody", "mine"])] == [
        "Wheat, this time.",
        "A mine is dug for coal and ore.",
    ]
    assert store.delete([rye, "nobody"])
    assert asyncio.run(store.aget_by_ids([rye])) == []
    assert store.delete(filter={"field": "url", "eq": "https://example.org/kitchen/espresso"})
    assert "Espresso" not in {each.metadata.get("title") for each in store.similarity_search("espresso", k=30)}


def test_a_search_waits_for_the_last_write_of_its_store(writable: Server, store_of: Opens) -> None:
    """On whichever worker it arrives."""
    sent: list[httpx.Request] = []
    store = store_of(writable.url, "docs", event_hooks={"request": [sent.append]})
    store.similarity_search("volcano")
    store.add_texts(["Bake rye bread."], ids=["n1"])
    store.similarity_search("volcano")
    store.delete(["n1"])
    store.similarity_search("volcano")
    asked = [json.loads(each.content) for each in sent if each.url.path.endswith("/search")]
    assert [each.get("min_seq") for each in asked] == [None, 1, 2]


def test_documents_that_were_refused_are_named_and_the_others_written(writable: Server, store_of: Opens) -> None:
    store = store_of(writable.url, "docs")
    with pytest.raises(ValueError, match=r"1 of 2 documents were refused, as wordy: .*words"):
        store.add_texts(["one", "two"], [{"words": "many"}, {"words": 2}], ids=["wordy", "fine"])
    assert [each.id for each in store.get_by_ids(["wordy", "fine"])] == ["fine"]


def test_a_key_of_metadata_that_the_text_would_overwrite_is_refused_and_another_key_can_be_had(
    writable: Server, store_of: Opens
) -> None:
    with pytest.raises(ValueError, match="choose another text_key"):
        store_of(writable.url, "docs").add_texts(["Rye bread"], [{"text": "of somebody"}])
    store = store_of(writable.url, "docs", text_key="body")
    store.add_texts(["Bake rye bread in a hot oven."], [{"text": "of somebody"}], ids=["n1"])
    (found,) = store.similarity_search("baking rye bread", k=1)
    assert found == documents.Document(
        id="n1", page_content="Bake rye bread in a hot oven.", metadata={"text": "of somebody"}
    )


def test_what_cannot_be_done_is_said_before_anything_is(server: Server, store_of: Opens) -> None:
    store = store_of(server.url, "docs")
    for wrong in ({}, {"ids": ["a01"], "filter": {"field": "words", "gte": 1}}):
        with pytest.raises(ValueError, match="ids, or a filter; one of the two"):
            store.delete(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 texts, 1 metadatas and 2 ids"):
        store.add_texts(["one", "two"], [{}])
    with pytest.raises(ValueError, match="metric cosine; 'bare' has 'l2'"):
        store_of(server.url, "bare", Eighths()).similarity_search_with_relevance_scores("anything")


class Eighths:
    """Of the dimension of the index `bare`."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        vector: list[float] = np.random.default_rng(len(text)).standard_normal(8).tolist()
        return vector


def test_texts_are_encoded_here_where_a_store_was_given_an_encoder(writable: Server) -> None:
    where = {"url": writable.url, "index": "bare"}
    with perwatt.PerwattVectorStore.from_texts(["one", "three"], Eighths(), ids=["901", "903"], **where) as store:
        assert [each.id for each in store.similarity_search("three", k=1)] == ["903"]
        assert [each.id for each in store.similarity_search_by_vector(Eighths().embed_query("one"), k=1)] == ["901"]


def test_a_retriever_searches_in_any_mode_and_its_fields_can_be_overruled(server: Server, store_of: Opens) -> None:
    retriever = perwatt.PerwattRetriever(
        store=store_of(server.url, "docs"), k=3, search={"filter": {"field": "words", "gte": 9}}
    )
    assert len(retriever.invoke("volcano")) == 3
    assert [each.id for each in retriever.invoke("volcano", k=1)] == ["a18"]
    (word,) = asyncio.run(retriever.ainvoke("Bastille monarchy", k=1, mode="lexical"))
    assert word.metadata["title"] == "The French Revolution"
