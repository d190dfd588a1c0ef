"""An index as a vector store of LlamaIndex's, and the server's model as its embedding model.

    store = PerwattNodeStore("http://127.0.0.1:8000", "docs", key="pw_…")
    index = VectorStoreIndex.from_vector_store(store, embed_model=PerwattEmbedding(store))
    index.insert(Document(text="Bake rye bread in a hot oven with steam.", metadata={"lang": "en"}))
    index.as_retriever(similarity_top_k=3).retrieve("how is rye bread baked")

A node is a payload: its text under `text`, as `perwatt embed` writes it, its metadata beside that, and what else
LlamaIndex must know of it under `_node_content`. An index that was built from files has none of the last, and its
documents are plain text nodes. Deleting by the id of a document needs `--filterable ref_doc_id:keyword`.

The asynchronous methods run these in threads: one client serves any number of event loops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, MetadataMode, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from service.integrations.documents import LISTED_AT_ONCE, IndexDocuments
from service.wire.answer.search import Hit

SOURCE = "ref_doc_id"
NODE = ("_node_content", "_node_type")
MODES = {
    VectorStoreQueryMode.DEFAULT: "dense",
    VectorStoreQueryMode.SPARSE: "lexical",
    VectorStoreQueryMode.TEXT_SEARCH: "lexical",
    VectorStoreQueryMode.HYBRID: "hybrid",
    VectorStoreQueryMode.SEMANTIC_HYBRID: "hybrid",
}
RANGES = {FilterOperator.GT: "gt", FilterOperator.GTE: "gte", FilterOperator.LT: "lt", FilterOperator.LTE: "lte"}


class PerwattNodeStore(BasePydanticVectorStore):
    """
    Args:
        url: of the server.
        index: its name there; `perwatt build` makes it.
        key: `pw_…`, for a server that asks for one.
        text_key: the payload's field that is a node's text.
        options: of `Client`, as timeout_s and retries.
    """

    stores_text: bool = True
    url: str
    index: str
    _documents: IndexDocuments = PrivateAttr()

    def __init__(self, url: str, index: str, *, key: str | None = None, text_key: str = "text", **options: Any) -> None:
        super().__init__(stores_text=True, url=url, index=index)
        self._documents = IndexDocuments(url, index, key=key, text_key=text_key, **options)

    @classmethod
    def class_name(cls) -> str:
        return "PerwattNodeStore"

    @property
    def client(self) -> Any:
        return self._documents.client

    def close(self) -> None:
        """Closes the connections; no other call may follow."""
        self._documents.client.close()

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Writes nodes with their embeddings; one with the id of another replaces it.

        Raises:
            ValueError: nodes without an embedding, or that the server refused; the others are written.
        """
        self._documents.put(
            [{"id": each.node_id, "payload": self._payload(each), "vector": each.get_embedding()} for each in nodes]
        )
        return [each.node_id for each in nodes]

    def _payload(self, node: BaseNode) -> dict[str, Any]:
        described = node_to_metadata_dict(node, remove_text=True)
        payload = self._documents.payload(node.get_content(metadata_mode=MetadataMode.NONE), node.metadata)
        payload |= {name: described[name] for name in NODE}
        return payload if node.ref_doc_id is None else {**payload, SOURCE: node.ref_doc_id}

    def _node(self, id: str, payload: dict[str, Any]) -> BaseNode:
        text, metadata = self._documents.parted(payload)
        if NODE[0] in metadata:
            return metadata_dict_to_node(metadata, text=text)
        return TextNode(id_=id, text=text or "", metadata=metadata)

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Those that are there, without their embeddings.

        Raises:
            ValueError: filters that keep more than 10,000.
        """
        if node_ids is not None and filters is None:
            return [self._node(id, payload) for id, payload in self._documents.get(node_ids)]
        wanted = None if node_ids is None else set(node_ids)
        hits = self._documents.listed(perwatt_filter(filters))
        return [self._node(hit.id, hit.payload) for hit in hits if wanted is None or hit.id in wanted]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Deletes the nodes of a document."""
        self._documents.delete(filter={"field": SOURCE, "eq": ref_doc_id})

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Deletes nodes by their ids, by filters, or those of these ids that filters keep.

        Raises:
            ValueError: neither was given; `clear` deletes all.
        """
        asked = perwatt_filter(filters)
        if node_ids is None and asked is None:
            raise ValueError("delete_nodes takes node_ids, filters or both; clear deletes all.")
        if node_ids is None or asked is None:
            self._documents.delete(node_ids or (), filter=asked)
        else:
            wanted = set(node_ids)
            self._documents.delete([hit.id for hit in self._documents.listed(asked) if hit.id in wanted])

    def clear(self) -> None:
        self._documents.clear()

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """A higher similarity is better, whatever the metric and the mode.

        Args:
            kwargs: any other field of a search, as params and timeout_ms.

        Raises:
            ValueError: a mode that needs vectors in the answer, or node_ids too far down to be reached.
        """
        mode = MODES.get(query.mode)
        if mode is None:
            raise ValueError(f"The mode {query.mode.value!r} needs vectors in answers; there are "
                             f"{', '.join(each.value for each in MODES)}.")  # fmt: skip
        asked: dict[str, Any] = {"mode": mode, "k": query.similarity_top_k}
        if mode == "dense" and query.query_embedding is not None:
            asked["vector"] = query.query_embedding
        else:
            asked["text"] = query.query_str
        if mode == "hybrid":
            asked["k"] = query.hybrid_top_k or query.similarity_top_k
            if query.alpha is not None:
                asked["params"] = {"weights": {"dense": query.alpha, "lexical": 1 - query.alpha}}
        asked["filter"] = perwatt_filter(query.filters)
        if query.doc_ids:
            of_these = {"field": SOURCE, "in": query.doc_ids}
            asked["filter"] = {"and": [of_these, asked["filter"]]} if asked["filter"] else of_these
        asked |= kwargs
        # A retriever says [] for all.
        hits = self._among(query.node_ids, asked) if query.node_ids else self._documents.search(**asked).hits
        return VectorStoreQueryResult(
            nodes=[self._node(hit.id, hit.payload) for hit in hits],
            similarities=[hit.score for hit in hits],
            ids=[hit.id for hit in hits],
        )

    def _among(self, node_ids: Sequence[str], asked: dict[str, Any]) -> list[Hit]:
        """The best of these nodes, looked for page by page: the server filters by fields, and an id is none."""
        wanted, hits, cursor = set(node_ids), list[Hit](), ""
        while len(hits) < min(len(wanted), asked["k"]):
            answer = self._documents.search(**{**asked, "k": LISTED_AT_ONCE, "cursor": cursor})
            hits += [hit for hit in answer.hits if hit.id in wanted]
            if answer.next_cursor is None:
                if answer.coverage.partial and len(hits) < asked["k"]:
                    raise ValueError("Not all node_ids are among the hits that the server leads to; add a filter.")
                break
            cursor = answer.next_cursor
        return hits[: asked["k"]]

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        await asyncio.to_thread(self.delete, ref_doc_id)

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        await asyncio.to_thread(self.delete_nodes, node_ids, filters)

    async def aclear(self) -> None:
        await asyncio.to_thread(self.clear)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        return await asyncio.to_thread(self.query, query, **kwargs)


class PerwattEmbedding(BaseEmbedding):
    """The model that a store's server has loaded, so that an application needs none of its own."""

    _store: PerwattNodeStore = PrivateAttr()

    def __init__(self, store: PerwattNodeStore, **options: Any) -> None:
        super().__init__(model_name=f"perwatt at {store.url}", **options)
        self._store = store

    @classmethod
    def class_name(cls) -> str:
        return "PerwattEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        (vector,) = self._store.client.embed([query], kind="query")
        return list(vector)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return list(self._store.client.embed(texts))

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)


def perwatt_filter(filters: MetadataFilters | None) -> dict[str, Any] | None:
    """LlamaIndex's filters as ours; None where there are none. Raises ValueError for TEXT_MATCH."""
    if filters is None or not filters.filters:
        return None
    conditions = [
        perwatt_filter(each) if isinstance(each, MetadataFilters) else _condition(each) for each in filters.filters
    ]
    if filters.condition == FilterCondition.NOT:
        return {"not": {"or": conditions}}
    return {"or" if filters.condition == FilterCondition.OR else "and": conditions}


def _condition(given: MetadataFilter) -> dict[str, Any]:
    field, operator, value = given.key, given.operator, given.value
    if operator in RANGES:
        return {"field": field, RANGES[operator]: value}
    if operator == FilterOperator.IS_EMPTY or value is None:
        return {"field": field, "exists": operator == FilterOperator.NE}
    if operator in (FilterOperator.EQ, FilterOperator.CONTAINS):
        return {"field": field, "eq": value}
    if operator == FilterOperator.NE:
        return {"not": {"field": field, "eq": value}}
    if operator in (FilterOperator.IN, FilterOperator.ANY):
        return {"field": field, "in": value}
    if operator == FilterOperator.NIN:
        return {"not": {"field": field, "in": value}}
    if operator == FilterOperator.ALL:
        return {"and": [{"field": field, "eq": each} for each in value]}
    raise ValueError(f"A filter cannot be {operator.value!r}; a query of mode text_search finds words in texts.")
