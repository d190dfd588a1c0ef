"""OpenAI's `error` object, which its clients look for in an answer and show to the developer.

Without it a developer sees only "Error code: 422". It is added to the problem object for calls in OpenAI's shape, and
where the call cannot be known: a path that no route has, as when `/v1` is missing in a base URL, and a request without
a key, whose answer must not tell one path from another.
"""

from __future__ import annotations

from typing import Any

from service.wire.problems import Problem

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def openai_error(problem: Problem) -> dict[str, Any]:
    kind = "server_error" if problem.status >= 500 else "invalid_request_error"
    return {
        "message": problem.detail,
        "type": TYPES.get(problem.status, kind),
        "param": _param(problem.pointer),
        "code": problem.code,
    }


def _param(pointer: str | None) -> str | None:
    """ "input[3]" of the JSON pointer "/input/3"; None of the whole body."""
    first, *rest = (pointer or "").split("/")[1:] or [""]
    return "".join([first, *(f"[{step}]" if step.isdigit() else f".{step}" for step in rest)]) or None
