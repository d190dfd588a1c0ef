"""What `POST /v1/embeddings` answers for, in the shape in which OpenAI lists its models: the one that is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from service.query.app_state import state_of
from service.wire.encoding import encode
from service.wire.problems import Problem

if TYPE_CHECKING:
    from embed import Fingerprint


class ListedModel(Struct, frozen=True):
    """
    Args:
        id: what answers call it.
        created: 0, as its files do not say.
        names: all that a request may call it.
        max_tokens: of a text; the rest is cut.
    """

    id: str
    created: int
    owned_by: str
    names: list[str]
    dimensions: int
    max_tokens: int
    object: str = "model"


class ModelList(Struct, frozen=True):
    data: list[ListedModel]
    object: str = "list"


async def list_models(request: Request) -> Response:
    encoder = state_of(request).encoder
    listed = [] if encoder is None else [_model(encoder.fingerprint)]
    return Response(encode(ModelList(listed)), media_type="application/json")


async def get_model(request: Request) -> Response:
    encoder = state_of(request).encoder
    wanted = request.path_params["model"]
    if encoder is None or wanted not in encoder.fingerprint.names:
        there = "none is loaded" if encoder is None else f"the one that is loaded is {encoder.fingerprint.name}"
        raise Problem("model-not-found", f"There is no model {wanted!r} here; {there}.")
    return Response(encode(_model(encoder.fingerprint)), media_type="application/json")


def _model(fingerprint: Fingerprint) -> ListedModel:
    owners = [name.partition("/")[0] for name in fingerprint.names if "/" in name]
    return ListedModel(
        fingerprint.name,
        0,
        owners[0] if owners else "local",
        list(fingerprint.names),
        fingerprint.dim,
        fingerprint.max_length,
    )
