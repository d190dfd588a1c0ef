"""Switching what an index serves, and switching back.

Both load and check the generation before anything points to it; a refusal leaves disk and memory as
they were and says why. `If-Match` takes the etag that `GET /v1/indexes/{index}` gives, so that of
two people who both looked at the same state only one gets to change it.

These calls change the server, and there are no keys yet; so they are taken from this machine only,
and never from a web page: a browser on this machine would otherwise carry them in for any site it
has open.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from service import limits, requests
from service.errors import LoadError
from service.indexes import described
from service.limits import read_body
from service.problems import Problem
from service.running import Running, running_of
from service.settings import is_loopback


async def switch(request: Request) -> Response:
    """`PUT`: the alias points to the generation of the body, once that one has been found fit."""
    from_here_only(request)
    running = running_of(request)
    body = await read_body(request.scope, request.receive, limits.BODY_BYTES)
    asked = limits.decode(requests.SWITCH, body)
    return await _switch(running, request, asked.generation)


async def rollback(request: Request) -> Response:
    """`POST`: the alias points to the generation it pointed to before."""
    from_here_only(request)
    running = running_of(request)
    name = request.path_params["alias"]
    alias = running.served.alias(name)
    if alias.previous is None:
        raise Problem(
            "precondition-failed",
            f"Alias {name} has no previous generation to go back to; it is at {alias.generation}.",
        )
    return await _switch(running, request, alias.previous, alias.etag)


def from_here_only(request: Request) -> None:
    """Raises Problem forbidden for a caller on another machine, or a page of another site in a
    browser on this one."""
    if request.client is None or not is_loopback(request.client.host):
        raise Problem(
            "forbidden",
            "This call changes what is served and is taken from the machine of the server only; run "
            "`perwatt switch` there and send the server SIGHUP.",
        )
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise Problem("forbidden", f"This call is not taken from pages of {origin}.")


async def _switch(running: Running, request: Request, generation: str, etag: str | None = None) -> Response:
    name = request.path_params["alias"]
    running.served.alias(name)  # index-not-found before anything else
    given = request.headers.get("if-match")
    if given is not None and given.strip() != "*":
        etag = given.strip().removeprefix("W/").strip('"')
    try:
        loaded = await running.served.switch(name, generation, etag)
    except LoadError as error:
        current = running.served.loaded(name).id
        raise Problem(
            error.code,
            f"{error} {name} stays at {current}.",
            pointer="/generation",
            generation=current,
        ) from error
    return described(running, name, loaded)
