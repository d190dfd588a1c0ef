"""An encoder that runs elsewhere, asked in requests of some texts each, several under way at once.

Nobody can hash the weights of a model that runs elsewhere. It is known by its name, and by what it makes of a few fixed
texts, the canaries, which are encoded when the encoder is opened. From then on a canary goes with every request of
documents, whose vectors stay, and with one of queries every `LOOK_EVERY_S`. It must come out as it did: then the
vectors beside it are of the same model. So must the number of dimensions, and the name of the model where answers carry
it. When the model has become another one, nothing is encoded until it is back: vectors of two models compare without an
error and without a meaning.

Of a request only the sum of its tokens is known, which is what it costs. It is spread over the texts by their lengths.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from embed.encoders.contract import AT_ONCE, Counts, Kind, Vectors, prefixed
from embed.encoders.remote.endpoint import OF_A_RUN, Endpoint, Patience, RefusedError
from embed.encoders.remote.shapes import Encodings, Rubbish, Shape, shape_of
from embed.errors import EncoderChangedError, EncoderError, ModelError
from embed.models.canaries import FIXED_CANARIES, least_cosine
from embed.models.fingerprint import REMOTE, Fingerprint
from embed.models.folder import prefixes_of

REQUEST_CHARACTERS = 100_000
LOOK_EVERY_S = 30.0
LOOK_AGAIN_S = 2.0  # at a model that has changed
TOO_MUCH = frozenset({400, 413, 422})
WORD = re.compile(r"\w+|[^\w\s]")
KINDS: tuple[Kind, ...] = ("document", "query")


def open_remote(
    address: str,
    model: str | None = None,
    *,
    query_prefix: str | None = None,
    document_prefix: str | None = None,
    at_once: int = AT_ONCE,
    patience: Patience = OF_A_RUN,
) -> RemoteEncoder:
    """The encoder at `address`, once it has encoded the canaries.

    Args:
        address: Of a server in OpenAI's shape, a text-embeddings-inference, or a `perwatt serve`.
        model: Its name there; None takes the only one that the server has.
        query_prefix: Put before each query; by default what the authors of a model of that name ask for.
        document_prefix: The same for documents.
        at_once: Requests under way.

    Raises:
        ModelError: The server has no such model, or puts prefixes of its own.
        EncoderError: It does not answer with vectors.
    """
    endpoint = Endpoint(address, at_once, patience)
    try:
        shape = shape_of(endpoint, model)
        prefixes = _prefixes(shape, address, query_prefix, document_prefix)
        return RemoteEncoder(endpoint, shape, *prefixes, at_once)
    except BaseException:
        endpoint.close()
        raise


def _prefixes(shape: Shape, address: str, query: str | None, document: str | None) -> tuple[str, str]:
    if shape.fingerprint is None:
        usual = prefixes_of(shape.model)
        return usual[0] if query is None else query, usual[1] if document is None else document
    theirs = shape.fingerprint.query_prefix, shape.fingerprint.document_prefix
    if query not in (None, theirs[0]) or document not in (None, theirs[1]):
        raise ModelError(f"The perwatt at {address} puts its model's own prefixes before texts; give none.")
    return theirs


class RemoteEncoder:
    """Keeps the contract of an encoder; see the head of this file. Safe to call from several threads."""

    def __init__(self, endpoint: Endpoint, shape: Shape, query_prefix: str, document_prefix: str, at_once: int) -> None:
        self._endpoint, self._shape, self.calls_at_once = endpoint, shape, at_once
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="remote")
        self._lock = threading.Lock()
        self._changed: EncoderChangedError | None = None
        # Without a width before the first vectors are here.
        self._fingerprint = shape.fingerprint or fingerprint_elsewhere(shape, 0, query_prefix, document_prefix)
        first = self._canaries("document")
        if shape.fingerprint is None:
            self._fingerprint = fingerprint_elsewhere(shape, first.vectors.shape[1], query_prefix, document_prefix)
        self._answering = first.model
        self._pinned: dict[Kind, Vectors] = dict.fromkeys(KINDS, self._checked(first).vectors)
        if query_prefix != document_prefix:
            self._pinned["query"] = self._checked(self._canaries("query")).vectors
        self._looked_s, self._next = time.monotonic(), 0
        self._alone = shape.batch == 1  # whether canaries go in requests of their own

    @property
    def fingerprint(self) -> Fingerprint:
        return self._fingerprint

    @property
    def dim(self) -> int:
        return self._fingerprint.dim

    @property
    def backend(self) -> str:
        return f"{self._shape.speaks} at {self._endpoint.address}"

    def encode(self, texts: Sequence[str], kind: Kind = "document") -> Vectors:
        return self.encode_counted(texts, kind)[0]

    def encode_counted(self, texts: Sequence[str], kind: Kind = "document") -> tuple[Vectors, Counts]:
        """Raises EncoderError, and EncoderChangedError where another model answers."""
        parts = list(self._requests(texts))
        if not parts:
            return np.empty((0, self.dim), np.float32), np.empty(0, np.int32)
        if len(parts) == 1:
            return self._encoded(parts[0], kind)
        done = list(self._pool.map(lambda part: self._encoded(part, kind), parts))
        return np.concatenate([vectors for vectors, _ in done]), np.concatenate([counts for _, counts in done])

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Of words and marks: the tokens of a model elsewhere are not known here."""
        return [match.span() for match in WORD.finditer(text)]

    def close(self) -> None:
        self._endpoint.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _requests(self, texts: Sequence[str]) -> Iterator[Sequence[str]]:
        start = held = 0
        most = max(1, self._shape.batch - 1)  # beside the canary
        for place, text in enumerate(texts):
            if place > start and (place - start == most or held + len(text) > REQUEST_CHARACTERS):
                yield texts[start:place]
                start, held = place, 0
            held += len(text)
        if start < len(texts):
            yield texts[start:]

    def _encoded(self, texts: Sequence[str], kind: Kind) -> tuple[Vectors, Counts]:
        self._look_if_changed()
        canary = self._canary(kind)
        along = [] if canary is None or self._alone else [FIXED_CANARIES[canary]]
        try:
            found = self._checked(self._read([*texts, *along], kind))
            if canary is not None:
                beside = found if along else self._checked(self._read([FIXED_CANARIES[canary]], kind))
                self._compare(beside.vectors[-1:], kind, canary)
        except RefusedError as error:
            if along and len(texts) == 1 and error.status in TOO_MUCH:
                self._alone = True
                return self._encoded(texts, kind)
            return self._in_halves(texts, kind, error)
        return found.vectors[: len(texts)], self._spread(found.tokens, texts)

    def _in_halves(self, texts: Sequence[str], kind: Kind, error: RefusedError) -> tuple[Vectors, Counts]:
        """A request that was refused may have been too much at once."""
        if error.status not in TOO_MUCH:
            raise error
        if len(texts) == 1:
            raise EncoderError(
                self._endpoint.address,
                f"refuses a text of {len(texts[0]):,} characters with {error.status}; it may be longer than the model "
                "takes, and --chunk-tokens cuts documents.",
            ) from None
        half = len(texts) // 2
        first, second = self._encoded(texts[:half], kind), self._encoded(texts[half:], kind)
        return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])

    def _read(self, texts: Sequence[str], kind: Kind, quote: bool = False) -> Encodings:
        own_prefixes = self._shape.fingerprint is not None
        body = self._shape.body(texts if own_prefixes else prefixed(texts, self._fingerprint, kind), kind)
        answer = self._endpoint.post(self._shape.url, body, quote=quote)
        try:
            return self._shape.read(answer, len(texts))
        except Rubbish as error:
            raise EncoderError(self._endpoint.address, f"answers with no vectors: {error}.") from None

    def _canaries(self, kind: Kind) -> Encodings:
        """All of them; what the server says of an error may be repeated, as it holds nobody's texts."""
        step = self._shape.batch
        parts = [
            self._read(FIXED_CANARIES[at : at + step], kind, quote=True) for at in range(0, len(FIXED_CANARIES), step)
        ]
        return parts[0]._replace(vectors=np.concatenate([part.vectors for part in parts]))

    def _checked(self, found: Encodings) -> Encodings:
        """Raises EncoderChangedError for another number of dimensions, or another name of the model."""
        if found.vectors.shape[1] != self.dim:
            raise self._other(f"its vectors have {found.vectors.shape[1]} dimensions instead of {self.dim}")
        if found.model != self._answering:
            raise self._other(f"it calls its model {str(found.model)[:80]!r} instead of {self._answering!r}")
        return found

    def _canary(self, kind: Kind) -> int | None:
        """The one that is due, None where none is."""
        with self._lock:
            if kind == "query" and time.monotonic() - self._looked_s < LOOK_EVERY_S:
                return None
            self._looked_s, self._next = time.monotonic(), (self._next + 1) % len(FIXED_CANARIES)
            return self._next

    def _compare(self, vectors: Vectors, kind: Kind, first: int) -> None:
        """Raises EncoderChangedError where the canaries from `first` on are not what they were."""
        least = least_cosine(self._pinned[kind][first : first + len(vectors)], vectors)
        if not least >= self._fingerprint.tolerance:
            raise self._other(
                f"a text that it encoded before comes out differently (cosine {least:.4f}, at least "
                f"{self._fingerprint.tolerance} is expected)"
            )

    def _other(self, how: str) -> EncoderChangedError:
        """Noticed: from now on nothing is encoded before the canaries are what they were."""
        why = (
            f"has another model than when it was first asked: {how}. Nothing is encoded until {self._shape.model} is "
            "back; for another model, embed and build again."
        )
        with self._lock:
            self._looked_s = time.monotonic()
            self._changed = EncoderChangedError(self._endpoint.address, why, LOOK_AGAIN_S)
            return self._changed

    def _look_if_changed(self) -> None:
        with self._lock:
            changed = self._changed
            if changed is None:
                return
            if time.monotonic() - self._looked_s < LOOK_AGAIN_S:
                raise EncoderChangedError(self._endpoint.address, changed.why, LOOK_AGAIN_S)
            self._looked_s = time.monotonic()
        self._compare(self._checked(self._canaries("document")).vectors, "document", 0)
        with self._lock:
            self._changed = None

    def _spread(self, tokens: int, texts: Sequence[str]) -> Counts:
        """`tokens` over texts by their lengths, int32 (n,). An estimate never says that a text was cut."""
        lengths = np.array([len(text) + 1 for text in texts], np.float64)
        ends = np.rint(np.cumsum(lengths) * (tokens / lengths.sum())).astype(np.int32)
        counts: Counts = np.diff(ends, prepend=np.int32(0))
        return counts.clip(max=self._fingerprint.max_length - 1) if self._fingerprint.max_length else counts


def fingerprint_elsewhere(shape: Shape, dim: int, query_prefix: str, document_prefix: str) -> Fingerprint:
    """Of a model that is known by its name alone; the canaries of vectors and of a generation hold the rest."""
    return Fingerprint(
        name=shape.model,
        weights_sha256=f"{REMOTE}:{shape.model}",
        tokenizer_sha256=REMOTE,
        pooling="model",
        normalize=False,
        query_prefix=query_prefix,
        document_prefix=document_prefix,
        max_length=0,
        precision=REMOTE,
        dim=dim,
    )
