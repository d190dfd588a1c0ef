"""What machines are given and give back, through a bucket, by addresses that are signed for one object each.

So a machine needs no role: it can read the three archives of its trial and write one record and one log, and only until
the signature ends. An address also dies with the credentials that signed it, so those are made new in time. Archives
are named by their hash, uploaded once, and checked by whoever fetches them.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.errors import DeployError

CHUNK = 1 << 20


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DeployError(
            f"{path} cannot be read: {error.strerror}. `make images` writes the images' archives."
        ) from error
    return digest.hexdigest()


def check_index(path: Path, name: str) -> None:
    """Raises DeployError unless the archive holds index `name` and the vectors, for everybody to read."""
    try:
        with tarfile.open(path) as archive:
            modes = {each.name.removeprefix("./"): (each.mode, each.isdir()) for each in archive}
    except (OSError, tarfile.TarError) as error:
        raise DeployError(f"{path} is not an archive: {error}. deploy/ci/index.sh writes it.") from error
    if not any(each.startswith("vectors/") for each in modes):
        raise DeployError(f"{path} has no folder vectors, whose titles are the queries. deploy/ci/index.sh writes it.")
    if not name or not any(each.startswith(f"indexes/{name}/") for each in modes):
        found = sorted({each.split("/")[1] for each in modes if each.startswith("indexes/") and each.count("/") > 1})
        raise DeployError(
            f"{path} has no index {name!r}; it has {', '.join(found) or 'none'}. Name one of them with --index, or "
            "make the archive again: deploy/ci/index.sh."
        )
    closed = [each for each, (mode, folder) in modes.items() if ~mode & (0o005 if folder else 0o004)]
    if closed:
        raise DeployError(
            f"{path} holds {closed[0]!r}, which only its owner can read, and the service runs as another user: pack it "
            "with tar --mode=a+rX, as deploy/ci/index.sh does."
        )


def s3_client(session: Any) -> Any:
    """Addresses of a region that is not the default, too, are signed for where the bucket is."""
    from botocore.config import Config

    return session.client("s3", config=Config(signature_version="s3v4", s3={"addressing_style": "virtual"}))


def sign_in(region: str) -> tuple[Any, Any]:
    """An S3 client and the credentials it signs with, fresh: a session that exists keeps its own until nearly their
    end.
    """
    import boto3

    session = boto3.Session(region_name=region)
    return s3_client(session), session.get_credentials()


class Parcel:
    """The part of the bucket that belongs to one experiment, and the archives that all share.

    valid_s: seconds that a signed address must work. credentials: those that `s3` signs with, where they may end.
    """

    def __init__(
        self,
        s3: Any,
        bucket: str,
        experiment: str,
        valid_s: int,
        *,
        credentials: Any = None,
        sign_in: Callable[[], tuple[Any, Any]] | None = None,
    ) -> None:
        self._s3, self._bucket, self._experiment, self._valid_s = s3, bucket, experiment, valid_s
        self._credentials, self._sign_in = credentials, sign_in

    def renew(self) -> None:
        """Signs in again where the credentials end before the addresses do. Raises DeployError when new ones do too."""
        if self._ends_early() and self._sign_in is not None:
            self._s3, self._credentials = self._sign_in()
        if self._ends_early():
            raise DeployError(
                f"The credentials for AWS end in less than the {self._valid_s / 60:g} minutes that a trial's signed "
                "addresses must work, and signing in again gave none that last. Use a profile of the stack's role with "
                "duration_seconds = 43200 (deploy/cloud/GRAVITON.md), or fewer --minutes."
            )

    def _ends_early(self) -> bool:
        """Those of a user do not end, and have no such method."""
        refresh_needed = getattr(self._credentials, "refresh_needed", None)
        if refresh_needed is None:
            return False
        self._credentials.get_frozen_credentials()  # those of a role are asked for when they are first used
        return bool(refresh_needed(self._valid_s))

    def upload(self, path: Path, sha256: str) -> None:
        """Puts an archive there unless it is there already."""
        found = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=self._archive(sha256), MaxKeys=1)
        if not found.get("KeyCount"):
            self._s3.upload_file(str(path), self._bucket, self._archive(sha256))

    def to_read(self, sha256: str) -> str:
        return self._signed("get_object", self._archive(sha256))

    def to_write(self, name: str) -> str:
        return self._signed("put_object", self._own(name))

    def read(self, name: str) -> bytes | None:
        """What a machine wrote under `name`, None while it has not."""
        found = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=self._own(name), MaxKeys=1)
        if not found.get("KeyCount"):
            return None
        content: bytes = self._s3.get_object(Bucket=self._bucket, Key=self._own(name))["Body"].read()
        return content

    def _archive(self, sha256: str) -> str:
        return f"archives/{sha256}.tar"

    def _own(self, name: str) -> str:
        return f"experiments/{self._experiment}/{name}"

    def _signed(self, method: str, key: str) -> str:
        address: str = self._s3.generate_presigned_url(
            method, Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=self._valid_s
        )
        return address
