"""The table of operations as Starlette's routes, and as what `access/auth.py` enforces."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.access.auth import RouteEntry
from service.http.api.routes import OPERATIONS, Operation
from service.page.files import FILES, SearchPage


class _Route(Route):
    """One method of a path. Another is refused with all that the path takes, which several routes may have."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in (self.methods or ()):
            taken = {operation.method for operation in OPERATIONS if routed(operation.path) == self.path}
            allowed = sorted(taken | ({"HEAD"} if "GET" in taken else set()))
            raise HTTPException(405, headers={"allow": ", ".join(allowed)})
        await super().handle(scope, receive, send)


def routes(operations: Sequence[Operation] = OPERATIONS) -> list[Route]:
    """Hot ones first: the router compares paths in order."""
    page = SearchPage()
    return [
        *(_Route(routed(operation.path), operation.endpoint, methods=[operation.method]) for operation in operations),
        *(Route(path, page.page, methods=["GET"]) for path in FILES),
    ]


def entries(operations: Sequence[Operation] = OPERATIONS) -> list[RouteEntry]:
    """Every route as auth takes it."""
    return [
        *(
            RouteEntry(operation.method, routed(operation.path), operation.scope, operation.name)
            for operation in operations
        ),
        *(RouteEntry("GET", path, "open", "page") for path in FILES),
    ]


class Rest(Convertor[str]):
    """The rest of a path, whatever is in it: a document id may hold slashes, and line ends, which Starlette's `path`
    does not take."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("rest", Rest())


def routed(path: str) -> str:
    """As the router reads it: a document's id and a model's name take the rest of the path."""
    return path.replace("/documents/{id}", "/documents/{id:rest}").replace("{model}", "{model:rest}")
