"""Shards of an index in servers of their own, and a router in front of them."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from serving import Server

from index.shards.sealed import ShardedGeneration


class Router(Server):
    """`perwatt route` in a process of its own. shards: the addresses of each one's replicas."""

    def __init__(
        self, shards: Sequence[Sequence[str]], *arguments: str, log_file: Path, env: dict[str, str] | None = None
    ) -> None:
        named = [word for replicas in shards for word in ("--shard", ",".join(replicas))]
        super().__init__(log_file.parent, *arguments, log_file=log_file, words=("route", *named), env=env)


@contextmanager
def serving_shards(
    sharded: ShardedGeneration, folder: Path, *arguments: str, replicas: int = 1
) -> Iterator[list[list[Server]]]:
    """A server for each shard and replica; they start together."""
    folder.mkdir(exist_ok=True)
    with ExitStack() as ended, ThreadPoolExecutor(16) as threads:
        starting = [
            [
                threads.submit(Server, root.folder, *arguments, log_file=folder / f"{root.folder.name}-{replica}.log")
                for replica in range(replicas)
            ]
            for root in sharded.roots
        ]
        for each in starting:
            for future in each:
                ended.callback(future.result().end, signal.SIGINT)
        yield [[future.result() for future in each] for each in starting]


@contextmanager
def routing(
    servers: Sequence[Sequence[Server]], folder: Path, *arguments: str, env: dict[str, str] | None = None
) -> Iterator[Router]:
    named = [[server.url for server in each] for each in servers]
    router = Router(named, *arguments, log_file=folder / "router.log", env=env)
    try:
        yield router
    finally:
        router.end(signal.SIGINT)
