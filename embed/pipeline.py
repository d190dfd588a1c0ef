"""Documents in, a vectors folder out: window by window, each of them durable before the one after
the next is read.

For each window of rows (documents/rows.py) the texts are hashed, the known ones are read from fragments
(vectors/vector_cache.py), the rest is embedded (window.py), and the window becomes one fragment. The next window is
read and the last one written meanwhile, so that the encoder waits for neither. Memory holds those
three windows, whatever the size of the corpus."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embed.ahead import read_ahead
from embed.documents.chunks import Chunker
from embed.documents.document import Document, Faults
from embed.documents.rows import WINDOW_BYTES, WINDOW_ROWS, Row, rows_of, windows
from embed.encoders.contract import Encoder, Vectors
from embed.errors import EmbedError
from embed.models import canaries
from embed.models.canaries import Canaries
from embed.models.fingerprint import REMOTE
from embed.progress import EmbedProgress, Silent
from embed.vectors import fragments
from embed.vectors.folder import FolderError, VectorsWriter, learn
from embed.vectors.fragments import Fragment, FragmentRows
from embed.vectors.manifest import FORMAT
from embed.vectors.provenance import now_utc
from embed.vectors.record import EmbedRecord
from embed.vectors.vector_cache import VectorCache, hash_texts
from embed.window import SLICE_TEXTS, SPOOL_EVERY_S, WindowEmbedder, finite

# The one whose last chunks are computed, and one that has chunks for threads that have none left of it. With many
# threads a slice of short texts is soon done, and its start and end are one thread's work.
SLICES_AT_ONCE, THREADS_A_SLICE = 2, 8
TEXTS_AGAIN = 4  # of those that have a vector, to see whether a model elsewhere still makes it


def slices_at_once(threads: int) -> int:
    """Calls of an encoder of so many threads that keep them all at work."""
    return 1 if threads == 1 else SLICES_AT_ONCE + threads // THREADS_A_SLICE


@dataclass(slots=True)
class EmbedSettings:
    """embedded_from: other vectors folders whose vectors may be used; replace_model: whether vectors of another model
    that lie in the folder may be replaced. The sizes are for tests to make small.
    """

    embedded_from: Sequence[Path] = ()
    chunker: Chunker | None = None
    omit_text: bool = False
    replace_model: bool = False
    window_rows: int = WINDOW_ROWS
    window_bytes: int = WINDOW_BYTES
    slice_texts: int = SLICE_TEXTS
    slices_at_once: int = SLICES_AT_ONCE
    spool_every_s: float = SPOOL_EVERY_S


def embed_documents(
    documents: Iterable[Document],
    encoder: Encoder,
    out: Path,
    settings: EmbedSettings | None = None,
    *,
    faults: Faults | None = None,
    progress: EmbedProgress | None = None,
    warn: Callable[[str], None] = lambda _message: None,
    record: EmbedRecord | None = None,
) -> EmbedRecord:
    """Writes the vectors folder `out` and returns what it cost.

    Whatever is raised, the folder holds its old state, and the next run finds what was embedded until then.

    Raises:
        EmbedError: DocumentError (with --on-error fail), VectorError, FolderError, ManifestError or NoSpaceError.
    """
    settings, faults = settings or EmbedSettings(), faults or Faults()
    record = record or EmbedRecord()
    with ExitStack() as stack:
        folder = stack.enter_context(VectorsWriter(out))
        folder.open()
        run = stack.enter_context(closing(_EmbedRun(encoder, folder, settings, progress or Silent(), warn, record)))
        for window in stack.enter_context(closing(read_ahead(_windows(documents, settings, faults, record)))):
            run.take(window)
        record.skipped = faults.skipped
        run.finish()
    return record


@dataclass(slots=True)
class Window:
    """Rows with the hashes of their texts, (n,), and where in the sources their reading has come to."""

    rows: list[Row]
    hashes: NDArray[np.bytes_]
    reached: tuple[int, int]


def _windows(
    documents: Iterable[Document], settings: EmbedSettings, faults: Faults, record: EmbedRecord
) -> Iterator[Window]:
    reached = (0, 0)

    def counted() -> Iterator[Document]:
        nonlocal reached
        for document in documents:
            record.documents += 1
            reached = (document.source.number, document.done_bytes)
            yield document

    rows = (row for group in rows_of(counted(), faults, settings.chunker, settings.omit_text) for row in group)
    for window in windows(rows, settings.window_rows, settings.window_bytes):
        yield Window(window, hash_texts(row.text for row in window), reached)


@dataclass(slots=True)
class VectorsWriting:
    """A fragment on its way to the disk: its number in `known`, and the spool files that it replaces."""

    fragment: Future[Fragment]
    number: int
    spools: list[Path]


@dataclass(slots=True)
class _EmbedRun:
    encoder: Encoder
    folder: VectorsWriter
    settings: EmbedSettings
    progress: EmbedProgress
    warn: Callable[[str], None]
    record: EmbedRecord
    model_id: str = field(init=False)
    known: VectorCache = field(init=False)
    whole: set[str] = field(init=False)
    embedder: WindowEmbedder = field(init=False)
    canaries: Canaries = field(default_factory=Canaries)
    written: list[Fragment] = field(default_factory=list)
    taken: int = 0
    compared: bool = False
    writing: VectorsWriting | None = None
    writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="write"))

    def __post_init__(self) -> None:
        self.model_id = self.encoder.fingerprint.id
        self.known = VectorCache(self.encoder.dim, self.warn)
        self.whole, foreign = learn(self.folder.path, self.model_id, self.known, self.warn)
        self._check_model(foreign)
        for other in self.settings.embedded_from:
            before = len(self.known)
            learn(other, self.model_id, self.known, self.warn)
            if len(self.known) == before:
                self.warn(f"{other} holds no vectors of this model; nothing is reused from it")
        self.record.known = len(self.known)
        self.embedder = WindowEmbedder(
            self.encoder,
            self.folder.path,
            self.settings.slice_texts,
            self.settings.slices_at_once,
            self.settings.spool_every_s,
            self.record,
        )

    def _check_model(self, foreign: int) -> None:
        """FolderError where this run would replace vectors of another model, unless it was told to."""
        model = (self.folder.manifest or {}).get("model") or {}
        if self.settings.replace_model or model.get("id") == self.model_id or not (model or foreign):
            return
        ours = self.encoder.fingerprint
        unnamed = "whose model nobody named" if self.folder.manifest else "of another model, from an unfinished run"
        whose = f"of {model['name']} in {model['precision']}" if model else unnamed
        same = model and (model["name"], model["precision"]) == (ours.name, ours.precision)
        raise FolderError(
            f"{self.folder.path} holds {foreign:,} vectors {whose}, and this run would replace them by those of "
            f"{ours.name} in {ours.precision}{' with other weights or settings' if same else ''}. Choose another "
            "--out, give the --model and --precision they were made with, or let --replace-model replace them"
        )

    def _check_elsewhere(self, vectors: Vectors, known: NDArray[np.bool_], texts: Sequence[str]) -> None:
        """FolderError where a model elsewhere no longer makes the vectors that are there, once a run.

        A model here is known by its weights, one elsewhere by its name, under which another may answer by now.
        """
        again = np.flatnonzero(known)[:TEXTS_AGAIN]
        if self.compared or self.encoder.fingerprint.precision != REMOTE or not len(again):
            return
        self.compared = True
        now, _tokens = self.encoder.encode_counted([texts[number] for number in again], "document")
        least, tolerance = canaries.least_cosine(vectors[again], now), self.encoder.fingerprint.tolerance
        if not least >= tolerance:
            raise FolderError(
                f"{self.folder.path} holds vectors of {self.encoder.fingerprint.name} that are not those of the model "
                f"that answers to this name now: of {len(again)} texts that were embedded before, the least cosine is "
                f"{least:.4f}, and at least {tolerance} is expected. Choose another --out, or remove this one"
            )

    def take(self, given: Window) -> None:
        """Embeds what of the window is not known, and has its fragment written."""
        window, hashes = given.rows, given.hashes
        self.record.rows += len(window)
        self.record.reached = given.reached
        distinct, first, back = np.unique(hashes, return_index=True, return_inverse=True)
        texts = [window[number].text for number in first]
        self.canaries.offer(distinct, texts)
        vectors, known = self.known.read(distinct)
        self._check_elsewhere(vectors, known, texts)
        self.record.reused += len(window) - int(np.count_nonzero(~known))
        self._show()
        for _slice in self.embedder.fill(vectors, known, distinct, texts, [window[number].id for number in first]):
            self._show()
        rows = FragmentRows(hashes, vectors[back], [row.id for row in window], [row.payload for row in window])
        self._settle()
        stem, self.taken = f"part-{self.taken:05d}", self.taken + 1
        written = self.writer.submit(fragments.write, self.folder.path, stem, rows, self.model_id, self.whole)
        self.writing = VectorsWriting(written, self.known.add(rows.vectors, hashes), self.embedder.take_spools())

    def _settle(self) -> None:
        """Waits until the last fragment is durable."""
        if self.writing is not None:
            fragment = self.writing.fragment.result()
            for path in self.writing.spools:
                path.unlink(missing_ok=True)
            self.written.append(fragment)
            self.known.settled(self.writing.number, fragment)
            self.writing = None

    def close(self) -> None:
        """Waits for what is being written: the folder is locked until then."""
        self.embedder.close()
        with suppress(EmbedError):  # another one is on its way then
            self._settle()
        self.writer.shutdown()

    def finish(self) -> None:
        """Writes embed.json, which makes the folder valid, and deletes what it does not name."""
        self._settle()
        texts = self.canaries.texts()
        made = canaries.recorded(self.folder.manifest, texts, self.model_id) if texts else []
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
            "created_at": now_utc(),
            "run": self.record.as_dict(),
        }
        self.record.changed = self.folder.commit(manifest, self.written)

    def _show(self) -> None:
        self.progress.show(self.record)
