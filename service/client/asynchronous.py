"""The client for asyncio. One instance belongs to one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import httpx

from service.client import calls
from service.client.answers import Answer, ClientBatchAnswer, ClientDocument, ClientRecall, Deleted, Index, Put
from service.client.calls import Call, Query, Vector
from service.client.problems import ClientError, UnreachableError, problem_of
from service.client.retries import Retries

T = TypeVar("T")


class AsyncClient:
    """url: of the server. key: `pw_…`, for a server that asks for one. timeout_s: of one try. Further options go to
    `httpx.AsyncClient`, which keeps the connections."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = 30.0,
        retries: Retries | None = None,
        **options: Any,
    ) -> None:
        headers = {"content-type": "application/json"}
        if key is not None:
            headers["authorization"] = calls.authorization(key)
        self._http = httpx.AsyncClient(base_url=calls.address(url), timeout=timeout_s, headers=headers, **options)
        self._retries = Retries() if retries is None else retries

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def search(
        self,
        index: str,
        *,
        text: str | None = None,
        vector: Vector | None = None,
        id: str | None = None,
        k: int = 10,
        **more: Any,
    ) -> Answer:
        """Exactly one of text, vector (numbers, or a NumPy vector) and id. more: any other field of a search, as
        filter, fields, mode, params, timeout_ms and expect."""
        return await self.call(calls.search(index, {"text": text, "vector": vector, "id": id, "k": k, **more}))

    async def search_batch(
        self, index: str, queries: Sequence[Query], *, timeout_ms: int | None = None
    ) -> ClientBatchAnswer:
        """Up to 256 queries, each a mapping with the fields of a search. One that failed has its `error` set."""
        return await self.call(calls.search_batch(index, queries, timeout_ms))

    async def document(self, index: str, id: str, *, fields: Sequence[str] | None = None) -> ClientDocument:
        return await self.call(calls.document(index, id, fields))

    async def put(self, index: str, documents: Sequence[Mapping[str, Any]]) -> Put:
        """Writes up to 1,000 documents, each a mapping with `id`, and `payload`, `text` or `vector`. They are on the
        disk when it returns; what could not be written is in `failed`."""
        return await self.call(calls.put(index, documents))

    async def delete(
        self,
        index: str,
        *,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
        dry_run: bool = False,
    ) -> Deleted:
        """Deletes documents by ids or by a filter; one that is not there is not counted."""
        return await self.call(calls.delete(index, {"ids": ids, "filter": filter, "dry_run": dry_run}))

    async def embed(self, texts: Sequence[str], *, kind: str = "document") -> list[list[float]]:
        """One vector a text, however many, by the model that the server has loaded. kind: query or document."""
        return [
            one.embedding for part in calls.parts(texts) for one in (await self.call(calls.embeddings(part, kind))).data
        ]

    async def indexes(self) -> list[Index]:
        return (await self.call(calls.indexes())).indexes

    async def index(self, name: str) -> Index:
        return await self.call(calls.get_index(name))

    async def recall(self, index: str, *, queries: int = 200, k: int = 10, **more: Any) -> ClientRecall:
        """Measures what is served, which takes an admin key where there are keys. more: texts (instead of a number of
        queries), filter, params, timeout_ms."""
        return await self.call(calls.recall(index, {"queries": queries, "k": k, **more}))

    async def version(self) -> dict[str, Any]:
        """Versions, SIMD kernels, the model, and the limits that requests are held to."""
        return await self.call(calls.version())

    async def ready(self) -> bool:
        """Whether requests should be sent there now; one look, without another try."""
        try:
            await self.call(calls.ready(), Retries(times=0))
        except ClientError:
            return False
        return True

    async def switch(self, alias: str, generation: str, *, etag: str | None = None) -> Index:
        """etag: of the state that the decision was made on; another one is ProblemError precondition-failed."""
        return await self.call(calls.switch(alias, generation, etag))

    async def rollback(self, alias: str, *, etag: str | None = None) -> Index:
        return await self.call(calls.rollback(alias, etag))

    async def call(self, call: Call[T], retries: Retries | None = None) -> T:
        """Any call of `calls`, asked again where that helps; raises ProblemError or UnreachableError.
        retries: instead of the client's own."""
        attempt = (self._retries if retries is None else retries).begin()
        while True:
            status = retry_after = None
            error: ClientError
            try:
                answer = await self._http.request(call.method, call.path, content=call.content(), headers=call.headers)
            except httpx.TransportError as failed:
                error = UnreachableError(f"{self._http.base_url} did not answer: {failed or type(failed).__name__}.")
                if call.changes and not isinstance(failed, httpx.ConnectError):
                    raise error from failed  # it may have been done
            else:
                if answer.is_success:
                    return call.decode(answer.content)
                status, retry_after = answer.status_code, answer.headers.get("retry-after")
                error = problem_of(status, answer.content, answer.headers.get("x-request-id"))
            wait_s = attempt.wait_s(status, retry_after, call.changes)
            if wait_s is None:
                raise error
            await asyncio.sleep(wait_s)
