"""Qdrant: a collection of a server, scrolled page by page over its REST API; or a snapshot (qdrant_snapshot.py).

https://api.qdrant.tech: GET /collections, GET /collections/{name}, POST /collections/{name}/points/scroll. With the
metric cosine Qdrant keeps vectors of length 1, whatever was given to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from service.moving.qdrant_snapshot import OF_A_SHARD, opened_snapshot
from service.moving.rows import Collection, MovedRows, MovingError, SourceOptions, chosen

PAGE = 250
TIMEOUT_S = 120.0
METRICS = {"Cosine": "cosine", "Dot": "ip", "Euclid": "l2"}


@contextmanager
def opened(asked: SourceOptions) -> Iterator[Collection]:
    """place: the server's URL, or the file of a shard's snapshot.

    Raises:
        MovingError: It cannot be reached or read, or has no such collection.
    """
    place = f"qdrant:{asked.place}"
    if Path(asked.place).is_file():
        with opened_snapshot(asked, _vectors) as (collection, distance):
            yield replace(collection, metric=METRICS.get(distance or ""))
        return
    if not asked.place.startswith(("http://", "https://")):
        raise MovingError(
            f"{place} is neither the URL of a server, as qdrant:http://127.0.0.1:6333, nor a file. {OF_A_SHARD}"
        )
    headers = {"api-key": asked.key} if asked.key else {}
    with httpx.Client(base_url=asked.place.rstrip("/"), headers=headers, timeout=TIMEOUT_S) as client:
        server = QdrantServer(client, place)
        listed = server.asked("GET", "/collections")["collections"]
        name = chosen(place, asked.collection, [each["name"] for each in listed])
        content = server.asked("GET", f"/collections/{quote(name, safe='')}")
        vector, settings = _vectors(f"{place}, collection {name}", content["config"]["params"], asked.vector_field)
        yield Collection(
            f"{place}, collection {name}" + (f", vector {vector}" if vector else ""),
            partial(server.read, name, vector),
            content.get("points_count"),
            METRICS.get(settings.get("distance", "")),
        )


def _vectors(place: str, params: dict[str, Any], asked: str | None) -> tuple[str, dict[str, Any]]:
    """The name of the vector to take, "" for the unnamed one, and its settings. Raises MovingError."""
    there: dict[str, Any] = params.get("vectors") or {}
    named = {"": there} if "size" in there else there
    if asked is None and len(named) == 1:
        asked = next(iter(named))
    if asked is None or asked not in named:
        names = ", ".join(sorted(name or "one without a name" for name in named)) or "none that are dense"
        raise MovingError(f"{place} has the vectors {names}: name one with --vector-field")
    settings: dict[str, Any] = named[asked]
    if settings.get("multivector_config"):
        raise MovingError(f"{place} keeps several vectors a point, and an index here has one: embed the texts anew")
    return asked, settings


class QdrantServer:
    def __init__(self, client: httpx.Client, place: str) -> None:
        self._client, self._place = client, place

    def read(self, name: str, vector: str, vectors: bool) -> Iterator[MovedRows]:
        body: dict[str, Any] = {"limit": PAGE, "with_payload": True, "with_vector": False}
        if vectors:
            body["with_vector"] = [vector] if vector else True
        while True:
            page = self.asked("POST", f"/collections/{quote(name, safe='')}/points/scroll", body)
            points = page["points"]
            found = [point.get("vector") for point in points]
            # The vector without a name is called "" where a point has others beside it, as sparse ones.
            found = [each.get(vector or "") if isinstance(each, dict) else each for each in found]
            records = [{"id": point["id"], "metadata_": point.get("payload") or {}} for point in points]
            yield MovedRows(records, found if vectors else None)
            if page.get("next_page_offset") is None:
                return
            body["offset"] = page["next_page_offset"]

    def asked(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            answer = self._client.request(method, path, json=body)
            if answer.is_success:
                return msgspec.json.decode(answer.content)["result"]
        except (httpx.HTTPError, msgspec.MsgspecError, KeyError, TypeError) as error:
            raise MovingError(f"{self._place} gave no answer that can be read: {error!r}") from error
        hint = "; give its key as PERWATT_SOURCE_KEY" if answer.status_code in (401, 403) else ""
        raise MovingError(f"{self._place} answered with {answer.status_code}: {answer.text[:300]}{hint}")
