"""Documents in, a vectors folder out: window by window, each of them durable before the next is
read.

For each window of rows (rows.py) the texts are hashed, the known ones are read from fragments
(known.py), the rest is embedded (window.py), and the window becomes one fragment. Memory holds one
window, whatever the size of the corpus."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from embed import canaries, fragments
from embed.canaries import Canaries
from embed.chunks import Chunker
from embed.documents import Document, Faults
from embed.encoder import Encoder
from embed.folder import FORMAT, VectorsFolder, learn
from embed.fragments import Fragment, Rows
from embed.known import KnownVectors, hash_texts
from embed.progress import Progress, Silent
from embed.record import Record, now
from embed.rows import WINDOW_BYTES, WINDOW_ROWS, Row, rows_of, windows
from embed.window import SLICE_TEXTS, SPOOL_EVERY_S, WindowEmbedder, finite


@dataclass(slots=True)
class Settings:
    """embedded_from: other vectors folders whose vectors may be used. The sizes are for tests to
    make small.
    """

    embedded_from: Sequence[Path] = ()
    chunker: Chunker | None = None
    omit_text: bool = False
    window_rows: int = WINDOW_ROWS
    window_bytes: int = WINDOW_BYTES
    slice_texts: int = SLICE_TEXTS
    spool_every_s: float = SPOOL_EVERY_S


def embed_documents(
    documents: Iterable[Document],
    encoder: Encoder,
    out: Path,
    settings: Settings | None = None,
    *,
    faults: Faults | None = None,
    progress: Progress | None = None,
    warn: Callable[[str], None] = lambda _message: None,
    record: Record | None = None,
) -> Record:
    """Writes the vectors folder `out` and returns what it cost.

    Raises EmbedError: DocumentError (with --on-error fail), VectorError, FolderError, NoSpaceError.
    Whatever is raised, the folder holds its old state, and what was embedded until then is found by
    the next run."""
    settings, faults = settings or Settings(), faults or Faults()
    record = record or Record()
    with VectorsFolder(out) as folder:
        run = _Run(encoder, folder, settings, progress or Silent(), warn, record)
        counted = _counted(documents, record)
        rows = (row for group in rows_of(counted, faults, settings.chunker, settings.omit_text) for row in group)
        for window in windows(rows, settings.window_rows, settings.window_bytes):
            run.take(window)
        record.skipped = faults.skipped
        run.finish()
    return record


def _counted(documents: Iterable[Document], record: Record) -> Iterator[Document]:
    for document in documents:
        record.documents += 1
        yield document


@dataclass(slots=True)
class _Run:
    encoder: Encoder
    folder: VectorsFolder
    settings: Settings
    progress: Progress
    warn: Callable[[str], None]
    record: Record
    model_id: str = field(init=False)
    known: KnownVectors = field(init=False)
    whole: set[str] = field(init=False)
    embedder: WindowEmbedder = field(init=False)
    canaries: Canaries = field(default_factory=Canaries)
    written: list[Fragment] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model_id = self.encoder.fingerprint.id
        self.known = KnownVectors(self.encoder.dim, self.warn)
        self.whole = learn(self.folder.path, self.model_id, self.known, self.warn)
        for other in self.settings.embedded_from:
            before = len(self.known)
            learn(other, self.model_id, self.known, self.warn)
            if len(self.known) == before:
                self.warn(f"{other} holds no vectors of this model; nothing is reused from it")
        model = (self.folder.manifest or {}).get("model", {})
        if model and model.get("id") != self.model_id:
            self.warn(
                f"{self.folder.path} holds vectors of another model ({model.get('name')}, {model.get('precision')}); "
                "they are replaced when this run ends"
            )
        self.embedder = WindowEmbedder(
            self.encoder, self.folder.path, self.settings.slice_texts, self.settings.spool_every_s, self.record
        )

    def take(self, window: list[Row]) -> None:
        """Embeds what of the window is not known and writes its fragment."""
        self.record.rows += len(window)
        hashes = hash_texts(row.text for row in window)
        distinct, first, back = np.unique(hashes, return_index=True, return_inverse=True)
        texts = [window[number].text for number in first]
        self.canaries.offer(distinct, texts)
        vectors, known = self.known.read(distinct)
        self.record.reused += len(window) - int(np.count_nonzero(~known))
        self._show()
        for _slice in self.embedder.fill(vectors, known, distinct, texts, [window[number].id for number in first]):
            self._show()
        rows = Rows(hashes, vectors[back], [row.id for row in window], [row.payload for row in window])
        data = fragments.encode(rows, self.model_id)
        stem = f"part-{len(self.written):05d}"
        fragment = fragments.write(self.folder.path, stem, data, len(window), self.whole)
        self.embedder.drop_spools()
        self.written.append(fragment)
        self.known.add(fragment, hashes)

    def finish(self) -> None:
        """Writes embed.json, which makes the folder valid, and deletes what it does not name."""
        texts = self.canaries.texts()
        made = canaries.recorded(self.folder.manifest, texts, self.model_id)
        if made is None:
            vectors, _tokens = self.encoder.encode_counted(texts, "document")
            made = canaries.as_json(texts, finite(vectors, texts, "canary text"))
        manifest = {
            "format": FORMAT,
            "model": self.encoder.fingerprint.as_dict(),
            "dim": self.encoder.dim,
            "count": sum(fragment.rows for fragment in self.written),
            "fragments": [fragment.entry() for fragment in self.written],
            "canaries": made,
            "created_at": now(),
            "run": self.record.as_dict(),
        }
        self.record.changed = self.folder.commit(manifest, self.written)

    def _show(self) -> None:
        self.progress.show(self.record.embedded + self.record.reused, self.record.rows, self.record)
