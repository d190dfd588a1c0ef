"""A benchmark's documents as an index in a folder of its own, as `perwatt embed` and `perwatt build` make one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from embed import load_encoder
from embed.documents.document import Document, DocumentSource
from embed.encoders.backends import usable_cores
from embed.pipeline import EmbedSettings, embed_documents, slices_at_once
from embed.vectors.scratch import scratch_folder
from index import VectorsFolder, build_generation
from service.cli.searcher.contract import Mode, SearchOptions
from service.cli.searcher.local import LocalSearcher, local_searcher
from service.settings import Settings

NAME = "judged"
Ranked = dict[str, dict[str, float]]  # query id → document id → score
Text = tuple[str, str, str]  # id, title, text


class JudgedIndex:
    """The documents, to be searched in any way. `close` removes it.

    Args:
        model: As `perwatt embed --model`; None: perwatt's own.
        precision: None: int8 where that suits the model.
    """

    def __init__(self, documents: Iterable[Text], model: str | None = None, precision: str | None = None) -> None:
        with ExitStack() as opened:
            folder = Path(opened.enter_context(scratch_folder()))
            threads = usable_cores()
            encoder = load_encoder(model, precision=precision, threads=threads)
            opened.callback(encoder.close)
            self.fingerprint = encoder.fingerprint
            source = DocumentSource("corpus", "jsonl")
            made = (
                Document(id_, title, text, {"title": title, "text": text}, source, row)
                for row, (id_, title, text) in enumerate(documents, start=1)
                if f"{title}{text}".strip()  # what holds no text is found by nobody
            )
            how = EmbedSettings(slices_at_once=slices_at_once(threads))
            record = embed_documents(made, encoder, folder / "vectors", how)
            build_generation(VectorsFolder(folder / "vectors"), root=folder, name=NAME, threads=threads)
            settings = Settings(root=folder, model=model, precision=precision, threads=threads)
            self.count = record.documents
            self._searcher: LocalSearcher = opened.enter_context(local_searcher(settings, NAME))
            self._opened = opened.pop_all()

    def rank(self, queries: Mapping[str, str], k: int, mode: Mode = "dense") -> Ranked:
        """The best k of each query, with scores of which a higher one is better."""
        texts: Sequence[str] = list(queries.values())
        answers = self._searcher.ask(texts, SearchOptions(k, mode=mode))
        return {query: {hit.id: float(hit.score) for hit in hits} for query, hits in zip(queries, answers, strict=True)}

    def close(self) -> None:
        self._opened.close()


class LastIndex:
    """The index of the last corpus. Adapters that share one embed a corpus once, however many judges hand it to them
    and in whatever ways it is searched.

    Args:
        model, precision: Of `JudgedIndex`.
    """

    def __init__(self, model: str | None = None, precision: str | None = None) -> None:
        self.model, self.precision = model, precision
        self._texts: list[Text] = []
        self._index: JudgedIndex | None = None

    def of(self, documents: Iterable[Text]) -> JudgedIndex:
        """The same one as the last time for the same documents in the same order; else a new one, and that is gone."""
        texts = list(documents)
        if self._index is None or texts != self._texts:
            self.close()
            self._index, self._texts = JudgedIndex(texts, self.model, self.precision), texts
        return self._index

    def now(self) -> JudgedIndex | None:
        return self._index

    def close(self) -> None:
        if self._index is not None:
            self._index.close()
        self._index, self._texts = None, []
