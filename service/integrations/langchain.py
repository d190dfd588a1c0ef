"""An index as a vector store and as a retriever of LangChain's.

    store = PerwattVectorStore("http://127.0.0.1:8000", "docs", key="pw_…")  # or: with PerwattVectorStore(…) as store:
    store.add_texts(["Bake rye bread in a hot oven with steam."], [{"lang": "en"}])
    store.similarity_search("how is rye bread baked", k=3, filter={"field": "lang", "eq": "en"})

A document is a payload: its text under `text`, as `perwatt embed` writes it, and its metadata beside that. So an index
that was built from files is a store too. Texts are encoded by the server's own model unless `embedding` is given.

The asynchronous methods are LangChain's own, which run these in threads: one client serves any number of event loops.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict, Field

from service.integrations.documents import WRITTEN_AT_ONCE, IndexDocuments, parts


class PerwattVectorStore(VectorStore):
    """
    Args:
        url: of the server.
        index: its name there; `perwatt build` makes it.
        embedding: encodes documents and queries here. None leaves both to the server's model.
        key: `pw_…`, for a server that asks for one.
        text_key: the payload's field that is the document's text.
        options: of `Client`, as timeout_s and retries.
    """

    def __init__(
        self,
        url: str,
        index: str,
        embedding: Embeddings | None = None,
        *,
        key: str | None = None,
        text_key: str = "text",
        **options: Any,
    ) -> None:
        self._documents = IndexDocuments(url, index, key=key, text_key=text_key, **options)
        self._embedding = embedding
        self._metric: str | None = None

    def __enter__(self) -> PerwattVectorStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; no other call may follow."""
        self._documents.client.close()

    @property
    def embeddings(self) -> Embeddings | None:
        return self._embedding

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        url: str = "http://127.0.0.1:8000",
        index: str = "docs",
        **options: Any,
    ) -> PerwattVectorStore:
        store = cls(url, index, embedding, **options)
        try:
            store.add_texts(texts, metadatas, ids=ids)
        except BaseException:
            store.close()
            raise
        return store

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Writes documents; one with the id of another replaces it. They are on the server's disk when this returns.

        Args:
            metadatas: anything that is JSON, without the name that the text has in a payload.
            ids: a random one for each that is None.

        Raises:
            ValueError: numbers that do not match, or documents that the server refused; the others are written.
        """
        given = list(texts)
        found: Sequence[Mapping[str, Any]] = list(metadatas or [{}] * len(given))
        names = [str(uuid.uuid4()) if each is None else each for each in ids or [None] * len(given)]
        if not len(given) == len(found) == len(names):
            raise ValueError(f"There are {len(given)} texts, {len(found)} metadatas and {len(names)} ids, not as many.")
        rows = [
            {"id": name, "payload": self._documents.payload(text, metadata)}
            for name, text, metadata in zip(names, given, found, strict=True)
        ]
        self._documents.put(self._with_vectors(rows, given))
        return names

    def _with_vectors(self, rows: Sequence[dict[str, Any]], texts: list[str]) -> Iterator[dict[str, Any]]:
        """Encoded a part at a time, as they are sent."""
        for some in parts(zip(rows, texts, strict=True), WRITTEN_AT_ONCE):
            if self._embedding is not None:
                vectors = self._embedding.embed_documents([text for _, text in some])
                yield from ({**row, "vector": vector} for (row, _), vector in zip(some, vectors, strict=True))
            elif (
                self._documents.text_key != "text"
            ):  # else the server takes the payload's text and title, as embed does
                yield from ({**row, "text": text} for row, text in some)
            else:
                yield from (row for row, _ in some)

    def delete(
        self, ids: Sequence[str] | None = None, *, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> bool:
        """Deletes documents by ids or by a filter; one that is not there is no error.

        Raises:
            ValueError: neither was given. Deleting everything is not offered.
        """
        if (ids is None) == (filter is None):
            raise ValueError("delete takes ids, or a filter; one of the two.")
        self._documents.delete(ids or (), filter=filter)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents that are there, in the order of `ids`."""
        return [self._document(id, payload) for id, payload in self._documents.get(ids)]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """
        Args:
            kwargs: any other field of a search, as filter, mode, params and timeout_ms.
        """
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> list[tuple[Document, float]]:
        """A higher score is better, whatever the metric and the mode. For `kwargs` see `similarity_search`."""
        if self._embedding is None or kwargs.get("mode", "dense") != "dense":
            return self._search(text=query, k=k, **kwargs)
        return self._search(vector=self._embedding.embed_query(query), k=k, **kwargs)

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        return [document for document, _ in self._search(vector=embedding, k=k, **kwargs)]

    def _search(self, **asked: Any) -> list[tuple[Document, float]]:
        return [(self._document(hit.id, hit.payload), hit.score) for hit in self._documents.search(**asked).hits]

    def _document(self, id: str, payload: Mapping[str, Any]) -> Document:
        text, metadata = self._documents.parted(payload)
        return Document(id=id, page_content=text or "", metadata=metadata)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """LangChain's relevance, 0 to 1, of a cosine; the other metrics have no bounds to scale by."""
        if self._metric is None:
            self._metric = self._documents.client.index(self._documents.index).metric
        if self._metric != "cosine":
            raise ValueError(
                f"Relevance scores need the metric cosine; {self._documents.index!r} has {self._metric!r}. "
                "Use similarity_search_with_score."
            )
        return lambda cosine: min(max((1 + cosine) / 2, 0.0), 1.0)


class PerwattRetriever(BaseRetriever):
    """Searches an index by text, for chains that only read.

        PerwattRetriever(store=PerwattVectorStore(url, "docs"), k=5, search={"mode": "hybrid"})

    Args:
        k: hits; `invoke(query, k=…)` goes before it.
        search: other fields of a search, as filter, mode and params.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    store: PerwattVectorStore
    k: int = 4
    search: dict[str, Any] = Field(default_factory=dict)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return self.store.similarity_search(query, **{"k": self.k, **self.search, **kwargs})

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return await self.store.asimilarity_search(query, **{"k": self.k, **self.search, **kwargs})
