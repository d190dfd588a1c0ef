"""Text to words, as they are indexed and as a query has them."""

from typing import Any

import msgspec
from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

from index.errors import InputError

LANGUAGES = (
    *("arabic", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hungarian", "italian"),
    *("norwegian", "portuguese", "romanian", "russian", "spanish", "swedish", "tamil", "turkish"),
)
MAX_WORDS = 256  # different words of a query that are looked up; a longer text is cut there
_LONGEST_WORD = 64  # characters; what is longer is a hash or a line of base64


class _Texts(msgspec.Struct):
    title: Any = None
    text: Any = None


_TEXTS = msgspec.json.Decoder(_Texts)


def text_of(payload: bytes) -> str:
    """What of a payload is searched by words: its title and text, "" where it has neither."""
    return "\n".join(filter(None, texts_of(payload)))


def texts_of(payload: bytes) -> tuple[str, str]:
    """Title and text of a payload, "" for what it lacks."""
    try:
        found = _TEXTS.decode(payload)
    except msgspec.DecodeError:
        return "", ""
    title, text = (part if isinstance(part, str) else "" for part in (found.title, found.text))
    return title, text


def analyser(language: str) -> Any:
    """Text to words. language: one of LANGUAGES for its stemmer, or "none"."""
    builder = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.lowercase()).filter(Filter.ascii_fold())
    builder = builder.filter(Filter.remove_long(_LONGEST_WORD))
    return (builder if language == "none" else builder.filter(Filter.stemmer(language))).build()


def check_language(given: str) -> str:
    if given != "none" and given not in LANGUAGES:
        raise InputError(f"{given!r} is no language that words are stemmed in; expected none, {', '.join(LANGUAGES)}")
    return given
