"""Texts to vectors, as OpenAI's clients ask for them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from service.wire import limits
from service.wire.request.fields import Name, Text, TimeoutMs


class EmbeddingsRequest(Struct, forbid_unknown_fields=True):
    """OpenAI's request for embeddings; user is ignored. Ours are input_type, for models that encode queries and
    documents differently, and timeout_ms, for all the texts; without it, each 16 of them have the server's."""

    input: Text | Annotated[list[Text], Meta(min_length=1, max_length=limits.EMBEDDINGS_INPUTS)]
    model: Name | None = None
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: int | None = None
    user: str | None = None
    input_type: Literal["query", "document"] = "document"
    timeout_ms: TimeoutMs | None = None


class TokenInput(Struct):
    """What OpenAI takes in place of texts: tokens of its own tokenizer."""

    input: Annotated[list[int | list[int]], Meta(min_length=1)]


EMBEDDINGS = msgspec.json.Decoder(EmbeddingsRequest)
TOKEN_INPUT = msgspec.json.Decoder(TokenInput)
