"""What the stores of every framework do with an index: write, delete, search, list and count.

A document is a payload: its text under one name, its metadata beside that. So an index that was built from files by
`perwatt embed` is a store too. Each call waits for the last write of this object, whichever worker answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from service.client import Client, ProblemError
from service.wire.answer.search import Hit, SearchAnswer

# In a request: so many, and of so many bytes as JSON, half of what a service takes.
WRITTEN_AT_ONCE, WRITTEN_BYTES = 200, 4 << 20
DELETED_AT_ONCE, DELETED_BYTES = 10_000, 1 << 19
LISTED_AT_ONCE = 1000
T = TypeVar("T")


class IndexDocuments:
    """The documents of one index. One instance may be shared by threads.

    Args:
        text_key: the payload's field that is a document's text.
        options: of `Client`, as timeout_s and retries.
    """

    def __init__(self, url: str, index: str, *, key: str | None, text_key: str, **options: Any) -> None:
        self.client, self.index, self.text_key = Client(url, key=key, **options), index, text_key
        self._seq: int | None = None  # of the last write
        self._first: list[float] | None = None

    def payload(self, text: str | None, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Raises ValueError where metadata has the name of the text."""
        if self.text_key in metadata:
            raise ValueError(f"A metadata has {self.text_key!r}, where the text goes; choose another text_key.")
        return dict(metadata) if text is None else {**metadata, self.text_key: text}

    def parted(self, payload: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """A payload's text, and its metadata."""
        metadata = dict(payload)
        text = metadata.pop(self.text_key, None)
        return None if text is None else str(text), metadata

    def put(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes documents as `Client.put` takes them; they are on the server's disk when this returns.

        Raises:
            ValueError: documents that the server refused; the others are written.
        """
        given, refused = 0, list[str]()
        for some in parts(rows, WRITTEN_AT_ONCE, WRITTEN_BYTES):
            answer = self.client.put(self.index, some)
            given += len(some)
            self._seq = max(answer.seq, self._seq or 0)
            refused += [f"{failure.id}: {failure.error['detail']}" for failure in answer.failed]
        if refused:
            raise ValueError(f"{len(refused)} of {given} documents were refused, as {refused[0]}")

    def delete(self, ids: Iterable[str] = (), *, filter: Mapping[str, Any] | None = None) -> int:
        """How many were there; one that is not is no error."""
        if filter is not None:
            answers = [self.client.delete(self.index, filter=filter)]
        else:
            answers = [self.client.delete(self.index, ids=some) for some in parts(ids, DELETED_AT_ONCE, DELETED_BYTES)]
        self._seq = max([self._seq or 0, *(answer.seq for answer in answers)])
        return sum(answer.deleted for answer in answers)

    def clear(self) -> None:
        """Deletes every document that the key may see, as many requests as it takes."""
        while ids := [hit.id for hit in self._aimless(k=LISTED_AT_ONCE, fields=[]).hits]:
            self.delete(ids)

    def among(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are there now, by counting halves: one request where none or all are."""
        found = set[str]()
        for some in parts(dict.fromkeys(ids), DELETED_AT_ONCE, DELETED_BYTES):
            there = self.client.delete(self.index, ids=some, dry_run=True).deleted
            if there == len(some):
                found |= set(some)
            elif there:
                middle = len(some) // 2
                found |= self.among(some[:middle]) | self.among(some[middle:])
        return found

    def get(self, ids: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The ids and payloads of those that are there, in their order."""
        for id in ids:
            try:
                yield id, self.client.document(self.index, id).payload
            except ProblemError as problem:
                if problem.code != "document-not-found":
                    raise

    def search(self, **asked: Any) -> SearchAnswer:
        return self.client.search(self.index, **{"min_seq": self._seq, **asked})

    def count(self, filter: Mapping[str, Any] | None = None) -> int:
        return self._aimless(k=1, filter=filter, fields=[]).coverage.survivors

    def listed(self, filter: Mapping[str, Any] | None = None) -> list[Hit]:
        """All documents that a filter keeps, in no order that means anything.

        Raises:
            ValueError: more are kept than the server pages through, 10,000.
        """
        hits: list[Hit] = []
        cursor: str | None = ""
        while cursor is not None:
            answer = self._aimless(k=LISTED_AT_ONCE, filter=filter, params={"exact": True}, cursor=cursor)
            hits, cursor = hits + answer.hits, answer.next_cursor
        if answer.coverage.partial:
            raise ValueError(
                f"{answer.coverage.survivors:,} documents were asked for, and the server lists {len(hits):,}; "
                "narrow the filter."
            )
        return hits

    def _aimless(self, **asked: Any) -> SearchAnswer:
        """A search for a vector of no meaning."""
        if self._first is None:
            self._first = [1.0, *[0.0] * (self.client.index(self.index).dim - 1)]
        return self.search(vector=self._first, **asked)


def parts(given: Iterable[T], size: int, most_bytes: int | None = None) -> Iterator[list[T]]:
    """Of so many each, and of at most so many bytes as JSON unless one alone has more."""
    part: list[T] = []
    bytes_ = 0
    for each in given:
        more = 0 if most_bytes is None else len(msgspec.json.encode(each, enc_hook=_plain))
        if part and (len(part) == size or (most_bytes is not None and bytes_ + more > most_bytes)):
            yield part
            part, bytes_ = [], 0
        part.append(each)
        bytes_ += more
    if part:
        yield part


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
