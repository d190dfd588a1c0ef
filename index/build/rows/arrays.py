"""Rows from memory: arrays and sequences, for notebooks, benchmarks and tests.

The same shape of source as a folder of vectors (disk/vectors_folder.py): a count, a dimension, and batches.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from index.disk.vectors_folder import BATCH_ROWS, Batch
from index.errors import InputError

PayloadRow = bytes | str | Mapping[str, Any]


class Arrays:
    """vectors float32 (n, dim), an array or a memory map; ids str or int, one a row; payload one JSON object a row."""

    def __init__(
        self,
        vectors: NDArray[np.float32],
        ids: Sequence[str] | Sequence[int] | NDArray[Any],
        payload: Sequence[PayloadRow] | None = None,
        model: dict[str, Any] | None = None,
        canaries: list[dict[str, Any]] | None = None,
    ) -> None:
        if not isinstance(vectors, np.ndarray) or vectors.ndim != 2:
            shape = getattr(vectors, "shape", type(vectors).__name__)
            raise InputError(f"vectors are {shape}; expected a float32 array (n, dim)")
        if vectors.dtype != np.float32:
            raise InputError(f"vectors are {vectors.dtype}, expected float32; convert them with .astype(np.float32)")
        self.count, self.dim = vectors.shape
        self._vectors, self._ids, self._payload = vectors, _plain(ids), payload
        self.model, self.canaries = model, canaries or []
        for what, given in (("ids", self._ids), ("payload rows", payload)):
            if given is not None and len(given) != self.count:
                raise InputError(f"there are {len(given):,} {what} for {self.count:,} vectors; expected one each")

    def check(self, threads: int) -> None:
        """Nothing to compare: these rows come from the caller, and each is checked when it is taken."""

    def batches(self) -> Iterator[Batch]:
        for start in range(0, self.count, BATCH_ROWS):
            stop = min(start + BATCH_ROWS, self.count)
            payload = self._payload
            yield Batch(
                list(self._ids[start:stop]),
                self._vectors[start:stop],
                None if payload is None else [_encoded(payload[row], row) for row in range(start, stop)],
            )


def _plain(ids: Sequence[Any] | NDArray[Any]) -> Sequence[Any]:
    """Python's own str and int for NumPy's; anything else comes through and is refused by name later."""
    if isinstance(ids, np.ndarray):
        if ids.ndim != 1:
            raise InputError(f"ids have shape {ids.shape}; expected one dimension")
        return list(ids.tolist())
    return [id_.item() if isinstance(id_, np.generic) else id_ for id_ in ids]


def _encoded(row: PayloadRow, number: int) -> bytes:
    if isinstance(row, bytes):
        return row
    if isinstance(row, str):
        return row.encode()
    try:
        return msgspec.json.encode(row)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise InputError(f"the payload of row {number} cannot be written as JSON: {error}") from error
