"""An index as a document store of Haystack's, and two retrievers for its pipelines.

    store = PerwattDocumentStore("http://127.0.0.1:8000", "docs")
    store.write_documents([Document(content="Bake rye bread in a hot oven with steam.", meta={"lang": "en"})])
    PerwattTextRetriever(store, top_k=3).run("how is rye bread baked")["documents"]

A document is a payload: its content under `text`, as `perwatt embed` writes it, and its meta beside that. One with an
embedding is stored with it; the text of any other is encoded by the server's model. Answers carry no vectors, so the
documents that come back have none either.

The asynchronous methods run these in threads: one client serves any number of event loops.
"""

import asyncio  # no `annotations` of the future here: Haystack reads the types of a component's inputs as they stand
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.errors import FilterError
from haystack.utils import Secret

from service.client import ProblemError
from service.integrations.documents import IndexDocuments

RANGES = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
IN_FILTER = "/filter"
KEY = "PERWATT_KEY"


class PerwattDocumentStore:
    """
    Args:
        url: of the server.
        index: its name there; `perwatt build` makes it.
        key: `pw_…`, for a server that asks for one.
        text_key: the payload's field that is the document's content.
        options: of `Client`, as timeout_s; all that is JSON can be written into a pipeline's file.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        index: str = "docs",
        *,
        key: Secret | None = Secret.from_env_var(KEY, strict=False),  # noqa: B008 - a name, which is read later
        text_key: str = "text",
        **options: Any,
    ) -> None:
        self._made_from = {"url": url, "index": index, "key": key, "text_key": text_key, **options}
        token = None if key is None else key.resolve_value()
        self.documents = IndexDocuments(url, index, key=token, text_key=text_key, **options)

    def close(self) -> None:
        """Closes the connections; no other call may follow."""
        self.documents.client.close()

    def to_dict(self) -> dict[str, Any]:
        return dict(default_to_dict(self, **self._made_from))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "PerwattDocumentStore":
        store: PerwattDocumentStore = default_from_dict(cls, data)
        return store

    def count_documents(self) -> int:
        return self.documents.count()

    def count_documents_by_filter(self, filters: dict[str, Any]) -> int:
        with _filter_errors():
            return self.documents.count(perwatt_filter(filters))

    def filter_documents(self, filters: dict[str, Any] | None = None) -> list[Document]:
        """
        Raises:
            FilterError: a filter that is none, or on a field that was not declared when the index was built.
            ValueError: it keeps more than 10,000 documents.
        """
        with _filter_errors():
            return [self.document(hit.id, hit.payload) for hit in self.documents.listed(perwatt_filter(filters))]

    def write_documents(self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """Writes documents; they are on the server's disk when this returns.

        Args:
            policy: NONE is OVERWRITE, which is one step. The other two look first, so another writer may come between.

        Raises:
            DuplicateDocumentError: a document is there, with FAIL; then none is written.
            ValueError: what cannot be stored, or documents that the server refused; the others are written.
        """
        if not isinstance(documents, list) or not all(isinstance(each, Document) for each in documents):
            raise ValueError("write_documents takes a list of Documents.")
        if policy in (DuplicatePolicy.FAIL, DuplicatePolicy.SKIP):
            seen = self.documents.among([each.id for each in documents])
            fresh = []
            for each in documents:
                if each.id not in seen:
                    fresh.append(each)
                elif policy == DuplicatePolicy.FAIL:
                    raise DuplicateDocumentError(f"There is a document {each.id!r} already.")
                seen.add(each.id)
            documents = fresh
        self.documents.put([self._row(each) for each in documents])
        return len(documents)

    def _row(self, document: Document) -> dict[str, Any]:
        if document.blob is not None or document.sparse_embedding is not None:
            raise ValueError(
                f"Document {document.id!r} has a blob or a sparse embedding, which perwatt does not store."
            )
        row: dict[str, Any] = {
            "id": document.id,
            "payload": self.documents.payload(document.content, document.meta),
        }
        if document.embedding is not None:
            row["vector"] = document.embedding
        elif self.documents.text_key != "text" and document.content is not None:
            row["text"] = document.content  # else the server takes the payload's text and title, as embed does
        return row

    def document(self, id: str, payload: Mapping[str, Any], score: float | None = None) -> Document:
        content, meta = self.documents.parted(payload)
        return Document(id=id, content=content, meta=meta, score=score)

    def delete_documents(self, document_ids: list[str]) -> None:
        self.documents.delete(document_ids)

    def delete_all_documents(self) -> None:
        self.documents.clear()

    def delete_by_filter(self, filters: dict[str, Any]) -> int:
        """How many were deleted; a filter of more than 10,000 is refused."""
        asked = perwatt_filter(filters)
        if asked is None:
            raise FilterError("delete_by_filter takes a filter; delete_all_documents deletes all.")
        with _filter_errors():
            return self.documents.delete(filter=asked)

    def retrieve(self, top_k: int, filters: dict[str, Any] | None = None, **asked: Any) -> list[Document]:
        """By a text or a vector, and any other field of a search, as mode and params; a higher score is better."""
        with _filter_errors():
            answer = self.documents.search(k=top_k, filter=perwatt_filter(filters), **asked)
        return [self.document(hit.id, hit.payload, hit.score) for hit in answer.hits]

    async def count_documents_async(self) -> int:
        return await asyncio.to_thread(self.count_documents)

    async def count_documents_by_filter_async(self, filters: dict[str, Any]) -> int:
        return await asyncio.to_thread(self.count_documents_by_filter, filters)

    async def filter_documents_async(self, filters: dict[str, Any] | None = None) -> list[Document]:
        return await asyncio.to_thread(self.filter_documents, filters)

    async def write_documents_async(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        return await asyncio.to_thread(self.write_documents, documents, policy)

    async def delete_documents_async(self, document_ids: list[str]) -> None:
        await asyncio.to_thread(self.delete_documents, document_ids)

    async def delete_all_documents_async(self) -> None:
        await asyncio.to_thread(self.delete_all_documents)

    async def delete_by_filter_async(self, filters: dict[str, Any]) -> int:
        return await asyncio.to_thread(self.delete_by_filter, filters)


class _Retriever:
    """What the two retrievers have in common.

    Args:
        filters: of every run that has none of its own.
        search: other fields of a search, as mode and params.
    """

    def __init__(
        self,
        document_store: PerwattDocumentStore,
        *,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        search: dict[str, Any] | None = None,
    ) -> None:
        self.document_store, self.filters, self.top_k, self.search = document_store, filters, top_k, search or {}

    def _found(self, filters: dict[str, Any] | None, top_k: int | None, **asked: Any) -> dict[str, list[Document]]:
        wanted = self.filters if filters is None else filters
        return {"documents": self.document_store.retrieve(top_k or self.top_k, wanted, **self.search, **asked)}


@component
class PerwattTextRetriever(_Retriever):
    """Finds documents by a text, which the server's model encodes; `search={"mode": "hybrid"}` by its words too."""

    @component.output_types(documents=list[Document])
    def run(self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None) -> dict[str, Any]:
        return self._found(filters, top_k, text=query)

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, Any]:
        return await asyncio.to_thread(self.run, query, filters, top_k)


@component
class PerwattEmbeddingRetriever(_Retriever):
    """Finds documents by an embedding that a component of the pipeline made."""

    @component.output_types(documents=list[Document])
    def run(
        self, query_embedding: list[float], filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, Any]:
        return self._found(filters, top_k, vector=query_embedding)

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query_embedding: list[float], filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, Any]:
        return await asyncio.to_thread(self.run, query_embedding, filters, top_k)


@contextmanager
def _filter_errors() -> Iterator[None]:
    """What the server says of a filter, raised as Haystack's error."""
    try:
        yield
    except ProblemError as problem:
        if (problem.pointer or "").startswith(IN_FILTER):
            raise FilterError(problem.detail) from problem
        raise


def perwatt_filter(filters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Haystack's filter as ours; None where there is none. Raises FilterError."""
    if not filters:
        return None
    if "field" in filters:
        return _comparison(filters)
    joined = {"AND": "and", "OR": "or", "NOT": "and"}.get(_member(filters, "operator"))
    if joined is None:
        raise FilterError(
            f"There is no operator {filters['operator']!r} that joins conditions; there are AND, OR, NOT."
        )
    conditions = {joined: [perwatt_filter(each) for each in _member(filters, "conditions")]}
    return {"not": conditions} if filters["operator"] == "NOT" else conditions


def _comparison(filters: Mapping[str, Any]) -> dict[str, Any]:
    field = str(filters["field"]).removeprefix("meta.")
    operator, value = _member(filters, "operator"), _member(filters, "value")
    if operator in ("==", "!="):
        same = {"field": field, "exists": False} if value is None else {"field": field, "eq": value}
        return same if operator == "==" else {"not": same}
    if operator in ("in", "not in"):
        if not isinstance(value, list):
            raise FilterError(f"{operator!r} takes a list of values, this is {value!r}.")
        among: dict[str, Any] = {"field": field, "in": [each for each in value if each is not None]}
        if None in value:
            among = {"or": [among, {"field": field, "exists": False}]}
        return among if operator == "in" else {"not": among}
    if operator not in RANGES:
        raise FilterError(f"There is no operator {operator!r}; there are ==, !=, in, not in, {', '.join(RANGES)}.")
    if value is None:
        return {"field": field, "in": []}  # nothing is more or less than nothing
    return {"field": field, RANGES[operator]: value}


def _member(filters: Mapping[str, Any], name: str) -> Any:
    if name not in filters:
        raise FilterError(f"{name!r} is missing in {dict(filters)}.")
    return filters[name]
