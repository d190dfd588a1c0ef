"""One server elsewhere over HTTP: kept connections, a bound on every wait, and asking again when that helps.

Asked again is what was not reached, broke off, took too long, or was answered with a status that passes (429, 5xx). The
wait doubles with every try, or is what `Retry-After` says; that holds for every thread, since a limit of requests is
one for all. A run that embeds is patient for minutes, a service, whose callers wait, for a second try.

The key comes from the environment and goes into one header. Redirects are not followed, as they could carry it away.
"""

from __future__ import annotations

import functools
import logging
import os
import random
import ssl
import threading
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec

from embed.errors import EncoderError, ModelError

KEY_VARIABLE = "PERWATT_ENCODER_KEY"
CONNECT_S, ATTEMPT_S = 5.0, 60.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 30.0
ANSWER_BYTES = 256 << 20
QUOTED_CHARACTERS = 200
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 529})

log = logging.getLogger("perwatt.service.encoder")


class Patience(NamedTuple):
    """With a server that does not answer.

    Args:
        total_s: of a call with all its tries.
        tries: of a call.
    """

    total_s: float
    tries: int


OF_A_RUN = Patience(300.0, 1000)


class RemoteAnswer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    content: bytes


@functools.cache
def _no_certificates() -> ssl.SSLContext:
    """Nobody shows one over plain HTTP, and reading this machine's takes 20 ms of a start. It trusts nobody."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Endpoint:
    """Safe to use from several threads. To be closed, which also ends every wait.

    Args:
        address: Of the server, http or https.
        at_once: Connections.
        variable: Of the environment, with the key.

    Raises:
        ModelError: The address is none, or carries what may be a secret.
    """

    def __init__(self, address: str, at_once: int, patience: Patience, variable: str = KEY_VARIABLE) -> None:
        self.address = _checked(address)
        self._patience, self._variable = patience, variable
        self._key = os.environ.get(variable, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise ModelError(f"{variable} holds no key: it has characters that no header can carry.")
        self._client = httpx.Client(
            verify=_no_certificates() if self.address.startswith("http:") else True,
            headers={"authorization": f"Bearer {self._key}"} if self._key else {},
            limits=httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once, keepalive_expiry=60.0),
            follow_redirects=False,
        )
        self._closing = threading.Event()
        self._not_before_s = 0.0
        self._failing = False

    def get(self, url: str) -> RemoteAnswer:
        """Any answer but one that passes. Raises EncoderError when there is none in time."""
        return self._ask("GET", url, None)

    def post(self, url: str, body: Any, *, quote: bool = False) -> RemoteAnswer:
        """The answer 200 to `body` as JSON.

        Args:
            quote: Whether an error may repeat what the server says; it may hold the texts that were sent.

        Raises:
            RefusedError: Another status that does not pass.
            EncoderError: No answer in time.
        """
        answer = self._ask("POST", url, msgspec.json.encode(body))
        if answer.status != 200:
            raise RefusedError(self.address, answer.status, self._refusal(answer, quote))
        return answer

    def failed(self, why: str, retry_after_s: float = 1.0) -> EncoderError:
        return EncoderError(self.address, why, retry_after_s)

    def close(self) -> None:
        self._closing.set()
        self._client.close()

    def _ask(self, method: str, url: str, content: bytes | None) -> RemoteAnswer:
        end_s = time.monotonic() + self._patience.total_s
        wait_s, tries, why = self._not_before_s - time.monotonic(), 0, "asked for a pause"
        while True:
            if tries >= self._patience.tries or (wait_s > 0 and time.monotonic() + wait_s >= end_s):
                self._note(why)
                times = "once" if tries == 1 else f"{tries} times"
                raise self.failed(f"gave no answer: it {why}; it was asked {times}.", wait_s)
            if wait_s > 0 and self._closing.wait(wait_s):
                raise self.failed("is no longer asked: the run ends.")
            tries += 1
            wait_s = min(FIRST_WAIT_S * 2.0 ** (tries - 1), LONGEST_WAIT_S) * (1 + random.random() / 4)
            try:
                answer = self._once(method, url, content, min(ATTEMPT_S, max(0.05, end_s - time.monotonic())))
            except httpx.TimeoutException:
                why = "took too long"
            except httpx.RequestError as error:
                why = f"cannot be reached ({str(error)[:QUOTED_CHARACTERS] or type(error).__name__})"
            except RuntimeError:  # the client was closed under the call
                raise self.failed("is no longer asked: the run ends.") from None
            else:
                if answer.status not in PASSING:
                    self._note("")
                    return answer
                why = f"answered with {answer.status}"
                wait_s = self._paused(answer, wait_s)

    def _once(self, method: str, url: str, content: bytes | None, within_s: float) -> RemoteAnswer:
        end_s = time.monotonic() + within_s
        timeout = httpx.Timeout(within_s, connect=min(CONNECT_S, within_s))
        headers = {} if content is None else {"content-type": "application/json"}
        with self._client.stream(method, url, content=content, headers=headers, timeout=timeout) as answer:
            parts, size = [], 0
            for part in answer.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > ANSWER_BYTES:
                    raise httpx.ReadError(f"more than {ANSWER_BYTES >> 20} MiB")
                if time.monotonic() > end_s:
                    raise httpx.ReadTimeout("the answer trickles")
            return RemoteAnswer(answer.status_code, answer.headers, b"".join(parts))

    def _paused(self, answer: RemoteAnswer, wait_s: float) -> float:
        """Seconds to wait after a status that passes; all threads wait as long where the server names a time."""
        named_s = retry_after_s(answer.headers)
        if named_s is None:
            return wait_s
        self._not_before_s = max(self._not_before_s, time.monotonic() + named_s)
        return named_s * (1 + random.random() / 10)

    def _refusal(self, answer: RemoteAnswer, quote: bool) -> str:
        if answer.status in (401, 403):
            held = "and it was refused" if self._key else "which is not set"
            return f"answers with {answer.status}: its key is read from the variable {self._variable}, {held}."
        said = _said(answer.content) if quote else ""
        if said and self._key:
            said = said.replace(self._key, "…")
        return f"answers with {answer.status}{f': {said}' if said else ''}."

    def _note(self, why: str) -> None:
        """A line in the log when it begins to fail, and one when that ends."""
        if why and not self._failing:
            log.warning("the encoder at %s %s", self.address, why)
        elif self._failing and not why:
            log.warning("the encoder at %s answers again", self.address)
        self._failing = bool(why)


class RefusedError(EncoderError):
    def __init__(self, address: str, status: int, why: str) -> None:
        super().__init__(address, why)
        self.status = status


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """What `Retry-After` names, in seconds or as a date; None where it names nothing."""
    given = headers.get("retry-after", "").strip()
    if given.replace(".", "", 1).isdigit():
        return float(given)
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except ValueError:
        return None


def _checked(address: str) -> str:
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        raise ModelError("The address of the encoder is none: expected one like http://127.0.0.1:8080.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ModelError(
            f"The address of the encoder at {parts.hostname} carries more than host, port and path. A key goes into "
            f"the variable {KEY_VARIABLE}, where no list of processes shows it."
        )
    return address.rstrip("/")


def _said(content: bytes) -> str:
    """The sentence in the body of an error, as servers write it."""
    try:
        found = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    for name in ("error", "detail", "message"):
        while isinstance(found, dict) and name in found:
            found = found[name]
    return " ".join(found.split())[:QUOTED_CHARACTERS] if isinstance(found, str) else ""
