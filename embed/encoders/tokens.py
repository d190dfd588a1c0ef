"""Text to token ids, as sentence-transformers does it, and what the backends share because of it.

A `tokenizer.json` often carries the truncation and padding that it was saved with (128 and fixed, in the default
model's case). Used as it is, it would cut every text at half of the model's length and fill the rest with padding, so
both are replaced here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from tokenizers import Tokenizer

from embed.encoders.contract import Counts, Kind, Vectors, prefixed
from embed.encoders.projection import shortened
from embed.errors import ModelError, TextError
from embed.models.fingerprint import Fingerprint
from embed.models.folder import ModelFolder


class Tokens:
    """Thread-safe: the underlying tokenizers are configured once and only read afterwards."""

    def __init__(self, folder: ModelFolder) -> None:
        self._lower_case = folder.lower_case
        self._cut = _load(folder)
        self._cut.enable_truncation(folder.max_length)
        self._folder = folder

    @cached_property
    def _whole(self) -> Tokenizer:
        """Loaded when a text is first cut into chunks: a search never is."""
        return _load(self._folder)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text with special tokens, cut at the model's length. TextError for what is no Unicode."""
        prepared = self._prepared(texts)
        try:
            encodings = self._cut.encode_batch_fast(prepared)
        except (TypeError, UnicodeEncodeError):  # the library's word for half a surrogate pair
            raise not_unicode(prepared) from None
        return [encoding.ids for encoding in encodings]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Start and end character of each token of the whole text, without special tokens, uncut."""
        prepared = self._prepared([text])[0]
        if len(prepared) != len(text):  # a few letters change length in lower case: İ becomes two
            prepared = text
        encoding = self._whole.encode(prepared, add_special_tokens=False)
        return list(encoding.offsets)

    def _prepared(self, texts: Sequence[str]) -> list[str]:
        return [text.lower() for text in texts] if self._lower_case else list(texts)


class TokenEncoder:
    """What every backend has in common: a tokenizer, and what it says of itself. Not an encoder without
    `encode_ids`."""

    calls_at_once = 1

    def __init__(self, folder: ModelFolder, fingerprint: Fingerprint, backend: str) -> None:
        self._fingerprint = fingerprint
        self._backend = backend
        self._tokens = Tokens(folder)
        self._whole = folder.dim  # numbers of a vector before it is shortened

    @property
    def fingerprint(self) -> Fingerprint:
        return self._fingerprint

    @property
    def dim(self) -> int:
        return self._fingerprint.dim

    @property
    def backend(self) -> str:
        return self._backend

    def encode(self, texts: Sequence[str], kind: Kind = "document") -> Vectors:
        return self.encode_counted(texts, kind)[0]

    def encode_counted(self, texts: Sequence[str], kind: Kind = "document") -> tuple[Vectors, Counts]:
        ids = self.token_ids(texts, kind)
        lengths = np.array([len(each) for each in ids], np.int32)
        return self.encode_ids(ids, lengths), lengths

    def token_ids(self, texts: Sequence[str], kind: Kind = "document") -> list[list[int]]:
        return self._tokens.ids(prefixed(texts, self._fingerprint, kind))

    def encode_ids(self, ids: Sequence[Sequence[int]], lengths: Counts) -> Vectors:
        raise NotImplementedError

    def _shortened(self, vectors: Vectors) -> Vectors:
        """What a runtime gives of whole vectors, as many numbers of it as are asked for."""
        same = self.dim == self._whole
        return vectors if same else shortened(vectors, self.dim, self._fingerprint.normalize)

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        return self._tokens.offsets(text)

    def close(self) -> None:
        """Nothing to release that the garbage collector would not."""


def not_unicode(texts: Sequence[str]) -> TextError:
    """The error for the first of `texts` that has no UTF-8 form."""
    for number, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return TextError(
                f"Text {number} of {len(texts)} is not valid Unicode at character {error.start} (half a surrogate "
                'pair). Repair it where it is read, for instance with text.encode("utf-8", "replace").decode().'
            )
        except AttributeError:
            return TextError(f"Text {number} of {len(texts)} is a {type(text).__name__}, expected a str.")
    return TextError("The tokenizer refused a text.")


def _load(folder: ModelFolder) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(folder.tokenizer))
    except Exception as error:  # the library raises bare Exception for a damaged file
        raise ModelError(f"{folder.tokenizer} cannot be read as a tokenizer: {error}.") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
