"""Inputs cut into fragments: some megabytes of whole records each, to be read apart and on other machines.

JSON Lines are cut after the line of least hash among those where a fragment may end, so that a line that was mended,
added or deleted changes the fragment that it is in and leaves most others as they were. A row group of Parquet is never
cut. Each fragment has the hash of its bytes, by which a worker knows
that it reads what was planned, and what was made of a fragment is found again by it. Other formats are not cut; files
that are small go together. What cannot be read twice, as stdin, or differs between machines, as `python:` corpora,
makes no fragments.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from embed.documents.document import DocumentSource, FilePiece, NoSuchInputError, UnreadableInputError

# A fragment is what a lost worker may have to do again, and the start of a process is what it costs by itself.
LEAST_BYTES, MOST_BYTES = 4 << 20, 64 << 20
ENOUGH = 64  # fragments; above it they grow, by doubling, so that a corpus that grows is rarely cut anew
_READ_BYTES = 1 << 20


class ChangedInputError(UnreadableInputError):
    """An input is not what it was when it was planned for."""


@dataclass(frozen=True, slots=True)
class FragmentFile:
    """One file of a fragment, or a piece of one. sha256: of the bytes from start to before end."""

    name: str
    path: str
    format: str
    start: int
    end: int
    sha256: str
    rows: int = 0
    groups: tuple[int, int] | None = None
    separator: str | None = None
    inside: str = ""

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        groups = fields.get("groups")
        return cls(**fields | {"groups": None if groups is None else (int(groups[0]), int(groups[1]))})

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def source(self, number: int) -> DocumentSource:
        """To be read from. Raises ChangedInputError where the bytes are others by now."""
        try:
            found = _sha256(Path(self.path), self.start, self.end)
        except OSError as error:
            raise UnreadableInputError(f"{self.name}: cannot be read: {error.strerror}") from error
        if found != self.sha256:
            raise ChangedInputError(f"{self.name} was changed since the job was planned; run the job again")
        piece = FilePiece(self.start, self.end, self.rows, self.groups)
        return DocumentSource(
            self.name,
            self.format,
            number,
            Path(self.path),
            self.end - self.start,
            separator=self.separator,
            inside=self.inside,
            piece=piece if _is_cut(self.format, self.path) else None,
        )

    @property
    def where(self) -> str:
        """For messages: which file, and which of its records are the first."""
        what = "row" if self.format == "parquet" else "line"
        return self.name + (f" from {what} {self.rows + 1:,} on" if self.rows else "")


Fragments = list[list[FragmentFile]]


def cut(
    sources: Sequence[DocumentSource],
    most_bytes: int | None = None,
    opened: Callable[[DocumentSource], AbstractContextManager[object]] = nullcontext,
) -> Fragments:
    """The sources as fragments of about `most_bytes`, by default by how much there is.

    Args:
        opened: Has the bytes of a source where its path is, for as long as they are read.

    Raises UnreadableInputError for a file that cannot be read, and for an input that cannot be cut.
    """
    for source in sources:
        if source.path is None or not source.path.is_file():
            raise NoSuchInputError(
                f"{source.name}: every worker of a job reads its part of the input, and only files can be read so. "
                "Write it to a file, or a folder of files"
            )
    if most_bytes is None:
        most_bytes, total = LEAST_BYTES, sum(source.size_bytes for source in sources)
        while total > most_bytes * ENOUGH and most_bytes < MOST_BYTES:
            most_bytes *= 2
    fragments: Fragments = []
    room = 0
    for source in sources:
        try:
            with opened(source):
                for file in _files(source, most_bytes):
                    size = file.end - file.start
                    if size > room:
                        fragments.append([])
                        room = most_bytes
                    fragments[-1].append(file)
                    room -= size
        except OSError as error:
            raise UnreadableInputError(f"{source.name}: cannot be read: {error.strerror}") from error
        except pa.ArrowException as error:
            raise UnreadableInputError(f"{source.name}: cannot be read as Parquet: {error}") from error
    return fragments


def _files(source: DocumentSource, most_bytes: int) -> Iterator[FragmentFile]:
    path = Path(source.path or "")
    pieces = _row_groups if source.format == "parquet" else _lines if _is_cut(source.format, str(path)) else _whole
    for (start, end, rows, groups), sha256 in pieces(path, most_bytes):
        yield FragmentFile(
            source.name,
            str(path.resolve()),
            source.format,
            start,
            end,
            sha256,
            rows,
            groups,
            source.separator,
            source.inside,
        )


def _is_cut(format: str, path: str) -> bool:
    return format == "parquet" or (format == "jsonl" and not path.lower().endswith(".gz"))


def _lines(path: Path, most_bytes: int) -> Iterator[tuple[FilePiece, str]]:
    start = rows = 0
    with path.open("rb", buffering=_READ_BYTES) as file:
        while block := file.read(most_bytes):
            if len(block) == most_bytes:
                block = block[: _end_of(block)] or block + file.readline(most_bytes)  # of one line: refused when read
                file.seek(start + len(block))
            yield FilePiece(start, start + len(block), rows), hashlib.sha256(block).hexdigest()
            start, rows = start + len(block), rows + block.count(b"\n")


def _end_of(block: bytes) -> int:
    """Where in its second half a fragment ends that begins with the block; 0 where no line ends there."""
    first = block.find(b"\n", len(block) // 2) + 1
    end = first
    ends = [(zlib.crc32(line), end := end + len(line) + 1) for line in block[first:].split(b"\n")[:-1]]
    return min(ends, default=(0, first))[1]


def _row_groups(path: Path, most_bytes: int) -> Iterator[tuple[FilePiece, str]]:
    metadata = pq.read_metadata(path)
    first, rows = 0, 0
    for number in range(metadata.num_row_groups):
        start, _ = _bytes_of(metadata.row_group(first))
        _, end = _bytes_of(metadata.row_group(number))
        last = number + 1 == metadata.num_row_groups
        if last or _bytes_of(metadata.row_group(number + 1))[1] - start > most_bytes:
            yield FilePiece(start, end, rows, (first, number + 1)), _sha256(path, start, end)
            rows += sum(metadata.row_group(each).num_rows for each in range(first, number + 1))
            first = number + 1


def _bytes_of(group: Any) -> tuple[int, int]:
    """From where to where a row group lies in its file."""
    columns = [group.column(number) for number in range(group.num_columns)]
    starts = [min(filter(None, (each.dictionary_page_offset, each.data_page_offset))) for each in columns]
    ends = (start + each.total_compressed_size for start, each in zip(starts, columns, strict=True))
    return min(starts), max(ends)


def _whole(path: Path, _most_bytes: int) -> Iterator[tuple[FilePiece, str]]:
    size = path.stat().st_size
    yield FilePiece(0, size), _sha256(path, 0, size)


def _sha256(path: Path, start: int, end: int) -> str:
    state, left = hashlib.sha256(), end - start
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while left and (block := file.read(min(left, _READ_BYTES))):
            state.update(block)
            left -= len(block)
    return state.hexdigest()
