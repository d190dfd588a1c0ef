"""A router, its shards, and the same index in one piece, in this process: all of each but the sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import Context
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import httpx
from hashing_encoder import HashingEncoder

from index import VectorsFolder, build_generation
from index.build.sharded import build_sharded
from index.whole_recall import measured
from service.access.auth import Auth
from service.access.caller import ANYONE
from service.http.app import create_app
from service.processes import loading as processes
from service.query.app_state import AppState
from service.routing import loading as routing
from service.routing import part
from service.routing.connection import Reply, Unanswered
from service.routing.replica import Ended, Replica, ReplicaCall, ShardRequest
from service.settings import Settings
from service.wire.problems import Problem

T = TypeVar("T")


class CheapEncoder(HashingEncoder):
    """Encodes a text alike whatever is encoded with it."""

    calls_at_once, backend = 1, "hashing"

    def __init__(self) -> None:
        super().__init__(batch_trace=0.0)


class AppClient:
    """Asks an application as this machine would."""

    def __init__(self, state: AppState, auth: Auth, runner: asyncio.Runner) -> None:
        self.state, self.auth, self._runner = state, auth, runner
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(state, auth)), base_url="http://127.0.0.1"
        )

    async def ask(self, method: str, path: str, **asked: Any) -> httpx.Response:
        return await self._client.request(method, path, **asked)

    def __call__(self, method: str, path: str, **asked: Any) -> httpx.Response:
        return self.run(self.ask(method, path, **asked))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def post(self, path: str, body: Any, **headers: str) -> Any:
        """The answer, which has to be one."""
        answer = self("POST", f"/v1/indexes/docs/{path}", json=body, headers=headers)
        assert answer.status_code == 200, (body, answer.text)
        return answer.json()


class HereReplica(Replica):
    """A server that is asked without a connection. `fails`: what it answers instead, or a function of the body that
    says so. `may_answer`: what it waits for before it does. `heard`: the header lines of each request, and `bodies`
    theirs."""

    def __init__(self, address: str, key: str | None, apps: Mapping[str, AppClient]) -> None:
        super().__init__(address, key)
        self._app = apps[self.address]
        self.fails: Reply | Unanswered | Callable[[bytes], Reply | Unanswered | None] | None = None
        self.asked: list[str] = []
        self.heard: list[str] = []
        self.bodies: list[bytes] = []
        self.may_answer: asyncio.Event | None = None

    def begin(self, request: ShardRequest, ended: Ended) -> ReplicaCall:
        asked = request.method, request.path, request.content, request.headers
        call = HereCall(self, request.content, ended, lambda: self.answer(*asked))
        self.outstanding += 1
        call.send()
        return call

    async def answer(self, method: str, path: str, content: bytes, headers: str) -> Reply | Unanswered:
        self.asked.append(f"{method} {path}")
        self.heard.append(headers)
        self.bodies.append(content)
        if self.may_answer is not None:
            await self.may_answer.wait()
        fails = self.fails(content) if callable(self.fails) else self.fails
        if fails is not None:
            return fails
        if path.endswith("/part"):  # most of all requests, and http costs more than they do
            index = path.split("/")[3]
            try:
                answered = await part.answer(self._app.state, ANYONE, index, content, time.perf_counter())
            except Problem as problem:
                return Reply(problem.status, problem.body())
            return Reply(200, answered.content)
        given = dict(line.split(": ", 1) for line in headers.split("\r\n") if line)
        answer = await self._app.ask(
            method, path, content=content, headers={"content-type": "application/json"} | given
        )
        return Reply(answer.status_code, answer.content)


class HereCall(ReplicaCall):
    def __init__(
        self, replica: Replica, request: bytes, ended: Ended, answer: Callable[[], Awaitable[Reply | Unanswered]]
    ) -> None:
        super().__init__(replica, request, ended)
        self._answer = answer

    async def _open(self) -> None:
        try:
            outcome = await self._answer()
        except Exception as error:  # or who waits for it would wait for ever
            outcome = Unanswered(repr(error))
        self._opening = None
        Context().run(self._end, outcome)  # as a connection calls back, which belongs to no request


class Rig:
    """one: the index in one piece; many: a router over its shards, of which `shards` are the servers and `replicas`
    what the router has of them."""

    def __init__(
        self, one: AppClient, many: AppClient, shards: list[AppClient], replicas: list[list[HereReplica]]
    ) -> None:
        self.one, self.many, self.shards, self.replicas = one, many, shards, replicas


@contextmanager
def in_process(
    vectors: Path,
    folder: Path,
    shards: int,
    replicas: int = 1,
    keys: Path | None = None,
    reranker: str | None = None,
    **build: Any,
) -> Iterator[Rig]:
    """
    Args:
        replicas: of each shard; they serve the same folder.
        keys: of the router.
        reranker: of the router, and of the index in one piece.
        build: settings of both indexes.
    """
    encoder = CheapEncoder()
    build_generation(VectorsFolder(vectors), root=folder / "one", name="docs", threads=1, **build)
    sharded = build_sharded(
        VectorsFolder(vectors), shards, root=folder / "many", name="docs", threads=1, measure=measured, **build
    )
    with ExitStack() as opened:
        opened.enter_context(mock.patch.object(processes, "encoder_for", return_value=encoder))
        opened.enter_context(mock.patch.object(routing, "encoder_of", return_value=encoder))
        apps: dict[str, AppClient] = {}

        def replica(address: str, key: str | None) -> HereReplica:
            return HereReplica(address, key, apps)

        opened.enter_context(mock.patch.object(routing, "Replica", replica))
        runner = opened.enter_context(asyncio.Runner())

        def served(settings: Settings) -> AppClient:
            process = processes.load(settings)

            async def close() -> None:
                process.close()

            opened.callback(lambda: runner.run(close()))
            return AppClient(process.state, process.auth, runner)

        named = [[f"http://shard-{number}-{each}" for each in range(replicas)] for number in range(shards)]
        for root, addresses in zip(sharded.roots, named, strict=True):
            for address in addresses:
                apps[address] = served(Settings(root=root.folder))
        many = served(Settings(shards=tuple(map(tuple, named)), keys=keys, reranker=reranker))
        one = served(Settings(root=folder / "one", reranker=reranker))
        routed = many.state.registry.shards  # type: ignore[attr-defined]  # those of a router
        yield Rig(one, many, [apps[each[0]] for each in named], [list(shard.replicas) for shard in routed])
