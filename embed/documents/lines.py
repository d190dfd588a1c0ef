"""The lines of a text file as bytes, counted as an editor counts them.

What makes a whole file unreadable shows here first, and is named with the line it shows on: an encoding other than
UTF-8, a gzip file that was cut off. A UTF-8 byte-order mark is dropped wherever a line opens with one, since files that
have one are also joined with `cat`.
"""

import gzip
import zlib
from typing import BinaryIO, Self

from embed.documents.document import MAX_RECORD_BYTES, DocumentError, DocumentSource, UnreadableInputError

BOM = b"\xef\xbb\xbf"
# What a file in another encoding opens with; UTF-32 stands before UTF-16, whose mark it repeats.
ENCODINGS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


class TextLines:
    """Iterates over the lines of `stream`; `count` is the number of the last one.

    An iterator and not a generator, which would end with the first error: a reader goes on after a DocumentError.
    """

    def __init__(self, stream: BinaryIO, source: DocumentSource) -> None:
        self._stream = stream
        self._source = source
        self.count = source.piece.rows if source.piece else 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        """Raises DocumentError for a line that is too long, InputError where the file cannot be read on."""
        line = self._read(MAX_RECORD_BYTES + 1)
        if not line:
            raise StopIteration
        self.count += 1
        if self.count == 1:
            self._check_encoding(line)
        size, rest = len(line), line
        while size > MAX_RECORD_BYTES and rest and not rest.endswith(b"\n"):
            rest = self._read(MAX_RECORD_BYTES)
            size += len(rest)
        self._source.passed(self.count, size)
        if size > MAX_RECORD_BYTES:
            raise DocumentError(f"{self._source.at(self.count)}: the line is longer than {MAX_RECORD_BYTES >> 20} MiB")
        return line.removeprefix(BOM)

    def _read(self, most_bytes: int) -> bytes:
        try:
            return self._stream.readline(most_bytes)
        except EOFError:
            raise UnreadableInputError(
                f"{self._source.at(self.count + 1)}: the gzip data end in the middle of this line: the file was cut "
                "off, as by a download that broke. Get it again"
            ) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise UnreadableInputError(
                f"{self._source.at(self.count + 1)}: cannot be unpacked as gzip: {error}"
            ) from None
        except OSError as error:
            reason = error.strerror or error
            raise UnreadableInputError(f"{self._source.at(self.count + 1)}: cannot be read: {reason}") from error

    def _check_encoding(self, line: bytes) -> None:
        encoding = next((name for mark, name in ENCODINGS if line.startswith(mark)), None)
        if encoding is None and b"\0" in line[:2]:
            encoding = "utf-16le" if line[1:2] == b"\0" else "utf-16be"
        if encoding is not None:
            raise UnreadableInputError(
                f"{self._source.at(1)}: this file is {encoding.upper()}, and UTF-8 was expected; "
                f"convert it first: iconv -f {encoding} -t utf-8"
            )
