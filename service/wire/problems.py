"""Every failure a caller can see: RFC 9457 problem objects with a code from a closed list.

The list is closed so that a client can switch over it. The status follows from the code, with two exceptions: an
unknown path (404) and a method that a path does not take (405) are both `invalid-value`, because the path and the
method are the values that were invalid.

`type` is a URN and not a link: a problem must read the same from a server that has no public address.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec


class ProblemKind(NamedTuple):
    status: int
    title: str


KINDS: dict[str, ProblemKind] = {
    "bad-json": ProblemKind(400, "The body is not valid JSON"),
    "unknown-field": ProblemKind(422, "The request has a field that does not exist"),
    "invalid-value": ProblemKind(422, "A value in the request cannot be used"),
    "dimension-mismatch": ProblemKind(422, "The vector has the wrong number of dimensions"),
    "model-mismatch": ProblemKind(422, "That model is not the one that is loaded"),
    "filter-field-not-indexed": ProblemKind(422, "The filter names a field that was not declared"),
    "index-not-found": ProblemKind(404, "No such index is served"),
    "generation-gone": ProblemKind(410, "That generation is not served"),
    "document-not-found": ProblemKind(404, "No such document"),
    "rebuild-not-found": ProblemKind(404, "No such rebuild"),
    "rebuild-running": ProblemKind(409, "Another rebuild is running"),
    "model-not-found": ProblemKind(404, "No such model is loaded"),
    "unauthenticated": ProblemKind(401, "A key is needed"),
    "forbidden": ProblemKind(403, "This call is not allowed from here"),
    "body-too-large": ProblemKind(413, "The body is too large"),
    "unsupported-encoding": ProblemKind(415, "The body comes in a form that is not accepted"),
    "quota-exceeded": ProblemKind(429, "The quota of this key is used up"),
    "overloaded": ProblemKind(503, "The server has more work than it can do in time"),
    "not-ready": ProblemKind(503, "The server is not ready"),
    "encoder-unavailable": ProblemKind(503, "The model that runs elsewhere gives no vectors"),
    "deadline-exceeded": ProblemKind(504, "The answer was not ready in time"),
    "precondition-failed": ProblemKind(412, "A precondition of the request does not hold"),
    "insufficient-memory": ProblemKind(503, "There is not enough memory for this"),
    "internal": ProblemKind(500, "The server failed"),
}

RETRY_AFTER_S = (
    1  # for 429 and 503: both describe a state that passes, and a second is shorter than any caller's patience
)
NAME_CHARACTERS = 80  # of a misspelt field, or of a value, that are repeated to its author
REREAD_BYTES = 64 << 10  # a refused body up to this size is read once more, for the value that was at fault
MEDIA_TYPE = "application/problem+json"

# `- at `$.params.effort`` at the end of a msgspec message; a key of a mapping is written `[...]`,
# an element `[3]`.
_PLACE = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.(?P<field>[^.\[\]]+)|\[(?P<element>[^\]]+)\]")
_UNKNOWN = re.compile(r"unknown field `(?P<field>.*)`$", re.DOTALL)
# The one pattern in a request, and what it stands for.
NOT_BLANK = r"[^ \t\r\n]"
_PATTERNS = {f" matching regex {NOT_BLANK!r}": " of more than blanks"}


class Problem(Exception):  # noqa: N818 - the term of RFC 9457
    """A request that is answered with a problem object.

    Args:
        code: one of `KINDS`.
        detail: a full sentence for a person.
        pointer: JSON pointer (RFC 6901) to the value at fault.
        members: extension members for a program, as `expected` and `got`.
        status: only for 404 and 405 of paths.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int | None = None,
        title: str | None = None,
        pointer: str | None = None,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        kind = KINDS[code]
        self.code = code
        self.detail = detail
        self.status = kind.status if status is None else status
        self.title = kind.title if title is None else title
        self.pointer = pointer
        self.headers = dict(headers or {})
        self.members = members
        if self.status in (429, 503):
            self.headers.setdefault("retry-after", str(RETRY_AFTER_S))

    def as_dict(self, request_id: str | None = None) -> dict[str, Any]:
        problem: dict[str, Any] = {
            "type": f"urn:perwatt:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.pointer is not None:
            problem["pointer"] = self.pointer
        problem.update(self.members)
        if request_id is not None:
            problem["instance"] = f"urn:request:{request_id}"
        return problem

    def body(self, request_id: str | None = None) -> bytes:
        return msgspec.json.encode(self.as_dict(request_id))


def encoder_unavailable(what: str, why: str, retry_after_s: float) -> Problem:
    """Of a model that runs elsewhere. why: the end of the sentence, without an address."""
    return Problem(
        "encoder-unavailable",
        f"The {what} of this service {why}",
        headers={"retry-after": str(max(1, math.ceil(retry_after_s)))},
    )


def of_undecodable(error: Exception, body: bytes = b"", asked: Any = None) -> Problem:
    """The problem of a body that did not decode: not JSON (400), an unknown field or a wrong value
    (422). Its detail repeats the wrong value where `body` is given and short, and names the values there are where the
    struct `asked` has a few.

    msgspec names the place in its own notation (`$.params.effort`); it is translated to a JSON
    pointer. Nesting that exhausts the parser's stack is a RecursionError and counts as bad JSON, as
    does text that is not UTF-8.
    """
    if isinstance(error, RecursionError):
        return Problem("bad-json", "The body nests more deeply than any request here has a use for.")
    if isinstance(error, UnicodeDecodeError):
        return Problem("bad-json", f"The body is not UTF-8: {error}.")
    message = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return Problem("bad-json", f"{message}.")
    place = _PLACE.search(message)
    path = place["path"] if place else ""
    steps = [step["field"] or step["element"] for step in _STEP.finditer(path)]
    pointer = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
    text = message[: place.start()] if place else message
    unknown = _UNKNOWN.search(text)
    if unknown:
        field = unknown["field"][:NAME_CHARACTERS]
        escaped = field.replace("~", "~0").replace("/", "~1")
        where = f" in {pointer}" if pointer else ""
        return Problem(
            "unknown-field",
            f"There is no field {field!r}{where}; /openapi.json lists the fields there are.",
            pointer=f"{pointer}/{escaped}",
        )
    if text.startswith("Invalid enum value") and (values := _values(asked, steps)):
        text = f"Expected {values}"
    return Problem("invalid-value", _detail(text.replace("`", ""), pointer, _given(body, steps)), pointer=pointer)


def _values(asked: Any, steps: Sequence[str]) -> str:
    """Those that a field of the struct `asked` may have, where it is one of a few."""
    if asked is None or len(steps) != 1:
        return ""
    kind = next(field.type for field in msgspec.structs.fields(asked) if field.encode_name == steps[0])
    literals = [each for each in (kind, *get_args(kind)) if get_origin(each) is Literal]
    return " or ".join(msgspec.json.encode(value).decode() for each in literals for value in get_args(each))


def _detail(text: str, pointer: str, given: str) -> str:
    """What was given and what was expected, of msgspec's sentence about the second."""
    expected = text.removeprefix("Expected ")
    if expected == text:
        return f"{pointer}: {text}." if pointer else f"{text}."
    for pattern, meaning in _PATTERNS.items():
        expected = expected.replace(pattern, meaning)
    return f"{pointer or 'The body'}{f' is {given}' if given else ''}: expected {expected}."


def _given(body: bytes, steps: Sequence[str]) -> str:
    """The value at the end of `steps` as its author wrote it, cut; its length where it is long; "" where unknown."""
    if not body or len(body) > REREAD_BYTES:
        return ""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""  # what follows the wrong value is no JSON
    for step in steps:
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return ""
    shown = msgspec.json.encode(value).decode()
    if len(shown) <= NAME_CHARACTERS:
        return shown
    return f"{shown[:NAME_CHARACTERS]}…" + (f" of length {len(value):,}" if isinstance(value, str | list) else "")
