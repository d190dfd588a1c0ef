"""Which store an address names: a folder, or SCHEME://BUCKET/PREFIX."""

from pathlib import Path
from urllib.parse import urlsplit

from index.backup.store import FolderStore, Store
from index.errors import InputError

SCHEMES = ("s3", "gs", "az")


def is_address(given: object) -> bool:
    """Whether it is SCHEME://…, and no path of a file or folder."""
    return isinstance(given, str) and "://" in given


def open_store(address: str) -> Store:
    """Raises InputError for an address of another kind, or with credentials in it."""
    if not is_address(address):
        return FolderStore(Path(address))
    url = urlsplit(address)
    if "@" in url.netloc or url.query or url.fragment:
        raise InputError(
            f"the address of a store begins with {url.scheme}://, and holds more than a bucket and a prefix; expected "
            "s3://BUCKET/PREFIX. Credentials go into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …)"
        )
    if url.scheme not in SCHEMES or not url.netloc:
        raise InputError(
            f"{address} is not the address of a store; expected a folder, or s3://BUCKET/PREFIX (or gs://, az://)"
        )
    from index.backup.objects import Objects

    return Objects(address)
