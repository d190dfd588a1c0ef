"""Text to vectors over HTTP, in OpenAI's shape, with the model that is loaded for searches.

The model is the one the service was started with. A request may name it but cannot choose another; nothing is ever
loaded because a request asks for it.

One request may hold thousands of texts, so they are encoded in windows. Between two windows the encoder serves others,
and each window's vectors are written at once instead of all of them at the end. The server's default time limit holds
for each window, not for the whole request.
"""

from __future__ import annotations

import binascii
import time
from typing import Any

from msgspec import MsgspecError, Raw
from starlette.requests import Request
from starlette.responses import Response

from service.access.caller import caller_of
from service.query.app_state import state_of
from service.query.batcher import WINDOW_TEXTS, Vector
from service.query.search import deadline_of
from service.wire import limits
from service.wire.answer.embeddings import Embedding, EmbeddingsAnswer, EmbeddingsUsage
from service.wire.encoding import encode
from service.wire.limits import read_body
from service.wire.problems import Problem
from service.wire.request.embeddings import EMBEDDINGS, TOKEN_INPUT, EmbeddingsRequest

TOKENS = (
    "The input is of numbers: tokens of OpenAI's tokenizer, which the model here does not read. Send texts; "
    "LangChain's OpenAIEmbeddings does with check_embedding_ctx_length=False."
)


async def embeddings(request: Request) -> Response:
    state = state_of(request)
    body = await read_body(request.scope, request.receive, limits.BATCH_BODY_BYTES)
    start_s = time.perf_counter()
    asked = _decode(body)
    encoder, batcher = state.encoder, state.batcher
    if encoder is None or batcher is None:
        raise Problem(
            "model-mismatch",
            "No model is loaded: every index here was built from bare vectors. Start the service with --model.",
        )
    fingerprint = encoder.fingerprint
    if asked.model is not None and asked.model not in fingerprint.names:
        raise Problem(
            "model-mismatch",
            f"The model here is {fingerprint.name} ({fingerprint.id}), the request names {asked.model!r}; "
            "leave model out, or ask a service that has the other one.",
            pointer="/model",
            expected=fingerprint.name,
            got=asked.model,
        )
    if asked.dimensions not in (None, encoder.dim):
        raise Problem(
            "dimension-mismatch",
            f"{fingerprint.name} has {encoder.dim} dimensions and cannot be asked for {asked.dimensions}.",
            pointer="/dimensions",
            expected=encoder.dim,
            got=asked.dimensions,
        )
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    form = _base64 if asked.encoding_format == "base64" else _floats
    caller = caller_of(request.scope)
    caller.charge(len(texts) - 1)
    deadline = deadline_of(state, asked.timeout_ms, start_s)
    data: list[Embedding] = []
    tokens = cached = 0
    async with state.admission.place(deadline):
        for first in range(0, len(texts), WINDOW_TEXTS):
            if first and asked.timeout_ms is None:
                deadline = deadline_of(state, None, time.perf_counter())
            window = texts[first : first + WINDOW_TEXTS]
            encoded = await deadline.limit(batcher.encode_many(window, asked.input_type))
            data += [Embedding(at, form(one.vector)) for at, one in enumerate(encoded, first)]
            spent = sum(one.tokens for one in encoded)
            tokens += spent
            cached += sum(one.cached for one in encoded)
            state.count(caller, tokens=spent, cpu_s=sum(one.cpu_s for one in encoded))
        content = encode(EmbeddingsAnswer(data, fingerprint.name, EmbeddingsUsage(tokens, tokens, cached)))
    return Response(content, media_type="application/json")


def _decode(body: bytes) -> EmbeddingsRequest:
    try:
        return limits.decode(EMBEDDINGS, body)
    except Problem as problem:
        if (problem.pointer or "").startswith("/input") and _of_tokens(body):
            raise Problem("invalid-value", TOKENS, pointer="/input") from None
        raise


def _of_tokens(body: bytes) -> bool:
    try:
        TOKEN_INPUT.decode(body)
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _floats(vector: Vector) -> Any:
    return Raw(encode(vector.tolist()))


def _base64(vector: Vector) -> Any:
    return binascii.b2a_base64(vector.astype("<f4", copy=False).tobytes(), newline=False).decode()
