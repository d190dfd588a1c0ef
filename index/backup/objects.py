"""A store of objects behind S3's API, or one of its kind, through the library obstore (Rust's object_store).

The library signs each request with the hash of its body, so that what arrives is what was sent, and repeats requests
that met a server's error, a broken connection or silence, after pauses that grow and vary. Its settings and credentials
come from the environment, as AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from index.backup.store import MissingError, too_large
from index.errors import BackupError

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig, RetryConfig

T = TypeVar("T")
TIMEOUT_S = 60.0  # for a request: a piece of 8 MiB at 140 kB/s
PATIENCE_S = 180.0  # for a request and its repetitions
_SECRET = re.compile("KEY|SECRET|TOKEN|PASSWORD|SAS|CREDENTIAL")
_STATUS, _CODE = re.compile(r"status code: (\d+ [\w ]+)"), re.compile("<Code>([^<]*)</Code>")
_WORDS = re.compile("<Message>([^<]*)</Message>")
_REFUSED = re.compile("status code: 40[13]|lacked the necessary privileges|lacked valid authentication")
_PAUSES_S = (0.1, 0.4, 1.6, 6.4)  # between requests whose answers broke off
_CHUNK = 1 << 20  # bytes, at least, of a content that is read in pieces
_LONGEST_REASON = 300  # characters of what the library says


class Objects:
    def __init__(self, address: str, timeout_s: float = TIMEOUT_S, patience_s: float = PATIENCE_S) -> None:
        """Opens no connection. Raises BackupError where obstore is not installed, or the environment's settings are of
        no use."""
        try:
            import obstore
            from obstore.store import from_url
        except ImportError:
            raise BackupError(
                f"{address} is not a folder, and for other stores a library is needed: pip install 'perwatt[stores]'"
            ) from None
        self.where, self._patience_s, self._library = address.rstrip("/"), patience_s, obstore
        endpoints = (value for name, value in os.environ.items() if name.upper().startswith("AWS_ENDPOINT"))
        client: ClientConfig = {
            "timeout": timedelta(seconds=timeout_s),
            "connect_timeout": timedelta(seconds=min(10.0, timeout_s)),
            # Whoever names an endpoint without TLS means it.
            "allow_http": any(value.startswith("http://") for value in endpoints),
        }
        longest = timedelta(seconds=patience_s / 12)  # whoever has little patience does not sleep through it
        retry: RetryConfig = {
            "max_retries": 1000,
            "retry_timeout": timedelta(seconds=patience_s),
            "backoff": {"init_backoff": min(longest, timedelta(seconds=0.1)), "max_backoff": longest, "base": 2},
        }
        with self._translated():
            self._store = from_url(address, client_options=client, retry_config=retry)

    def sizes(self, folder: str) -> dict[str, int]:
        return {name: size for name, size in self.below(folder).items() if "/" not in name}

    def below(self, folder: str) -> dict[str, int]:
        """As `sizes`, with what lies in folders of the folder: their names have slashes."""

        def listed() -> dict[str, int]:
            every = (each for some in self._library.list(self._store, prefix=folder or None) for each in some)
            return {each["path"].removeprefix(f"{folder}/" if folder else ""): each["size"] for each in every}

        with self._translated(folder):
            return _whole(listed)

    def size(self, name: str) -> int:
        """Bytes of something. Raises MissingError."""
        with self._translated(name):
            return int(self._library.head(self._store, name)["size"])

    def put(self, name: str, content: bytes) -> None:
        with self._translated(name):
            self._library.put(self._store, name, content, use_multipart=False)

    def create(self, name: str, content: bytes) -> bool:
        from obstore.exceptions import AlreadyExistsError

        with self._translated(name):
            try:
                self._library.put(self._store, name, content, use_multipart=False, mode="create")
            except AlreadyExistsError:
                return False
        return True

    def get(self, name: str, most: int) -> bytes:
        def read() -> bytes:
            found = self._library.get(self._store, name)
            if found.meta["size"] > most:
                raise too_large(f"{self.where}/{name}", found.meta["size"], most)
            return bytes(found.bytes())

        with self._translated(name):
            return _whole(read)

    def chunks(self, name: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The content of something of any size, or its bytes from `start` to before `end`, in pieces; goes on where an
        answer broke off. Raises like `get`."""
        from obstore import exceptions

        at, pauses = start, iter(_PAUSES_S)
        with self._translated(name):
            while at != end:
                try:
                    found = self._library.get(self._store, name, options=_from(at, end))
                    for chunk in found.stream(min_chunk_size=_CHUNK):
                        at, pauses = at + len(chunk), iter(_PAUSES_S)
                        yield bytes(chunk)
                    return
                except exceptions.BaseError as error:
                    pause_s = next(pauses, None)
                    if pause_s is None or not _broke_off(error):
                        raise
                    time.sleep(pause_s * random.uniform(0.5, 1.5))

    @contextmanager
    def _translated(self, name: str = "") -> Iterator[None]:
        from obstore import exceptions

        what = f"{self.where}/{name}" if name else self.where
        try:
            yield
        except (exceptions.BaseError, ValueError, OSError) as error:
            said = str(error)
            if "NoSuchBucket" in said:
                raise BackupError(f"the bucket of {self.where} is not there ({_reason(said)}); make it first") from None
            if isinstance(error, FileNotFoundError):
                raise MissingError(f"{what} is missing ({_reason(said)})") from None
            if _REFUSED.search(said):
                raise BackupError(
                    f"{what} was refused ({_reason(said)}). Give credentials that may read, write and list there: "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role of this machine"
                ) from None
            raise BackupError(
                f"{what} cannot be used: {_reason(said)}. Server errors and broken connections were tried again for "
                f"{self._patience_s:g} s. Is the endpoint right (AWS_ENDPOINT_URL, AWS_REGION), does it answer? The "
                "same command goes on from here"
            ) from None


def _from(start: int, end: int | None) -> "GetOptions | None":
    """What a request for these bytes says of them; of all of them nothing."""
    if end is not None:
        return {"range": (start, end)}
    return {"range": {"offset": start}} if start else None


def _whole(ask: Callable[[], T]) -> T:
    """What is answered; asked again where the answer broke off in its body, which the library does not do."""
    from obstore import exceptions

    for pause_s in _PAUSES_S:
        try:
            return ask()
        except exceptions.BaseError as error:
            if not _broke_off(error):
                raise
            time.sleep(pause_s * random.uniform(0.5, 1.5))
    return ask()


def _broke_off(error: Exception) -> bool:
    """Whether an answer did, in its body. The library's own account of an answer that was whole names its body too."""
    return "body" in str(error).partition("\n\nDebug source")[0]


def _reason(said: str) -> str:
    """What the library says, in one line: the status and the store's own words where it answered. Without values that
    are secret, and without a URL's parameters, which may be signatures."""
    status, code, words = (each.search(said) for each in (_STATUS, _CODE, _WORDS))
    if code is not None:
        said = ": ".join(found[1] for found in (status, code, words) if found is not None)
    said = re.sub(r"\?[^\s)\"']*", "?…", " ".join(said.split("\n\nDebug source")[0].split()))
    for name, value in os.environ.items():
        if len(value) > 3 and _SECRET.search(name.upper()):
            said = said.replace(value, "…")
    return said if len(said) <= _LONGEST_REASON else f"{said[:_LONGEST_REASON]}…"
