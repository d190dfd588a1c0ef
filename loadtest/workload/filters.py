"""The filters of a workload: which share of the requests carries which filter, from options or a file.

A filter is whatever the service's search route takes under `filter`; it is sent as it stands. A file has one object a
line, {"share": 0.2, "filter": {"field": "kind", "eq": "class"}}, so a mix can be kept beside the queries it belongs to.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from loadtest.errors import WorkloadError
from loadtest.workload.plan import FilterShare


def parse_filters(texts: tuple[str, ...]) -> list[FilterShare]:
    """SHARE:JSON, as on the command line."""
    found = []
    for text in texts:
        share, _, body = text.partition(":")
        try:
            found.append(msgspec.convert({"share": float(share), "filter": json.loads(body)}, FilterShare))
        except (ValueError, msgspec.ValidationError) as error:
            raise WorkloadError(
                f'{text!r}: expected SHARE:JSON, e.g. 0.2:{{"field":"lang","eq":"en"}} ({error})'
            ) from error
    return found


def read_filters(path: Path | None) -> list[FilterShare]:
    """The shares of a .jsonl file; WorkloadError names the line that is none."""
    if path is None:
        return []
    found = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            found.append(msgspec.json.decode(line, type=FilterShare))
        except msgspec.MsgspecError as error:
            raise WorkloadError(
                f'{path.name}, line {number}: {error}; expected {{"share": 0.2, "filter": {{…}}}}'
            ) from error
    if not found:
        raise WorkloadError(f"{path} holds no filter")
    return found
