"""Deletes old generations of an index, if it is there yet: python3 -m deploy.make_room NAME ROOT KEEP

`perwatt gc` before a build rather than after one: builds whose gates fail keep what they made, and would fill a volume
night by night. Unlike `perwatt gc`, which refuses a name that it does not know, it has nothing to do before the first
build.
"""

from __future__ import annotations

import sys

from index import Root
from index.errors import IndexingError, NotFoundError


def make_room(name: str, root: str, keep: int) -> list[str]:
    """What was deleted; nothing where the index does not exist. Raises IndexingError as `Root.gc`."""
    try:
        return Root(root).gc(name, keep)
    except NotFoundError:
        return []


def main(arguments: list[str]) -> None:
    if len(arguments) != 3 or not arguments[2].isdecimal():
        raise SystemExit(__doc__)
    name, root, keep = arguments
    try:
        deleted = make_room(name, root, int(keep))
    except IndexingError as error:
        raise SystemExit(f"{error}") from None
    print(f"{name}: deleted {', '.join(deleted) or 'nothing'}")


if __name__ == "__main__":
    main(sys.argv[1:])
