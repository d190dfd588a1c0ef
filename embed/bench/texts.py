"""Texts of an exact length that anyone has: docstrings of the standard library."""

from __future__ import annotations

import functools

from embed.encoders.tokens import Tokens

SOURCES = ("python:stdlib",)


@functools.cache
def corpus(sources: tuple[str, ...]) -> tuple[str, ...]:
    """The docstrings of the standard library, some 2 MB: parsed once, which takes seconds, and cut for every case."""
    from embed.documents.document import Faults, FieldNames
    from embed.documents.inputs import find_sources, read_documents

    return tuple(each.text for each in read_documents(find_sources(sources), FieldNames(), Faults("fail")))


def cut_texts(tokens: Tokens, count: int, length: int) -> list[str]:
    """`count` different texts of exactly `length` tokens, special tokens included."""
    texts: list[str] = []
    gathered = ""
    for text in corpus(SOURCES):
        gathered = f"{gathered} {text}".strip()
        offsets = tokens.offsets(gathered)
        if len(offsets) < length - 2:
            continue
        cut, gathered = gathered[: offsets[length - 3][1]], ""
        if len(tokens.ids([cut])[0]) == length:
            texts.append(cut)
        if len(texts) == count:
            break
    return texts
