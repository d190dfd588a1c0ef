"""What an operator decides when the service starts; nothing here can be changed by a request."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from service.errors import SettingsError

DEFAULT_ROOT = Path("indexes")
TRIES = 2  # of a server elsewhere, while a caller waits for it


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    Args:
        root: folder of indexes.
        names: which of them to serve, all when empty.
        encoder: address of a server that encodes in place of a model here; None where the model runs here.
        model, precision: handed to `embed.load_encoder`; None takes what the served generations were made with.
        threads: native threads of the encoder and of a search.
        insecure: bind to a public address without keys.
        query_cache_mib: memory for the vectors of queries seen before, for all workers together; 0: none are kept.
        concurrency: requests worked on at once.
        queue: how many more may wait for their turn, until their deadline; beyond it they are refused with 503.
        connections: open ones of a worker.
        workers: processes that answer, each with a core's worth of threads.
        client_s: what a caller may take for the head of a request, and for its body before a least rate is asked for.
        timeout_s: deadline of a request that names none.
        drain_s: how long after SIGTERM requests are still accepted while `/readyz` says 503, so that a load balancer
            can look away first.
        grace_s: how long requests may take to finish then.
        rebuilds: file of what may be rebuilt and when (`rebuilds/plan.py`).
        follow: turn to the generation that an alias on disk names, without being told to.
        query_encoder: what encodes texts to search for: "auto", a generation's fitted encoder where it has one, or
            "model", always the model.
        reranker: folder, name or address of the model that reads hits anew where a search asks for it; None: none does.
        otel: send spans off, None: when the environment asks for it (`telemetry/tracing.py`).
        shards: of a router, the addresses of each shard's replicas; empty for a server of indexes that lie here.
        shard_key: that a router has for its shards.
        wait_s: how long a router waits for them when it starts.
        cpu_hour_usd: what an hour of one CPU costs, None: usage is not told in dollars.
        cpu_watts: lowest and highest of a busy CPU, for joules where no counter can be read.
    """

    root: Path = DEFAULT_ROOT
    names: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    encoder: str | None = None
    model: str | None = None
    precision: str | None = None
    threads: int = 1
    insecure: bool = False
    keys: Path | None = None
    allow_hosts: tuple[str, ...] = ()
    query_cache_mib: int = 64
    concurrency: int = 64
    queue: int = 256
    connections: int = 20_000
    workers: int = 1
    client_s: float = 10.0
    timeout_s: float = 10.0
    drain_s: float = 2.0
    grace_s: float = 20.0
    rebuilds: Path | None = None
    follow: bool = False
    otel: bool | None = None
    query_encoder: str = "auto"
    reranker: str | None = None
    shards: tuple[tuple[str, ...], ...] = ()
    shard_key: str | None = None
    wait_s: float = 60.0
    cpu_hour_usd: float | None = None
    cpu_watts: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not self.insecure and self.keys is None and not is_loopback(self.host):
            raise SettingsError(
                f"--host {self.host} would let everyone on that network search this index. Make a key with `perwatt "
                "keys create NAME --keys FILE` and serve with --keys FILE, or bind to 127.0.0.1 and put a "
                "proxy that checks "
                "who asks in front, or add --insecure if the network is trusted."
            )
        if self.threads < 1:
            raise SettingsError(f"--threads {self.threads}: expected 1 or more.")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`; a name other than localhost is taken as public."""
    address = address_in(host)
    return host == "localhost" if address is None else address.is_loopback


def address_in(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that `host` is, None where it is a name; an IPv4 address written as IPv6 is returned as IPv4."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (address.version == 6 and address.ipv4_mapped) or address
