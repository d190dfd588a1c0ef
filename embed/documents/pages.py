"""Markdown, HTML and PDF: one document a file, with its title, its text and its path.

The parsers are other people's and are asked for only when such a file is met: markdown-it-py, lxml and pypdf, the
extra `pages`. A file that they cannot read costs only itself, whatever it makes them raise.

    .md .markdown    title: of the front matter, else the first heading of level 1
    .html .htm       title: <title>, else the first <h1>; what no reader reads (scripts, styles, navigation) is left out
    .pdf             title: of its properties; the text of its pages, where they hold text and not pictures of it
"""

import re
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from embed.documents.document import (
    MAX_RECORD_BYTES,
    Document,
    DocumentError,
    DocumentSource,
    Faults,
    FieldNames,
    UnreadableInputError,
    shape,
)

FRONT_MATTER = re.compile(r"\A---\r?\n(.*?\r?\n)?---\r?\n", re.DOTALL)
TITLE_LINE = re.compile(r"^title:[ \t]*(.+?)[ \t]*\r?$", re.MULTILINE)
UNREAD = frozenset((
    "script", "style", "noscript", "template", "svg", "nav", "header", "footer", "aside", "form", "iframe", "object",
))  # fmt: skip
BLOCKS = frozenset((
    "p", "div", "section", "article", "main", "li", "tr", "dt", "dd", "h1", "h2", "h3", "h4", "h5", "h6", "pre",
    "blockquote", "table", "ul", "ol", "figcaption", "br", "hr",
))  # fmt: skip


def read_page(stream: BinaryIO, source: DocumentSource, names: FieldNames, faults: Faults) -> Iterator[Document]:
    """The document that the file is."""
    read = {"markdown": _markdown, "html": _html, "pdf": _pdf}[source.format]
    try:
        data = stream.read(MAX_RECORD_BYTES + 1)
        if len(data) > MAX_RECORD_BYTES:
            raise DocumentError(f"{source.name}: is larger than {MAX_RECORD_BYTES >> 20} MiB")
        title, text = read(data, source)
        if not text:
            hint = " (a scan holds pictures of text, which an OCR program reads)" if source.format == "pdf" else ""
            raise DocumentError(f"{source.name}: holds no text{hint}")
        record = {"id": source.inside or source.name, "title": title, "text": text, "path": source.name}
        yield shape(record, names, source, 1)
    except DocumentError as error:
        faults.meet(error)
    except (OSError, EOFError, zlib.error) as error:  # a disk, or what is packed and damaged
        faults.meet(DocumentError(f"{source.name}: cannot be read: {error}"))


def _missing(package: str, source: DocumentSource) -> UnreadableInputError:
    return UnreadableInputError(f"{source.name}: reading {source.format} needs {package}: pip install 'perwatt[pages]'")


def _text_of(data: bytes, source: DocumentSource) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"{source.name}: not valid UTF-8 at byte {error.start + 1}") from None


def _markdown(data: bytes, source: DocumentSource) -> tuple[str, str]:
    try:
        from markdown_it import MarkdownIt
    except ImportError:
        raise _missing("markdown-it-py", source) from None
    text, title = _text_of(data, source), ""
    if front := FRONT_MATTER.match(text):
        text = text[front.end() :]
        if found := TITLE_LINE.search(front[1] or ""):
            title = found[1].strip("\"'")
    try:
        tokens = MarkdownIt("commonmark").enable("table").parse(text)
    except Exception as error:  # the parser's, which says nothing of what it may raise
        raise DocumentError(f"{source.name}: cannot be read as Markdown: {error}") from error
    parts, heading = [], ""
    for token in tokens:
        if token.type == "heading_open":
            heading = token.tag
        elif token.type == "inline":
            said = "".join(_inline(child.type, child.content) for child in token.children or [])
            if heading == "h1" and not title:
                title = said
            else:
                parts.append(said)
            heading = ""
        elif token.type in ("fence", "code_block"):
            parts.append(token.content)
    return title.strip(), "\n".join(part.strip() for part in parts if part.strip())


def _inline(kind: str, content: str) -> str:
    if kind in ("softbreak", "hardbreak"):
        return "\n"
    return "" if kind == "html_inline" else content


def _html(data: bytes, source: DocumentSource) -> tuple[str, str]:
    try:
        from lxml import html
    except ImportError:
        raise _missing("lxml", source) from None
    try:
        data.decode()
        encoding = "utf-8"
    except UnicodeDecodeError:
        encoding = None  # what the page says of itself, or Latin-1
    try:
        # libxml2 stops at a depth of 256, which bounds what a hostile page costs.
        parser = html.HTMLParser(encoding=encoding, remove_comments=True, remove_pis=True)
        page = html.document_fromstring(data, parser=parser)
        title = next((each for tag in ("title", "h1") for each in page.iter(tag)), None)
        named = "" if title is None else title.text_content()
        body = page.find("body")
        text = "" if body is None else "".join(_read_text(body))
    except Exception as error:  # the parser's, as for an empty page
        raise DocumentError(f"{source.name}: cannot be read as HTML: {error}") from error
    return " ".join(named.split()), _lines(text)


def _read_text(node: Any) -> Iterator[str]:
    """The text below an element, a line for each block."""
    if node.tag not in UNREAD and "hidden" not in node.attrib:
        line = "\n" if node.tag in BLOCKS else ""
        yield line + (node.text or "")
        for child in node:
            yield from _read_text(child)
        yield line
    yield node.tail or ""


def _pdf(data: bytes, source: DocumentSource) -> tuple[str, str]:
    try:
        import logging
        from io import BytesIO

        import pypdf
    except ImportError:
        raise _missing("pypdf", source) from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of every oddity of a file that it can read
    try:
        file = pypdf.PdfReader(BytesIO(data))
        if file.is_encrypted and not file.decrypt(""):
            raise DocumentError(f"{source.name}: needs a password; save it without one")
        title = str(file.metadata.title or "") if file.metadata else ""
        text = "\n".join(page.extract_text() for page in file.pages)
    except DocumentError:
        raise
    except Exception as error:  # of whatever kind: a damaged file leads pypdf anywhere
        raise DocumentError(f"{source.name}: cannot be read as PDF: {error or type(error).__name__}") from error
    return " ".join(title.split()), _lines(text)


def _lines(text: str) -> str:
    """Without blank lines and the spaces of a layout; half a surrogate pair, which PDFs name, becomes a mark."""
    text = text.encode(errors="replace").decode()
    return "\n".join(line for each in text.splitlines() if (line := " ".join(each.split())))
