"""Switching the generation that an alias points to, and switching back.

Both load and check the generation before anything points to it; a refusal changes neither disk nor memory and says why.
`If-Match` takes the etag of `GET /v1/indexes/{index}`, so that of two people who looked at the same state only one can
change it.

These calls change the server; who may make them is stated in the table of routes.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from starlette.requests import Request
from starlette.responses import Response

from service.access.caller import caller_of
from service.endpoints.indexes import described
from service.errors import LoadError
from service.query.app_state import here_of
from service.wire import limits, requests
from service.wire.limits import read_body
from service.wire.problems import Problem

_STRONG = re.compile(r'(?<!W/)"([^"]*)"')


async def switch(request: Request) -> Response:
    """`PUT`: the alias points to the generation of the body, once that one has been found fit."""
    body = await read_body(request.scope, request.receive, limits.BODY_BYTES)
    asked = limits.decode(requests.SWITCH, body)
    return await _switch(request, asked.generation, _etags(request), "/generation")


async def rollback(request: Request) -> Response:
    """`POST`: the alias points to the generation it pointed to before."""
    name = request.path_params["alias"]
    alias = here_of(request).registry.alias(name)
    if alias.previous is None:
        raise Problem(
            "precondition-failed",
            f"Alias {name} has no previous generation to go back to; it is at {alias.generation}.",
        )
    etags = _etags(request)
    return await _switch(request, alias.previous, [alias.etag] if etags is None else etags, None)


async def _switch(request: Request, generation: str, etags: Collection[str] | None, pointer: str | None) -> Response:
    here = here_of(request)
    name = request.path_params["alias"]
    here.registry.alias(name)  # index-not-found before anything else
    try:
        loaded = await here.registry.switch(name, generation, etags)
    except LoadError as error:
        current = here.registry.loaded(name).id
        raise Problem(
            error.code,
            f"{error} {name} stays at {current}.",
            pointer=pointer,
            generation=current,
        ) from error
    await here.tell_others(name)
    return described(here, name, loaded, caller_of(request.scope))


def _etags(request: Request) -> list[str] | None:
    """The etags of If-Match, None where any will do. A weak one never matches (RFC 9110, 13.1.1), so it is left out."""
    given = request.headers.get("if-match")
    if given is None or given.strip() == "*":
        return None
    return _STRONG.findall(given)
