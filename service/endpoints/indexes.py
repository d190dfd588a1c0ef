"""The indexes that are served: the manifest of each generation, shortened to what a caller needs."""

from __future__ import annotations

import hashlib
import platform
import uuid
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from index import kernels
from service.access.caller import Caller, caller_of
from service.errors import LoadError
from service.query.app_state import Here, here_of, state_of
from service.query.searched import LoadedIndex
from service.query.served_generation import ServedGeneration
from service.routing.whole import RoutedIndex
from service.wire import filters
from service.wire.answer.indexes import (
    Bytes,
    FilterableField,
    IndexInfo,
    IndexList,
    Kernels,
    Model,
    SearchByDefault,
    ShardPlace,
)
from service.wire.encoding import encode
from service.wire.problems import Problem


async def list_indexes(request: Request) -> Response:
    state = state_of(request)
    caller = caller_of(request.scope)
    visible = [loaded for name, loaded in state.registry.all().items() if caller.may_see(name)]
    listed = [await _info(request, loaded, caller) for loaded in visible]
    return _response(IndexList(listed))


async def get_index(request: Request) -> Response:
    state = state_of(request)
    loaded = state.registry.loaded(request.path_params["index"])
    return info_response(await _info(request, loaded, caller_of(request.scope)))


def described(here: Here, name: str, loaded: ServedGeneration, caller: Caller) -> Response:
    return info_response(info_of(here, name, loaded, caller))


def info_response(info: IndexInfo) -> Response:
    return _response(info, etag=info.etag)


async def _info(request: Request, loaded: LoadedIndex, caller: Caller) -> IndexInfo:
    if isinstance(loaded, RoutedIndex):
        return await loaded.info(caller)
    here = here_of(request)
    return info_of(here, loaded.name, here.registry.loaded(loaded.name), caller)


def info_of(here: Here, name: str, loaded: ServedGeneration, caller: Caller) -> IndexInfo:
    manifest = loaded.generation.manifest
    try:
        alias = here.registry.alias(name)
        previous, etag = alias.previous, alias.etag
    except LoadError:  # the alias file was damaged or removed since; what is loaded is not affected
        previous, etag = None, None
    model = manifest["model"]
    info: dict[str, Any] = kernels.info()
    return IndexInfo(
        alias=name,
        generation=loaded.id,
        previous=previous,
        etag=etag,
        count=visible(loaded, caller),
        dim=loaded.dim,
        metric=loaded.generation.metric,
        family=loaded.generation.family,
        default_effort=loaded.generation.default_effort,
        target_effort=loaded.generation.target_effort,
        model=model and Model(model["id"], model["name"], model["precision"], model["max_length"]),
        recall=loaded.recall,
        modes=loaded.modes,
        # Values and their numbers are those of all documents, so a caller whose key hides some is told the types alone.
        filterable=loaded.filterable
        if caller.filter is None
        else {name: FilterableField(type_) for name, type_ in manifest["filterable"].items()},
        bytes=Bytes(
            sum(file["bytes"] for file in manifest["files"].values()),
            manifest["memory_bytes"],
            -(-manifest["memory_bytes"] // manifest["count"]),
        ),
        kernels=Kernels(info["arch"], info["isa"], info["units"]),
        built_at=manifest["created_at"],
        refused=here.registry.failures.get(name),
        written_since=loaded.written_since if caller.filter is None else 0,
        unweighed=loaded.unweighed if caller.filter is None else 0,
        id_type=manifest["id_type"],
        shard=None if "shard" not in manifest else msgspec.convert(manifest["shard"], ShardPlace),
        folder=_mark_of(loaded.generation.path.parent),
        search=None
        if loaded.default_search is None
        else msgspec.convert(loaded.default_search.as_dict(), SearchByDefault),
        beside=here.registry.beside(name),
        originals=loaded.generation.originals,
    )


def _mark_of(folder: Path) -> str | None:
    """The same for all who have this folder, and for no other: of this machine as long as it runs. None where there
    is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    boot = Path("/proc/sys/kernel/random/boot_id")
    machine = boot.read_text().strip() if boot.exists() else f"{platform.node()} {uuid.getnode()}"
    return hashlib.sha256(f"{machine} {status.st_dev} {status.st_ino}".encode()).hexdigest()[:16]


def visible(loaded: ServedGeneration, caller: Caller) -> int:
    """Documents that the caller's key lets through; none where its filter cannot be applied."""
    imposed = filters.of_key(caller.filter)
    if imposed is None:
        return loaded.count
    try:
        return filters.survivors(loaded.view().rows, imposed).count
    except Problem:
        return 0


def _response(content: IndexInfo | IndexList, etag: str | None = None) -> Response:
    headers = {"cache-control": "no-store"}
    if etag is not None:
        headers["etag"] = f'"{etag}"'
    return Response(encode(content), headers=headers, media_type="application/json")
