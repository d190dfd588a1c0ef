"""`Idempotency-Key`: a request that is sent again with its key is done once, and answered as the first time."""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec
from starlette.requests import Request

from index.changes.repeats import KeyedRequest
from service.access.caller import Caller
from service.query.app_state import Here
from service.wire import limits
from service.wire.answer.documents import DeleteAnswer, PutAnswer
from service.wire.encoding import encode
from service.wire.problems import Problem

AnswerT = TypeVar("AnswerT", PutAnswer, DeleteAnswer)


def key_of(request: Request) -> str | None:
    """Raises Problem for a key that is empty or too long."""
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= limits.KEY_CHARACTERS:
        raise Problem(
            "invalid-value", f"Idempotency-Key has {len(key)} characters; expected 1 to {limits.KEY_CHARACTERS}."
        )
    return key


def keyed(request: Request, caller: Caller, body: bytes) -> KeyedRequest | None:
    """What is remembered of a request with a key: whose it is and what it asks, hashed. None without a key.

    A router sends a part of a request, and says in `Idempotency-Digest` what the whole of it is.
    """
    key = key_of(request)
    if key is None:
        return None
    whole = request.headers.get("idempotency-digest", "")
    asked = f"{request.method} {request.url.path}\0{whole}".encode() + body
    return KeyedRequest(hashlib.sha256(f"{caller.name or ''}\0{key}".encode()).digest(), hashlib.sha256(asked).digest())


async def answered_before(here: Here, index: str, request: KeyedRequest | None, kind: type[AnswerT]) -> AnswerT | None:
    """The answer that the request got before. Raises Problem where its key came with another request."""
    before = None if request is None else await here.writing.answered(index, request)
    return (
        None
        if before is None
        else msgspec.structs.replace(msgspec.json.decode(before.answer, type=kind), seq=before.seq)
    )


def with_answer(request: KeyedRequest | None, answer: PutAnswer | DeleteAnswer) -> KeyedRequest | None:
    """The request with what it will be answered but for the seq, which it gets when it is written."""
    return None if request is None else msgspec.structs.replace(request, answer=encode(answer))
