"""What a router answers: searches, reads and writes, of which it asks its shards."""

from __future__ import annotations

from service.endpoints import aliases, documents, indexes, recall, routed_writes, searching, writes
from service.http.api.routes import OPERATIONS, Endpoint

_ROUTED_WRITES: dict[Endpoint, Endpoint] = {
    writes.put_documents: routed_writes.put_documents,
    writes.delete_document: routed_writes.delete_document,
    writes.delete_documents: routed_writes.delete_documents,
}
ROUTED = tuple(
    operation._replace(endpoint=_ROUTED_WRITES.get(operation.endpoint, operation.endpoint))
    for operation in OPERATIONS
    if operation.path.startswith(("/v1/embeddings", "/v1/models", "/v1/usage"))
    or not operation.path.startswith("/v1/")
    or operation.endpoint
    in (
        *(searching.search, searching.search_batch, searching.search_indexes, searching.facets),
        *(documents.document, indexes.list_indexes, indexes.get_index, aliases.switch, aliases.rollback),
        recall.recall,
        *_ROUTED_WRITES,
    )
)
