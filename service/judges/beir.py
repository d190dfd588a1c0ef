"""BEIR's retriever (beir 2.2): `EvaluateRetrieval(PerwattBeir())` embeds, indexes and searches the corpus it is given.

from beir.datasets.data_loader import GenericDataLoader
from beir.retrieval.evaluation import EvaluateRetrieval
from service.judges.beir import PerwattBeir

corpus, queries, qrels = GenericDataLoader("scifact").load(split="test")
results = EvaluateRetrieval(PerwattBeir()).retrieve(corpus, queries)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.cli.searcher.contract import Mode
from service.judges.collection import LastIndex, Ranked


class PerwattBeir:
    """
    Args:
        model, precision: as `JudgedIndex` takes them.
        shared: whose model and precision they are then; else the index is gone after a search.
    """

    def __init__(
        self,
        mode: Mode = "dense",
        model: str | None = None,
        precision: str | None = None,
        shared: LastIndex | None = None,
    ) -> None:
        self.mode = mode
        self._shared, self._last = shared, shared or LastIndex(model, precision)

    def search(
        self, corpus: Mapping[str, Mapping[str, str]], queries: Mapping[str, str], top_k: int, *_: Any, **__: Any
    ) -> Ranked:
        """One more is searched for, because BEIR drops the document that has the id of its query."""
        documents = ((id_, each.get("title") or "", each.get("text") or "") for id_, each in corpus.items())
        try:
            return self._last.of(documents).rank(queries, min(top_k + 1, len(corpus)), self.mode)
        finally:
            if self._shared is None:
                self._last.close()
