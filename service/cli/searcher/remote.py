"""A running server, asked by the batch route."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from service.cli.searcher.contract import BATCH, MODES, Mode, Query, SearchOptions
from service.client import Client, ClientError, ProblemError, calls
from service.errors import RemoteError, SettingsError
from service.wire import limits
from service.wire.answer.search import BatchItem, Hit

REMOTE_TIMEOUT_S = 120


class _Reply(msgspec.Struct):
    """What is read of an index's description and of the answer to a batch."""

    generation: str
    modes: tuple[Mode, ...] = MODES[:1]
    results: list[BatchItem] = []


class RemoteSearcher:
    """A running server, by the batch route.

    Args:
        key: for one that asks for it.
    """

    def __init__(self, url: str, name: str, key: str | None = None) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise SettingsError(f"--url {url}: expected an address like http://127.0.0.1:8000.")
        self._url = url
        self._name = name
        self._client = Client(url, key=key, timeout_s=REMOTE_TIMEOUT_S)
        described = self._call(calls.index(name))
        self.generation, self.modes = described.generation, described.modes

    def close(self) -> None:
        self._client.close()

    def ask(self, queries: Sequence[Query], how: SearchOptions) -> list[list[Hit]]:
        how = how._replace(k=min(how.k, limits.K if how.rerank is None else how.rerank))
        expect = {"generation": self.generation}  # no mixture of two when it is switched
        answers: list[list[Hit]] = []
        for start in range(0, len(queries), BATCH):
            bodies = [how.request(query) | {"expect": expect} for query in queries[start : start + BATCH]]
            for result in self._call(calls.search_batch(self._name, bodies, timeout_ms=limits.TIMEOUT_MS)).results:
                if result.error is not None:
                    raise RemoteError(f"The server answered: {result.error['detail']}")
                answers.append(result.hits)
        return answers

    def absent(self, documents: set[str]) -> set[str]:
        """One call per document; `perwatt embed` names the first chunk of a document `ID#0`."""
        return {each for each in documents if not self._has(each) and not self._has(f"{each}#0")}

    def _has(self, id_: str) -> bool:
        try:
            self._client.call(calls.document(self._name, id_, fields=()))
        except ProblemError as problem:
            if problem.code in ("document-not-found", "invalid-value"):  # the second of what no id can be
                return False
            raise RemoteError(f"The server answered: {problem.detail}") from problem
        except ClientError as error:
            raise self._silent(error) from error
        return True

    def _silent(self, error: ClientError) -> RemoteError:
        return RemoteError(f"No answer from {self._url} ({error}); is `perwatt serve` running there?")

    def _call(self, call: calls.Call[Any]) -> _Reply:
        try:
            reply: _Reply = self._client.call(msgspec.structs.replace(call, gives=_Reply))
        except ProblemError as problem:
            raise RemoteError(f"The server answered: {problem.detail}") from problem
        except ClientError as error:
            raise self._silent(error) from error
        return reply
