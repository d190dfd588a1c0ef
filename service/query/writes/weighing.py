"""Weighs documents as they are written, by the sparse model of the generation that is served.

The model is loaded when the first document is written to an index with sparse weights, so a server that is only read
from never has it in memory. It runs in a thread of its own. Where it cannot be had, documents are written without
weights, which the next build gives them; it is looked for again a while later.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from index import Generation
from index.changes.impacts import packed
from index.disk.manifest import SPARSE
from index.search.lexical.text import texts_of

if TYPE_CHECKING:
    from embed.sparse.encoder import SparseEncoder

log = logging.getLogger("perwatt.service")

LOOK_AGAIN_S = 60.0
AT_ONCE = 16  # documents between two looks at whether somebody still waits for them


class Weighing:
    """`weights` on the event loop's thread.

    Args:
        threads: of the network.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="weigh")
        self._models: dict[str, SparseEncoder] = {}  # by their ids
        self._absent_s: dict[str, float] = {}  # when a model was looked for in vain

    async def weights(self, generation: Generation, payloads: Sequence[bytes]) -> list[bytes] | None:
        """Of documents, as the log holds them; None where there are none to be had."""
        entry = generation.manifest.get(SPARSE)
        if entry is None or not payloads:
            return None
        loop = asyncio.get_running_loop()
        found: list[bytes] = []
        for start in range(0, len(payloads), AT_ONCE):
            some = await loop.run_in_executor(self._thread, self._weighed, entry, payloads[start : start + AT_ONCE])
            if some is None:
                return None
            found += some
        return found

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)
        for model in self._models.values():
            model.close()
        self._models.clear()

    def _weighed(self, entry: dict[str, Any], payloads: Sequence[bytes]) -> list[bytes] | None:
        model = self._model(entry)
        if model is None:
            return None
        tokens, impacts, ends = model.impacts([texts_of(payload) for payload in payloads])
        starts = [0, *ends[:-1].tolist()]
        return [
            packed(entry["model"]["id"], tokens[start:end], impacts[start:end])
            for start, end in zip(starts, ends.tolist(), strict=True)
        ]

    def _model(self, entry: dict[str, Any]) -> SparseEncoder | None:
        wanted = entry["model"]["id"]
        if wanted not in self._models:
            if time.monotonic() < self._absent_s.get(wanted, -LOOK_AGAIN_S) + LOOK_AGAIN_S:
                return None
            try:
                from embed.sparse.encoder import sparse_again

                self._models[wanted] = sparse_again(entry["from"], wanted, self._threads)
            except Exception as error:  # whatever a folder of files may be: documents are written all the same
                self._absent_s[wanted] = time.monotonic()
                log.warning("documents are written without sparse weights until the next build: %s", error)
                return None
        return self._models[wanted]
