"""One document by its id: the payload it was built with."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from service.access.caller import caller_of
from service.query.app_state import state_of
from service.query.search import deadline_of
from service.wire import limits
from service.wire.answer.documents import DocumentAnswer
from service.wire.encoding import encode
from service.wire.problems import Problem


async def document(request: Request) -> Response:
    """`?fields=title,url` projects the payload, as the field of a search does."""
    state = state_of(request)
    wanted = request.path_params["id"]
    asked = request.query_params.get("fields")
    fields = None if asked is None else [name for name in asked.split(",") if name]
    if fields is not None and len(fields) > limits.FIELDS:
        raise Problem(
            "invalid-value",
            f"{len(fields)} fields were asked for, at most {limits.FIELDS} are allowed.",
            pointer="/fields",
        )
    deadline = deadline_of(state, None, time.perf_counter())
    with state.registry.loaded(request.path_params["index"]) as loaded:
        view = await loaded.view_at(None, deadline)
        row = await view.document(wanted, caller_of(request.scope), deadline)
        if row is None:
            raise Problem("document-not-found", f"Generation {loaded.id} has no document {wanted!r}.")
        content = encode(
            DocumentAnswer(
                loaded.name,
                loaded.id,
                view.rows.external_id(row),
                view.payload(row, fields),
            )
        )
    return Response(content, media_type="application/json")
