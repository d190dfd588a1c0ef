"""From settings to a process that has everything loaded and checked: of indexes that lie here, or of a router."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from embed.encoders.query_cache import CacheMemory, QueryCache
from index import Root
from index.shards.sealed import ShardedIndex
from service.access.auth import Auth
from service.access.keyring import Keyring
from service.access.ledger import Ledger
from service.access.quota import Quotas
from service.errors import SettingsError
from service.http.api.routed import ROUTED
from service.http.api.routes import OPERATIONS
from service.http.api.starlette_routes import entries
from service.http.fast_path import FastPath
from service.http.watch import Watch
from service.processes import native_threads
from service.processes.process import ServerProcess
from service.processes.registry_metrics import RegistryCollector, RoutedCollector
from service.processes.worker import Shared
from service.query.admission import Admission
from service.query.app_state import AppState, Here
from service.query.batcher import Batcher
from service.query.index_registry import IndexRegistry
from service.query.loading import encoder_for
from service.query.searched import LoadedIndexes
from service.query.writes.root_writer import Writing
from service.query.writes.weighing import Weighing
from service.rebuilds.plan import read_plan
from service.rebuilds.starting import Rebuilds
from service.rerank.loading import reranking_of
from service.routing.loading import routed
from service.settings import Settings, is_loopback
from service.telemetry import tracing
from service.telemetry.metrics import Metrics
from service.telemetry.spending import Spending

if TYPE_CHECKING:
    from embed import Encoder
    from service.telemetry.spans import Spans


def load(settings: Settings, shared: Shared | None = None) -> ServerProcess:
    """Everything the service needs, loaded and checked; raises ServiceError, or EmbedError for the model.

    Args:
        shared: with the other workers.
    """
    metrics = _metrics(shared)
    state = _router(settings, shared, metrics) if settings.shards else _here(settings, shared, metrics)
    auth = auth_of(settings, Quotas() if shared is None else shared.quotas, state.ledger)
    spans = tracing.spans_of(settings.otel, os.environ)
    fast_path = _fast_path_of(state, auth, settings.queue, spans)
    watch = Watch(
        settings.connections, settings.client_s, metrics.timed_out.inc, None if shared is None else shared.closed
    )
    metrics.look_with(
        lambda: {
            "working": state.admission.working,
            "waiting": state.admission.waiting + fast_path.waiting,
            "connections": len(watch.open),
            "closed_logs": 0 if state.here is None else state.here.writing.failed,
        }
    )
    return ServerProcess(settings, state, auth, fast_path, watch, spans=spans, shared=shared)


def _metrics(shared: Shared | None) -> Metrics:
    operations = [operation.name for operation in OPERATIONS]
    return Metrics(operations) if shared is None else Metrics(operations, shared.metrics, shared.worker)


def _router(settings: Settings, shared: Shared | None, metrics: Metrics) -> AppState:
    """Of indexes whose shards lie elsewhere."""
    indexes, encoder = routed(settings, metrics)
    metrics.watch(lambda may_see: RoutedCollector(indexes, may_see))
    return _state(settings, shared, metrics, indexes, encoder, None)


def _state(
    settings: Settings,
    shared: Shared | None,
    metrics: Metrics,
    registry: LoadedIndexes,
    encoder: Encoder | None,
    here: Here | None,
) -> AppState:
    batcher = None if encoder is None else _batcher_of(settings, encoder, metrics, shared)
    admission = Admission(settings.concurrency, settings.queue, metrics.shed.inc)
    if shared is None:
        used = spent = None
        worker = 0
    else:
        used, spent, worker = shared.used, shared.spent, shared.worker
    spending = Spending(
        spent,
        worker,
        cpu_hour_usd=settings.cpu_hour_usd,
        cpu_watts=settings.cpu_watts,
        here=here is not None,
    )
    ledger = Ledger(used, worker)
    return AppState(
        registry,
        encoder,
        batcher,
        admission,
        metrics,
        settings.timeout_s,
        here,
        ledger,
        spending,
        reranking_of(settings),
    )


def _here(settings: Settings, shared: Shared | None, metrics: Metrics) -> AppState:
    """Of indexes that lie under the root."""
    root = Root(settings.root)
    names = settings.names or tuple(root.names())
    for name in settings.names or (() if names else root.sharded()):
        _require_one_piece(root, name)
    if not names:
        raise SettingsError(
            f"There is no index under {settings.root}. Build one with `perwatt build VECTORS --index NAME "
            f"--root {settings.root}`, or name another folder with --root."
        )
    unknown = [name for name in names if name not in root.names()]
    if unknown:
        raise SettingsError(
            f"There is no index {unknown[0]!r} under {settings.root}; there are {', '.join(root.names()) or 'none'}."
        )
    encoder = encoder_for(settings, root, names)
    registry = IndexRegistry(root, names, encoder, settings.threads, settings.query_encoder)
    registry.load_all()
    metrics.watch(lambda may_see: RegistryCollector(registry, may_see))
    service = secrets.token_hex(8) if shared is None else shared.service
    writing = Writing(root, service, f"http://{settings.host}:{settings.port}")
    plan = read_plan(settings.rebuilds)
    rebuilds = Rebuilds(root, plan, native_threads.environment(plan.threads), settings.model)
    here = Here(registry, writing, rebuilds, Weighing(settings.threads))
    return _state(settings, shared, metrics, registry, encoder, here)


def _require_one_piece(root: Root, name: str) -> None:
    """Raises SettingsError for an index in shards, with what to do."""
    folder = root.shards_of(name)
    if folder is None or name in root.names():
        return
    roots = ShardedIndex(root.folder, name).generation().roots
    raise SettingsError(
        f"Index {name} under {root.folder} has {len(roots)} shards, and a server answers for one of them. Start one "
        f"for each, `perwatt serve --root {roots[0].folder} --port 8001` for the first, and ask them all at once with "
        f"`perwatt route --shard http://127.0.0.1:8001` and a --shard more for each other."
    )


def _batcher_of(settings: Settings, encoder: Encoder, metrics: Metrics, shared: Shared | None) -> Batcher:
    """With the cache of queries, if there is to be one."""
    cache = None
    if settings.query_cache_mib:
        memory = CacheMemory(settings.query_cache_mib << 20) if shared is None else shared.queries
        assert memory is not None  # whoever made `shared` had the same settings
        cache = QueryCache(memory, encoder.fingerprint.id, encoder.dim)
        metrics.watch_cache(lambda: cache.used_bytes)
    at_once = encoder.calls_at_once
    threads = 1 if at_once > 1 else settings.threads  # a thread that waits for another machine costs only its own time
    return Batcher(encoder, metrics.encode_batch.observe, threads, cache, metrics.count_cached, at_once)


def _fast_path_of(state: AppState, auth: Auth, queue: int, spans: Spans | None) -> FastPath:
    """The fast path; of a server that is traced, one that makes spans."""
    if spans is None:
        return FastPath(state, auth, queue)
    from service.http.traced import TracedFastPath

    return TracedFastPath(state, auth, queue, spans)


def auth_of(settings: Settings, quotas: Quotas, ledger: Ledger | None = None) -> Auth:
    """Raises KeysError when there is a file of keys and it cannot be used."""
    keyring = None if settings.keys is None else Keyring(settings.keys, quotas, ledger)
    return Auth(
        entries(ROUTED if settings.shards else OPERATIONS),
        keyring,
        settings.allow_hosts,
        own_names_only=is_loopback(settings.host),
    )
