"""Brings the archive of an index to this machine and unpacks it once its hash is right.

    python3 -m deploy.jobs.fetch URL SHA256 ROOT

For containers whose index does not lie on a volume. The archive is a tar of one or more index folders, made with
`tar -cf docs.tar docs` in the folder of indexes. Nothing of it is unpacked before the whole of it has the hash that was
asked for, and then only folders and plain files below ROOT. `perwatt verify` checks the generation itself afterwards.
Over https the server must prove its name by an authority that the system trusts, or one of the file $SSL_CERT_FILE.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from typing import Any

CHUNK = 1 << 20
TIMEOUT_S = 60.0


def fetch(url: str, sha256: str, root: Path) -> list[str]:
    """Unpacks the archive at `url` (http, https or file) below `root`; returns the names of its files.

    Raises SystemExit with a sentence when it cannot be had, when its hash differs, or when it holds anything but
    folders and files below `root`; nothing is unpacked then.
    """
    root.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.TemporaryFile(dir=root) as archive:
        with _opened(url) as answer:
            while chunk := answer.read(CHUNK):
                digest.update(chunk)
                archive.write(chunk)
        if digest.hexdigest() != sha256:
            raise SystemExit(f"{url} has sha256 {digest.hexdigest()}, expected {sha256}. Nothing was unpacked.")
        archive.seek(0)
        with tarfile.open(fileobj=archive) as tar:
            members = tar.getmembers()
            for member in members:
                _check(member, url)
            for member in members:
                member.uid, member.gid = os.getuid(), os.getgid()
                member.mode = 0o755 if member.isdir() else 0o644
                tar.extract(member, root, set_attrs=True)
    return [member.name for member in members if member.isfile()]


def _opened(url: str) -> Any:
    try:
        return urllib.request.urlopen(url, timeout=TIMEOUT_S)
    except urllib.error.URLError as error:
        trust = ""
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            trust = " To trust an authority of your own, name the file of its certificate in SSL_CERT_FILE."
        raise SystemExit(f"{url} cannot be fetched: {error.reason}. Nothing was unpacked.{trust}") from None


def _check(member: tarfile.TarInfo, url: str) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not (member.isdir() or member.isfile()):
        raise SystemExit(
            f"{url} holds {member.name!r}, which is not a folder or plain file below it. Nothing was unpacked."
        )


def main(arguments: list[str]) -> None:
    if len(arguments) != 3:
        raise SystemExit(__doc__)
    url, sha256, root = arguments
    for name in fetch(url, sha256, Path(root)):
        print(name)


if __name__ == "__main__":
    main(sys.argv[1:])
