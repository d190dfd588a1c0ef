"""The client that blocks. One instance may be shared by threads."""

from __future__ import annotations

import time
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


class Client:
    """url: of the server. key: `pw_…`, for a server that asks for one. timeout_s: of one try. Further options go to
    `httpx.Client`, which keeps the connections."""

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
        self._http = httpx.Client(base_url=calls.address(url), timeout=timeout_s, headers=headers, **options)
        self._retries = Retries() if retries is None else retries

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def search(
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
        return self.call(calls.search(index, {"text": text, "vector": vector, "id": id, "k": k, **more}))

    def search_batch(self, index: str, queries: Sequence[Query], *, timeout_ms: int | None = None) -> ClientBatchAnswer:
        """Up to 256 queries, each a mapping with the fields of a search. One that failed has its `error` set."""
        return self.call(calls.search_batch(index, queries, timeout_ms))

    def document(self, index: str, id: str, *, fields: Sequence[str] | None = None) -> ClientDocument:
        return self.call(calls.document(index, id, fields))

    def put(self, index: str, documents: Sequence[Mapping[str, Any]]) -> Put:
        """Writes up to 1,000 documents, each a mapping with `id`, and `payload`, `text` or `vector`. They are on the
        disk when it returns; what could not be written is in `failed`."""
        return self.call(calls.put(index, documents))

    def delete(
        self,
        index: str,
        *,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
        dry_run: bool = False,
    ) -> Deleted:
        """Deletes documents by ids or by a filter; one that is not there is not counted."""
        return self.call(calls.delete(index, {"ids": ids, "filter": filter, "dry_run": dry_run}))

    def embed(self, texts: Sequence[str], *, kind: str = "document") -> list[list[float]]:
        """One vector a text, however many, by the model that the server has loaded. kind: query or document."""
        return [one.embedding for part in calls.parts(texts) for one in (self.call(calls.embeddings(part, kind))).data]

    def indexes(self) -> list[Index]:
        return (self.call(calls.indexes())).indexes

    def index(self, name: str) -> Index:
        return self.call(calls.get_index(name))

    def recall(self, index: str, *, queries: int = 200, k: int = 10, **more: Any) -> ClientRecall:
        """Measures what is served, which takes an admin key where there are keys. more: texts (instead of a number of
        queries), filter, params, timeout_ms."""
        return self.call(calls.recall(index, {"queries": queries, "k": k, **more}))

    def version(self) -> dict[str, Any]:
        """Versions, SIMD kernels, the model, and the limits that requests are held to."""
        return self.call(calls.version())

    def ready(self) -> bool:
        """Whether requests should be sent there now; one look, without another try."""
        try:
            self.call(calls.ready(), Retries(times=0))
        except ClientError:
            return False
        return True

    def switch(self, alias: str, generation: str, *, etag: str | None = None) -> Index:
        """etag: of the state that the decision was made on; another one is ProblemError precondition-failed."""
        return self.call(calls.switch(alias, generation, etag))

    def rollback(self, alias: str, *, etag: str | None = None) -> Index:
        return self.call(calls.rollback(alias, etag))

    def call(self, call: Call[T], retries: Retries | None = None) -> T:
        """Any call of `calls`, asked again where that helps; raises ProblemError or UnreachableError.
        retries: instead of the client's own."""
        attempt = (self._retries if retries is None else retries).begin()
        while True:
            status = retry_after = None
            error: ClientError
            try:
                answer = self._http.request(call.method, call.path, content=call.content(), headers=call.headers)
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
            time.sleep(wait_s)
