"""A store of objects behind S3's API, or one of its kind, through the library obstore (Rust's object_store).

The library signs each request with the hash of its body, so that what arrives is what was sent, and repeats requests
that met a server's error, a broken connection or silence, after pauses that grow and vary. Its settings and credentials
come from the environment, as AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from index.backup.store import MissingError, too_large
from index.errors import BackupError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

TIMEOUT_S = 60.0  # for a request: a piece of 8 MiB at 140 kB/s
PATIENCE_S = 180.0  # for a request and its repetitions
_SECRET = re.compile("KEY|SECRET|TOKEN|PASSWORD|SAS|CREDENTIAL")
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
        retry: RetryConfig = {
            "max_retries": 1000,
            "retry_timeout": timedelta(seconds=patience_s),
            "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=15), "base": 2},
        }
        with self._translated():
            self._store = from_url(address, client_options=client, retry_config=retry)

    def sizes(self, folder: str) -> dict[str, int]:
        found = {}
        with self._translated(folder):
            for some in self._library.list(self._store, prefix=folder):
                for each in some:
                    found[each["path"].removeprefix(f"{folder}/")] = each["size"]
        return {name: size for name, size in found.items() if "/" not in name}

    def put(self, name: str, content: bytes) -> None:
        with self._translated(name):
            self._library.put(self._store, name, content, use_multipart=False)

    def get(self, name: str, most: int) -> bytes:
        with self._translated(name):
            found = self._library.get(self._store, name)
            if found.meta["size"] > most:
                raise too_large(f"{self.where}/{name}", found.meta["size"], most)
            return bytes(found.bytes())

    @contextmanager
    def _translated(self, name: str = "") -> Iterator[None]:
        from obstore import exceptions

        what = f"{self.where}/{name}" if name else self.where
        try:
            yield
        except FileNotFoundError as error:
            raise MissingError(f"{what} is missing, or its bucket is: {_reason(error)}") from None
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise BackupError(
                f"{what} was refused by the store: {_reason(error)}. Give credentials that may read and write there "
                "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role of this machine)"
            ) from None
        except (exceptions.BaseError, ValueError, OSError) as error:
            raise BackupError(
                f"{what} cannot be used, after trying for up to {self._patience_s:g} s: {_reason(error)}. Is the "
                "endpoint right (AWS_ENDPOINT_URL, AWS_REGION), does it answer? The same command goes on from here"
            ) from None


def _reason(error: Exception) -> str:
    """What the library says, in one line, without values that are secret and without a URL's parameters, which may be
    signatures."""
    said = " ".join(str(error).split("\n\nDebug source")[0].split())
    for name, value in os.environ.items():
        if len(value) > 3 and _SECRET.search(name.upper()):
            said = said.replace(value, "…")
    said = re.sub(r"\?[^\s)\"']*", "?…", said)
    return said if len(said) <= _LONGEST_REASON else f"{said[:_LONGEST_REASON]}…"
