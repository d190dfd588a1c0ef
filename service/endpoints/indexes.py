"""What is served, described: the manifest of each generation, shortened to what a caller decides
by."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from index import kernels
from service.access.caller import Caller, caller_of
from service.errors import LoadError
from service.query.app_state import AppState, state_of
from service.query.served_generation import ServedGeneration
from service.wire import answers, filters
from service.wire.answers import FilterableField, Recall
from service.wire.problems import Problem


class Bytes(Struct, frozen=True):
    """files: all of the generation on disk. memory: needed to serve it."""

    files: int
    memory: int


class Model(Struct, frozen=True):
    id: str
    name: str
    precision: str
    max_length: int


class Kernels(Struct, frozen=True):
    arch: str
    isa: str
    units: list[str]


class IndexInfo(Struct, frozen=True):
    """count: of documents, those that the key hides left out. modes: of searches that it answers. filterable: the
    fields that filters may name.

    etag: of the alias on disk, for If-Match. refused: why the last reload kept the old
    generation, or null. model: null when the vectors came without one. previous: what a rollback
    would go to."""

    alias: str
    generation: str
    previous: str | None
    etag: str | None
    count: int
    dim: int
    metric: str
    family: str
    default_effort: int
    model: Model | None
    recall: Recall | None
    modes: list[str]
    filterable: dict[str, FilterableField]
    bytes: Bytes
    kernels: Kernels
    built_at: str
    refused: str | None


class IndexList(Struct, frozen=True):
    indexes: list[IndexInfo]


async def list_indexes(request: Request) -> Response:
    state = state_of(request)
    caller = caller_of(request.scope)
    visible = {name: loaded for name, loaded in state.registry.all().items() if caller.may_see(name)}
    listed = [info_of(state, name, loaded, caller) for name, loaded in visible.items()]
    return _response(IndexList(listed))


async def get_index(request: Request) -> Response:
    state = state_of(request)
    loaded = state.registry.loaded(request.path_params["index"])
    return described(state, state.registry.name_of(loaded), loaded, caller_of(request.scope))


def described(state: AppState, name: str, loaded: ServedGeneration, caller: Caller) -> Response:
    info = info_of(state, name, loaded, caller)
    return _response(info, etag=info.etag)


def info_of(state: AppState, name: str, loaded: ServedGeneration, caller: Caller) -> IndexInfo:
    manifest = loaded.generation.manifest
    try:
        alias = state.registry.alias(name)
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
        model=model and Model(model["id"], model["name"], model["precision"], model["max_length"]),
        recall=loaded.recall,
        modes=["dense"] if loaded.generation.lexical is None else ["dense", "lexical", "hybrid"],
        # Values and their numbers are those of all documents, so a caller whose key hides some is told the types alone.
        filterable=loaded.filterable
        if caller.filter is None
        else {name: FilterableField(type_) for name, type_ in manifest["filterable"].items()},
        bytes=Bytes(sum(file["bytes"] for file in manifest["files"].values()), manifest["memory_bytes"]),
        kernels=Kernels(info["arch"], info["isa"], info["units"]),
        built_at=manifest["created_at"],
        refused=state.registry.failures.get(name),
    )


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
    return Response(answers.encode(content), headers=headers, media_type="application/json")
