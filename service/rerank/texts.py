"""What a document's payload says to a model that reads: its title and text, as they are embedded."""

from __future__ import annotations

import msgspec

from embed.documents.document import embedded_text


class _WrittenTexts(msgspec.Struct):
    title: object = None
    text: object = None


_TEXTS = msgspec.json.Decoder(_WrittenTexts)


def text_of(payload: bytes) -> str:
    """Title and text of a payload's fields of these names; "" where there is neither."""
    found = _TEXTS.decode(payload)
    title, text = (part if isinstance(part, str) else "" for part in (found.title, found.text))
    return embedded_text(title, text)
