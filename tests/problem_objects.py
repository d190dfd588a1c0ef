"""Problem objects, as every refusal has one."""

from __future__ import annotations

from typing import Any

import httpx

SEARCH = "/v1/indexes/docs/search"
BATCH = "/v1/indexes/docs/search/batch"
JSON = {"content-type": "application/json"}


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem of `answer`, which must be a complete and truthful one."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem = dict(answer.json())
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"urn:perwatt:problem:{code}"
    assert problem["instance"] == f"urn:request:{answer.headers['x-request-id']}"
    assert problem["title"]
    assert problem["detail"].endswith((".", "?"))
    return problem
