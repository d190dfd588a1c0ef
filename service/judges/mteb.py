"""MTEB's SearchProtocol (mteb 2.26): `mteb.evaluate(PerwattMteb(), tasks)` runs any retrieval task of English texts.

What MTEB calls a model is here a search: its metadata name the model that made the vectors and how it is searched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from service.cli.searcher.contract import Mode
from service.judges.collection import LastIndex, Ranked

if TYPE_CHECKING:
    from mteb.models.model_meta import ModelMeta


# What MTEB's leaderboard asks of a model and a search has not.
UNKNOWN = (
    "loader", "revision", "release_date", "languages", "n_parameters", "memory_usage_mb", "max_tokens", "embed_dim",
    "license", "open_weights", "public_training_code", "public_training_data", "use_instructions", "training_datasets",
)  # fmt: skip


class PerwattMteb:
    """
    Args:
        model, precision: as `JudgedIndex` takes them.
        shared: whose model and precision they are then.
    """

    def __init__(
        self,
        mode: Mode = "dense",
        model: str | None = None,
        precision: str | None = None,
        shared: LastIndex | None = None,
    ) -> None:
        self.mode = mode
        self._last = shared or LastIndex(model, precision)

    def index(self, corpus: Iterable[Mapping[str, Any]], **_: Any) -> None:
        """Embeds and builds; the index of an earlier task is removed."""
        self._last.of((str(each["id"]), each.get("title") or "", each.get("text") or "") for each in corpus)

    def search(
        self,
        queries: Iterable[Mapping[str, Any]],
        *,
        top_k: int,
        top_ranked: Mapping[str, Iterable[str]] | None = None,
        **_: Any,
    ) -> Ranked:
        """top_ranked: the only documents that a query of a reranking task may find."""
        index = self._last.now()
        if index is None:
            raise RuntimeError("search was called before index: MTEB indexes a corpus first")
        texts = {str(each["id"]): str(each["text"]) for each in queries}
        if top_ranked is None:
            return index.rank(texts, top_k, self.mode)
        found = index.rank(texts, index.count, self.mode)
        kept = {query: set(ids) for query, ids in top_ranked.items()}
        return {
            query: {id_: score for id_, score in hits.items() if id_ in kept.get(query, ())}
            for query, hits in found.items()
        }

    def close(self) -> None:
        self._last.close()

    @property
    def mteb_model_meta(self) -> ModelMeta:
        from mteb.models.model_meta import ModelMeta

        from embed.models.folder import DEFAULT_HUB_NAME

        made = (self._last.model or DEFAULT_HUB_NAME).rstrip("/").rsplit("/", 1)[-1]
        unknown: dict[str, Any] = dict.fromkeys(UNKNOWN)
        return ModelMeta(name=f"perwatt/{made}-{self.mode}", framework=[], similarity_fn_name="cosine", **unknown)
