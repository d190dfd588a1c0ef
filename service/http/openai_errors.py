"""OpenAI's `error` object, which its clients look for in an answer and show of it; without one, all that an application
developer sees is "Error code: 422".

It stands beside the members of a problem, in answers of the calls that are in OpenAI's shape, and where nobody can tell
what was called: a path that no route has, as when `/v1` is missing in a base URL, and a request without a key, which
must not tell one path from another.
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
