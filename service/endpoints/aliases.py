"""Switching the generation that an alias points to, and switching back.

Both load and check the generation before anything points to it; a refusal changes neither disk nor memory and says why.
`If-Match` takes the etag of `GET /v1/indexes/{index}`, so that of two people who looked at the same state only one can
change it.

These calls change the server; who may make them is stated in the table of routes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from service.access.caller import caller_of
from service.endpoints.indexes import described, info_response
from service.errors import LoadError
from service.query.app_state import here_of, state_of
from service.query.served_generation import ServedGeneration
from service.routing import switching
from service.routing.indexes import RoutedIndexes
from service.wire import limits
from service.wire.limits import read_body
from service.wire.problems import Problem
from service.wire.request.generations import SWITCH

T = TypeVar("T")

_GOING_ON: set[asyncio.Task[Any]] = set()  # a loop keeps no task alive by itself
_STRONG = re.compile(r'(?<!W/)"([^"]*)"')


async def switch(request: Request) -> Response:
    """`PUT`: the alias points to the generation of the body, once that one has been found fit."""
    body = await read_body(request.scope, request.receive, limits.BODY_BYTES)
    asked = limits.decode(SWITCH, body)
    if (router := _router(request)) is not None:
        return await _switch_shards(request, router, asked.generation, asked.prepare)
    if asked.prepare:
        return await _prepare(request, asked.generation)
    return await _switch(request, asked.generation, _etags(request), "/generation")


async def rollback(request: Request) -> Response:
    """`POST`: the alias points to the generation it pointed to before."""
    name = request.path_params["alias"]
    if (router := _router(request)) is not None:
        return await _switch_shards(request, router, None)
    alias = here_of(request).registry.alias(name)
    if alias.previous is None:
        raise Problem(
            "precondition-failed",
            f"Alias {name} has no previous generation to go back to; it is at {alias.generation}.",
        )
    etags = _etags(request)
    return await _switch(request, alias.previous, [alias.etag] if etags is None else etags, None)


def _router(request: Request) -> RoutedIndexes | None:
    """Its indexes, where this is one."""
    registry = state_of(request).registry
    return registry if isinstance(registry, RoutedIndexes) else None


async def _switch_shards(
    request: Request, router: RoutedIndexes, generation: str | None, prepare: bool = False
) -> Response:
    """generation: None is the one before."""
    name, caller, etags = request.path_params["alias"], caller_of(request.scope), _etags(request)
    index = router.loaded(name)
    if prepare:
        raise Problem("invalid-value", "A router prepares every replica when it switches.", pointer="/prepare")
    if etags is not None and index.etag not in etags:
        raise Problem(
            "precondition-failed",
            f"Alias {name} is at {index.id} with etag {index.etag}, which is not that of If-Match: look and "
            "decide again.",
            generation=index.id,
            etag=index.etag,
        )
    before = (await index.info(caller)).previous
    if generation is None and before is None:
        raise Problem("precondition-failed", f"Alias {name} has no previous generation to go back to in every shard.")
    turned = await switching.switch(router, name, str(before) if generation is None else generation)
    return info_response(await turned.info(caller))


async def _to_its_end(doing: Coroutine[Any, Any, T]) -> T:
    """What it returns or raises; where the caller is gone before, it goes on: an alias that was written is followed."""
    task = asyncio.create_task(doing)
    _GOING_ON.add(task)
    task.add_done_callback(_ended)
    return await asyncio.shield(task)


def _ended(task: asyncio.Task[Any]) -> None:
    _GOING_ON.discard(task)
    if not task.cancelled():
        task.exception()  # nobody may be there any more to hear of it


async def _prepare(request: Request, generation: str) -> Response:
    here, name = here_of(request), request.path_params["alias"]
    here.registry.alias(name)

    async def prepare() -> None:
        await here.registry.prepare(name, generation)
        await here.tell_others(generation)

    try:
        await _to_its_end(prepare())
    except LoadError as error:
        raise Problem(error.code, f"{error}", pointer="/generation") from error
    return described(here, name, here.registry.loaded(name), caller_of(request.scope))


async def _switch(request: Request, generation: str, etags: Collection[str] | None, pointer: str | None) -> Response:
    here = here_of(request)
    name = request.path_params["alias"]
    here.registry.alias(name)  # index-not-found before anything else

    async def switch() -> ServedGeneration:
        loaded = await here.registry.switch(name, generation, etags)
        await here.tell_others(name)
        return loaded

    try:
        loaded = await _to_its_end(switch())
    except LoadError as error:
        current = here.registry.loaded(name).id
        raise Problem(
            error.code,
            f"{error} {name} stays at {current}.",
            pointer=pointer,
            generation=current,
        ) from error
    return described(here, name, loaded, caller_of(request.scope))


def _etags(request: Request) -> list[str] | None:
    """The etags of If-Match, None where any will do. A weak one never matches (RFC 9110, 13.1.1), so it is left out."""
    given = request.headers.get("if-match")
    if given is None or given.strip() == "*":
        return None
    return _STRONG.findall(given)
