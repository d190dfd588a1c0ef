"""Takes rows in the order they come, checks each, and lays them out in the order of their ids.

Rows of a generation are sorted by external id (bytewise for strings, by value for integers), so that "ties by id" is
"ties by row" and finding an id is a binary search. Input comes in any order and may be larger than memory, so vectors
and payload first go to files; only ids and offsets stay in memory. The vectors are then rewritten in order, unless they
came in order.
"""

from array import array
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from index.disk.codes import LONGEST, Metric, norms
from index.disk.sections import VECTORS_FILE, FloatRows
from index.disk.vectors_folder import Batch
from index.errors import InputError
from index.search.rowfiles import Arranged, type_of_ids

_ROWS_PER_COPY = 8192
_LONGEST_ID_BYTES = 1024
_ANY_OBJECT = msgspec.json.Decoder(dict[str, Any])


class Spool:
    """The rows of a build on their way into it."""

    def __init__(self, folder: Path, dim: int, metric: Metric) -> None:
        if not 1 <= dim <= 65536:
            raise InputError(f"vectors have {dim} dimensions; expected 1 to 65,536")
        self._dim, self._metric = dim, metric
        self._vectors_path, self._payload_path = folder / ".spool-vectors", folder / ".spool-payload"
        self._vectors, self._payload = self._vectors_path.open("wb"), self._payload_path.open("wb")
        self._ids: list[Any] = []
        self._payload_ends = array("q", [0])
        self._has_payload = False
        self._final = folder / VECTORS_FILE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._vectors.close()
        self._payload.close()

    def take(self, batch: Batch) -> None:
        first = len(self._ids)
        vectors = self._checked_vectors(batch, first)
        self._check_ids(batch.ids, first)
        self._vectors.write(vectors.data)
        self._ids.extend(batch.ids)
        if batch.payload is not None:
            self._has_payload = True
            for row, raw in enumerate(batch.payload):
                self._check_payload(raw, first + row, batch.ids[row])
                self._payload.write(raw)
                self._payload_ends.append(self._payload_ends[-1] + len(raw))

    def arrange(self) -> "Arranged":
        self._vectors.flush()
        self._payload.flush()
        if not self._ids:
            raise InputError("there are no vectors to build an index from; expected at least 1")
        keys = [id_.encode() for id_ in self._ids] if isinstance(self._ids[0], str) else self._ids
        order = np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)
        for before, after in pairwise(order.tolist()):
            if keys[before] == keys[after]:
                raise InputError(
                    f"rows {before} and {after} have the same id {self._ids[before]!r}; ids must be unique"
                )
        in_order = bool((np.diff(order) > 0).all())
        if in_order:
            self._vectors_path.rename(self._final)
        else:
            self._rewrite(order)
        ids = [self._ids[row] for row in order.tolist()]
        ends = np.frombuffer(self._payload_ends, np.int64) if self._has_payload else None
        return Arranged(ids, order, FloatRows(self._final, self._dim), self._payload_path, ends)

    def _rewrite(self, order: NDArray[np.int64]) -> None:
        source = FloatRows(self._vectors_path, self._dim)
        with self._final.open("wb") as file:
            for start in range(0, len(order), _ROWS_PER_COPY):
                file.write(source.array[order[start : start + _ROWS_PER_COPY]].data)
                source.drop()
        self._vectors_path.unlink()

    def _checked_vectors(self, batch: Batch, first: int) -> NDArray[np.float32]:
        vectors = batch.vectors
        if vectors.ndim != 2 or vectors.shape[1] != self._dim:
            raise InputError(f"vectors from row {first} on have shape {vectors.shape}, expected (n, {self._dim})")
        if vectors.dtype != np.float32:
            raise InputError(f"vectors are {vectors.dtype}, expected float32; convert them with .astype(np.float32)")
        length = norms(vectors)
        zero_is_bad = self._metric == "cosine"
        bad = np.flatnonzero(~(length < LONGEST) | ((length == 0) & zero_is_bad))
        if len(bad):
            row = int(bad[0])
            what = "zero, which has no direction" if length[row] == 0 else f"not finite or longer than {LONGEST:g}"
            raise InputError(f"the vector of row {first + row} (id {batch.ids[row]!r}) is {what}")
        if self._metric == "cosine":
            vectors = (vectors / length[:, None]).astype(np.float32)
        return np.ascontiguousarray(vectors)

    def _check_ids(self, ids: list[Any], first: int) -> None:
        kind = type((self._ids or ids)[0]) if self._ids or ids else str
        for row, id_ in enumerate(ids, first):
            if type(id_) is not kind or kind not in type_of_ids:
                raise InputError(
                    f"the id of row {row} is {id_!r} ({type(id_).__name__}); expected all ids to be str or all int"
                )
            if isinstance(id_, str):
                _check_string(id_, row)
            elif not -(2**63) <= id_ < 2**63:
                raise InputError(f"the id of row {row} is {id_}; integers must fit 64 bits")

    def _check_payload(self, raw: bytes, row: int, id_: str | int) -> None:
        try:
            _ANY_OBJECT.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"the payload of row {row} (id {id_!r}) is not a JSON object: {error}") from error


def _check_string(id_: str, row: int) -> None:
    try:
        size = len(id_.encode())
    except UnicodeEncodeError as error:
        raise InputError(f"the id of row {row}, {id_!r}, is not valid Unicode") from error
    if not 1 <= size <= _LONGEST_ID_BYTES:
        raise InputError(f"the id of row {row} has {size} bytes; expected 1 to {_LONGEST_ID_BYTES:,}")
