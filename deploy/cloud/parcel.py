"""What machines are given and give back, through a bucket, by addresses that are signed for one object each.

So a machine needs no role: it can read the three archives of its trial and write one record and one log, and only until
the signature ends. Archives are named by their hash, uploaded once, and checked by whoever fetches them.
"""

from __future__ import annotations

import hashlib
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


class Parcel:
    """The part of the bucket that belongs to one experiment, and the archives that all share."""

    def __init__(self, s3: Any, bucket: str, experiment: str, valid_s: int) -> None:
        self._s3, self._bucket, self._experiment, self._valid_s = s3, bucket, experiment, valid_s

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
