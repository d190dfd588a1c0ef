"""Brings the archive of an index to this machine and unpacks it once its hash is right.

    python3 -m deploy.jobs.fetch URL SHA256 ROOT

For containers whose index does not lie on a volume. The archive is a tar of one or more index folders, made with
`tar -cf docs.tar docs` in the folder of indexes. Nothing of it is unpacked before the whole of it has the hash that was
asked for, and then only folders and plain files below ROOT. `perwatt verify` checks the generation itself afterwards.

URL is https://…, s3://BUCKET/NAME (or gs://, az://), file://…, or env:NAME, which takes it from a variable. Arguments
are seen by whoever sees the process, so a URL with a password or a signature is refused as one. Credentials come from
the environment too: FETCH_TOKEN, or FETCH_USER and FETCH_PASSWORD, for a server; AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL for a store. Over https the server must prove its name by an
authority that the system trusts, or one of the file $SSL_CERT_FILE. What breaks off is tried again and goes on where it
was.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import ssl
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

CHUNK = 1 << 20
TIMEOUT_S = 60.0
PATIENCE_S = 180.0  # without a byte
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
LATER = (408, 425, 429, 500, 502, 503, 504)  # statuses that another try may change
STORES = ("s3", "gs", "az")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def fetch(url: str, sha256: str, root: Path, *, patience_s: float = PATIENCE_S) -> list[str]:
    """Unpacks the archive at `url` below `root`; returns the names of its files.

    Args:
        url: http, https, file, or a store of objects.
        patience_s: for how long a server is tried again that sends nothing.

    Raises:
        SystemExit: with a sentence, when it cannot be had, when its hash differs, or when it holds anything but folders
            and files below `root`; nothing is unpacked then.
    """
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=root) as archive:
        if urlsplit(url).scheme in STORES:
            _download_object(url, archive)
        else:
            _download(url, archive, patience_s)
        archive.seek(0)
        digest = hashlib.file_digest(archive, "sha256").hexdigest()
        if digest != sha256:
            raise SystemExit(f"{_shown(url)} has sha256 {digest}, expected {sha256}. Nothing was unpacked.")
        archive.seek(0)
        with tarfile.open(fileobj=archive) as tar:
            members = tar.getmembers()
            for member in members:
                _check(member, _shown(url))
            for member in members:
                member.uid, member.gid = os.getuid(), os.getgid()
                member.mode = 0o755 if member.isdir() else 0o644
                tar.extract(member, root, set_attrs=True)
    return [member.name for member in members if member.isfile()]


def _download(url: str, archive: IO[bytes], patience_s: float) -> None:
    """From a server, as often as it takes."""
    pause_s, heard_s, at = FIRST_PAUSE_S, time.monotonic(), 0
    while reason := _broken_off(url, archive):
        if archive.tell() > at:
            pause_s, heard_s, at = FIRST_PAUSE_S, time.monotonic(), archive.tell()
        if time.monotonic() - heard_s + pause_s > patience_s:
            raise SystemExit(
                f"{_shown(url)} cannot be fetched: {reason}. It was tried again for {patience_s:g} s. Nothing was "
                "unpacked."
            )
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _broken_off(url: str, archive: IO[bytes]) -> str:
    """Reads on from where `archive` ends. Why it is not whole and may be if it is tried again; empty when it is.

    Raises SystemExit where no other try would help.
    """
    at = archive.tell()
    request = urllib.request.Request(url, headers={"Range": f"bytes={at}-"} if at else {})
    if authorization := _authorization(url, os.environ):
        request.add_unredirected_header("Authorization", authorization)  # for this server, not for one it names
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            if at and answer.status != 206:
                archive.seek(0)
                archive.truncate()
            lacking = getattr(answer, "length", None)  # of the body, where that is said
            while chunk := answer.read(CHUNK):
                archive.write(chunk)
                lacking = None if lacking is None else lacking - len(chunk)
            return f"{lacking} bytes are missing at its end" if lacking else ""
    except urllib.error.HTTPError as error:
        if error.code == 416 and at:
            archive.seek(0)
            archive.truncate()
            return "the server has less than it sent before"
        if error.code in LATER:
            return f"the server answers {error.code} {error.reason}"
        hint = ""
        if error.code in (401, 403):
            hint = " Credentials go into FETCH_TOKEN, or FETCH_USER and FETCH_PASSWORD."
        raise SystemExit(
            f"{_shown(url)} cannot be fetched: {error.code} {error.reason}. Nothing was unpacked.{hint}"
        ) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise SystemExit(
                f"{_shown(url)} cannot be fetched: {error.reason}. Nothing was unpacked. To trust an authority of your "
                "own, name the file of its certificate in SSL_CERT_FILE."
            ) from None
        if urlsplit(url).scheme == "file":
            raise SystemExit(f"{_shown(url)} cannot be fetched: {error.reason}. Nothing was unpacked.") from None
        return str(error.reason)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__


def _download_object(url: str, archive: IO[bytes]) -> None:
    from index.backup.objects import Objects
    from index.errors import IndexingError

    bucket, _, name = url.removeprefix(f"{urlsplit(url).scheme}://").partition("/")
    try:
        for chunk in Objects(f"{urlsplit(url).scheme}://{bucket}").chunks(name):
            archive.write(chunk)
    except IndexingError as error:
        raise SystemExit(f"{error}. Nothing was unpacked.") from None


def _authorization(url: str, environment: Mapping[str, str]) -> str:
    """What the environment says that the server be told; refused where everybody on the way would read it."""
    token, user = environment.get("FETCH_TOKEN", ""), environment.get("FETCH_USER", "")
    if not token and not user:
        return ""
    place = urlsplit(url)
    if place.scheme == "http" and place.hostname not in LOOPBACK:
        raise SystemExit(f"{_shown(url)} would be sent credentials that everybody on the way can read. Use https://.")
    if token:
        return f"Bearer {token}"
    return "Basic " + base64.b64encode(f"{user}:{environment.get('FETCH_PASSWORD', '')}".encode()).decode()


def _shown(url: str) -> str:
    """A URL for messages: without who asks, and without a query, which may be a signature."""
    place = urlsplit(url)
    query = "?…" if place.query else ""
    return f"{place.scheme}://{place.netloc.rpartition('@')[2]}{place.path}{query}"


def _check(member: tarfile.TarInfo, url: str) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not (member.isdir() or member.isfile()):
        raise SystemExit(
            f"{url} holds {member.name!r}, which is not a folder or plain file below it. Nothing was unpacked."
        )


def _named(given: str, environment: Mapping[str, str]) -> str:
    """The URL that an argument is, or names. Raises SystemExit for one that holds a secret."""
    if given.startswith("env:"):
        url = environment.get(given.removeprefix("env:"), "")
        if not url:
            raise SystemExit(
                f"{given} names a variable that is not set or empty, expected the URL of an archive in it."
            )
        return url
    place = urlsplit(given)
    if "@" in place.netloc or place.query:
        raise SystemExit(
            f"The URL {_shown(given)} has credentials or a query, which may be a signature, and arguments are seen "
            "by whoever sees the process. Put it into a variable and give env:NAME; credentials alone go into "
            "FETCH_TOKEN, or FETCH_USER and FETCH_PASSWORD."
        )
    return given


def main(arguments: list[str]) -> None:
    if len(arguments) != 3:
        raise SystemExit(__doc__)
    given, sha256, root = arguments
    url = _named(given, os.environ)
    for name in fetch(url, sha256, Path(root)):
        print(name)


if __name__ == "__main__":
    main(sys.argv[1:])
