"""Refusing a search cheaply when the waiting line is full.

Under overload most requests are refused, on the core that should answer the others: at three times the peak there are
four refusals to two answers. So a refusal is decided from the head alone, its body is discarded as it comes, and the
answer is a template in bytes with an id filled in. There are two steps, each cheaper than the one before:

- A head that the fast path would take (`fast_path.py`) makes a `Refused` and no `FastRequest`; nothing of it is stored.
- Callers send the same heads again and again. A head that arrived whole, with its whole body, and was refused is
  remembered byte for byte. When the same bytes come again, at the boundary between two requests, they are refused
  without the parser: its result is known, and after a whole request its state is unchanged. This is only done where no
  key has to be checked, because a key may have been revoked since.

Where every request is logged or traced, none of this is done, and the fast path refuses as it answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.http import envelope
from service.telemetry import logs
from service.wire.problems import MEDIA_TYPE

if TYPE_CHECKING:
    from service.query.app_state import AppState

HEADS = 1024  # that are remembered: a caller has as many as its bodies have lengths
HEAD_BYTES = 1024  # of a head that is remembered; usual ones are shorter
STATUS = 503
_ID = "0" * 16  # as long as those that are made here


class Refused:
    """A request that will be refused when it has been read; to uvicorn's protocol it looks like the cycle of any
    other. given, trace: its x-request-id and traceparent."""

    __slots__ = (
        *("disconnected", "given", "keep_alive", "length", "message_event", "response_complete", "start_s"),
        "trace",
    )

    def __init__(self, heads: dict[bytes, bytes], keep_alive: bool, start_s: float) -> None:
        self.given = heads.get(b"x-request-id")
        self.trace = heads.get(b"traceparent")
        self.length = int(heads[b"content-length"])
        self.keep_alive = keep_alive
        self.start_s = start_s
        self.disconnected = False
        self.response_complete = False
        self.message_event = self  # uvicorn sets it when the connection is lost

    def set(self) -> None:
        """Nothing waits for it."""


LAST = Refused({b"content-length": b"0"}, True, 0.0)  # of a connection whose requests were all refused by their bytes
LAST.response_complete = True


class Refusals:
    """Belongs to one event loop.

    Args:
        keyless: no key has to be checked.
        traced: every request leaves a span.
    """

    def __init__(self, state: AppState, keyless: bool, traced: bool) -> None:
        self._state = state
        self._traced = traced
        self._remembers = not traced and keyless
        self._lengths: dict[bytes, int] = {}  # of the bodies, by head
        self._of: object = None  # what the template was made of
        self._made_of = (0, 0)
        self._template = b""
        self._own_length = 0

    @property
    def cheap(self) -> bool:
        """Whether a refused request is only counted, and neither logged nor traced."""
        return not self._traced and not logs.wanted()

    def knows(self, data: bytes) -> bool:
        """Whether this is one whole request whose head was refused before."""
        end = data.find(b"\r\n\r\n") + 4
        length = self._lengths.get(data[:end])
        return length is not None and len(data) == end + length and not logs.wanted()

    def remember(self, data: bytes, refused: Refused) -> None:
        """
        Args:
            data: all that has come since the request before, which was read as `refused` to its end and no further.
        """
        end = data.find(b"\r\n\r\n") + 4
        plain = refused.given is None and refused.trace is None and refused.keep_alive
        if self._remembers and plain and 4 <= end <= HEAD_BYTES and len(data) == end + refused.length:
            if len(self._lengths) >= HEADS:
                self._lengths.clear()
            self._lengths[data[:end]] = refused.length

    def answer(
        self, waiting: int, defaults: list[tuple[bytes, bytes]], refused: Refused | None, spent_s: float
    ) -> bytes:
        """The whole answer, counted.

        Args:
            defaults: headers that all answers have.
            refused: None where the head is remembered.
        """
        state = self._state
        made_of = (waiting, state.admission.retry_after_s())
        if self._of is not defaults or made_of != self._made_of:
            self._of, self._made_of = defaults, made_of
            self._make(defaults, *made_of)
        state.metrics.count_refused(spent_s)
        if refused is None:
            own = envelope.request_id(None)
            return self._template % (own, b"", self._own_length, own)
        request_id = envelope.request_id(refused.given)
        trace, more = refused.trace, b""
        if trace is not None and envelope.TRACEPARENT.fullmatch(trace):
            more = b"traceparent: %b\r\n" % trace
        if not refused.keep_alive:
            more += b"connection: close\r\n"
        return self._template % (request_id, more, self._own_length - len(_ID) + len(request_id), request_id)

    def _make(self, defaults: list[tuple[bytes, bytes]], waiting: int, retry_after_s: int) -> None:
        problem = self._state.admission.problem(waiting, retry_after_s)
        body = problem.body(_ID)
        before, after = body.replace(b"%", b"%%").split(_ID.encode())
        lines = b"".join(b"%b: %b\r\n" % header for header in defaults)
        own = "".join(f"{name}: {value}\r\n" for name, value in problem.headers.items())
        head = b"HTTP/1.1 503 Service Unavailable\r\n%bcontent-type: %b\r\n%bx-content-type-options: nosniff\r\n" % (
            lines,
            MEDIA_TYPE.encode(),
            own.encode("latin-1"),
        )
        self._own_length = len(body)
        self._template = b"%bx-request-id: %%b\r\n%%bcontent-length: %%d\r\n\r\n%b%%b%b" % (
            head.replace(b"%", b"%%"),
            before,
            after,
        )
