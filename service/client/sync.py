"""The client that blocks. One instance may be shared by threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx

from service.client import calls
from service.client.calls import Call
from service.client.methods import described, http_options
from service.client.problems import ClientError
from service.client.retries import Retries
from service.wire.answer.indexes import IndexInfo

P = ParamSpec("P")
T = TypeVar("T")


def _method(make: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client.call(make(*args, **kwargs))

    described(method, make)
    return method


class Client:
    """
    Args:
        url: of the server.
        key: `pw_…`, for a server that asks for one.
        timeout_s: of one try.
        options: of `httpx.Client`, which keeps the connections.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = 30.0,
        retries: Retries | None = None,
        **options: Any,
    ) -> None:
        self._http = httpx.Client(**http_options(url, key, timeout_s, options))
        self._retries = Retries() if retries is None else retries

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    search = _method(calls.search)
    search_batch = _method(calls.search_batch)
    search_indexes = _method(calls.search_indexes)
    facets = _method(calls.facets)
    document = _method(calls.document)
    put = _method(calls.put)
    delete = _method(calls.delete)
    start_rebuild = _method(calls.start_rebuild)
    rebuild = _method(calls.rebuild)
    rebuilds = _method(calls.rebuilds)
    cancel_rebuild = _method(calls.cancel_rebuild)
    index = _method(calls.index)
    recall = _method(calls.recall)
    version = _method(calls.version)
    usage = _method(calls.usage)
    switch = _method(calls.switch)
    rollback = _method(calls.rollback)

    def indexes(self) -> list[IndexInfo]:
        return (self.call(calls.indexes())).indexes

    def embed(self, texts: Sequence[str], *, kind: str = "document") -> list[list[float]]:
        """One vector a text, however many, by the model that the server has loaded.

        Args:
            kind: query or document.
        """
        vectors: list[list[float]] = []
        for part in calls.parts(texts):
            vectors += calls.vectors_of(self.call(calls.embeddings(part, kind=kind)))
        return vectors

    def ready(self) -> bool:
        """Whether requests should be sent there now; one look, without another try."""
        try:
            self.call(calls.ready(), Retries(times=0))
        except ClientError:
            return False
        return True

    def call(self, call: Call[T], retries: Retries | None = None) -> T:
        """Makes any call of `calls`, and makes it again where that helps.

        Args:
            retries: instead of the client's own.

        Raises:
            ProblemError: the server refused.
            UnreachableError: no answer came.
        """
        attempt = (self._retries if retries is None else retries).begin(call)
        while True:
            try:
                answer = self._http.request(call.method, call.path, content=call.content(), headers=call.headers)
            except httpx.TransportError as failed:
                wait_s = attempt.after_failure(self._http.base_url, failed)
            else:
                if answer.is_success:
                    return call.decode(answer.content)
                wait_s = attempt.after_refusal(answer)
            time.sleep(wait_s)
