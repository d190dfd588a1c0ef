"""Text to vectors over HTTP, in OpenAI's shape, so that whatever speaks it can use the model that
is loaded anyway.

The model is the one the service was started with; a request may name it and may not choose it.
Nothing is ever loaded because a request asked for it.
"""

from __future__ import annotations

import binascii
import time

from starlette.requests import Request
from starlette.responses import Response

from service import answers, limits, requests
from service.answers import EmbeddingsAnswer, EmbeddingsUsage
from service.batcher import Vector
from service.caller import caller_of
from service.limits import read_body
from service.problems import Problem
from service.running import running_of
from service.search import deadline_of


async def embeddings(request: Request) -> Response:
    running = running_of(request)
    body = await read_body(request.scope, request.receive, limits.BODY_BYTES)
    start_s = time.perf_counter()
    asked = limits.decode(requests.EMBEDDINGS, body)
    encoder, batcher = running.encoder, running.batcher
    if encoder is None or batcher is None:
        raise Problem(
            "model-mismatch",
            "No model is loaded: every index here was built from bare vectors. Start the service with --model.",
        )
    fingerprint = encoder.fingerprint
    if asked.model not in (None, fingerprint.name, fingerprint.id):
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
    caller_of(request.scope).charge(len(texts) - 1)
    deadline = deadline_of(running, None, start_s)
    async with running.admission.place(deadline):
        encoded = await deadline.limit(batcher.encode_many(texts, asked.input_type))
        tokens = sum(one.tokens for one in encoded)
        form = _base64 if asked.encoding_format == "base64" else _floats
        content = answers.encode(
            EmbeddingsAnswer(
                [answers.Embedding(at, form(one.vector)) for at, one in enumerate(encoded)],
                fingerprint.name,
                EmbeddingsUsage(tokens, tokens),
            )
        )
    running.metrics.tokens.inc(tokens)
    running.metrics.cpu.inc(sum(one.cpu_s for one in encoded))
    return Response(content, media_type="application/json")


def _floats(vector: Vector) -> list[float]:
    floats: list[float] = vector.tolist()
    return floats


def _base64(vector: Vector) -> str:
    return binascii.b2a_base64(vector.astype("<f4", copy=False).tobytes(), newline=False).decode()
