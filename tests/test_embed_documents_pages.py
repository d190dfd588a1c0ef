"""Markdown, HTML and PDF: what becomes title and text, whatever the files are, and folders of them."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pypdf
import pytest
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from embed.documents.document import Document, DocumentError, Faults, FieldNames, UnreadableInputError
from embed.documents.inputs import find_sources, read_documents

MARKDOWN = """# Rotating keys

Make a *second* key, then `revoke` the [first](/first) one.
It takes a minute.

## How

```sh
perwatt keys create
```

| scope | may |
|---|---|
| search | ask |
"""
HTML = """<!doctype html><html><head><title>Rotating
 keys</title><style>p {}</style></head><body><nav>Home</nav>
<main><h1>Rotate</h1><p>Make a <b>second</b> key&amp;lock.<br>
Then <!-- not --> revoke.</p><ul><li>one<li>two</ul><p hidden>never</p><script>evil()</script></main></body></html>"""


def pdf(title: str, *pages: str, password: str | None = None) -> bytes:
    """A PDF file with a line of text a page."""
    writer = pypdf.PdfWriter()
    font = DictionaryObject({
        NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"),
        NameObject("/BaseFont"): NameObject("/Helvetica"),
    })  # fmt: skip
    for text in pages:
        page = writer.add_blank_page(300, 300)
        fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        content = DecodedStreamObject()
        content.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(content)
    writer.add_metadata({"/Title": title})
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def read(*inputs: Path, faults: Faults | None = None, names: FieldNames | None = None) -> list[Document]:
    return list(read_documents(find_sources([str(each) for each in inputs]), names or FieldNames(), faults or Faults()))


def test_a_folder_of_pages_is_a_document_a_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "keys.md").write_text(MARKDOWN)
    (tmp_path / "keys.html").write_text(HTML)
    (tmp_path / "keys.pdf").write_bytes(pdf("Rotating keys", "Make a second key.", "Then revoke."))
    (tmp_path / "notes.htm.gz").write_bytes(gzip.compress(b"<h1>Notes</h1>caf\xe9"))
    found = {document.id: document for document in read(tmp_path)}
    assert {id_: (document.title, document.text) for id_, document in found.items()} == {
        "deep/keys.md": (
            "Rotating keys",
            "Make a second key, then revoke the first one.\nIt takes a minute.\nHow\nperwatt keys create\n"
            "scope\nmay\nsearch\nask",
        ),
        "keys.html": ("Rotating keys", "Rotate\nMake a second key&lock.\nThen revoke.\none\ntwo"),
        "keys.pdf": ("Rotating keys", "Make a second key.\nThen revoke."),
        "notes.htm.gz": ("Notes", "Notes\ncafé"),
    }
    assert found["keys.pdf"].payload == {
        "title": "Rotating keys", "text": "Make a second key.\nThen revoke.", "path": str(tmp_path / "keys.pdf")
    }  # fmt: skip
    (alone,) = read(tmp_path / "keys.html")
    assert alone.id == str(tmp_path / "keys.html")


@pytest.mark.parametrize(
    ("text", "title", "body"),
    [
        ('---\ntags: [a]\ntitle: "From above"\n---\n# Heading\n\nText.', "From above", "Heading\nText."),
        ("Text alone.", "", "Text alone."),
        ("\ufeff# One\n\n# Two\n\n<b>bold</b> text", "One", "Two\nbold text"),
        ("---\n---\nText.", "", "Text."),
    ],
)
def test_the_title_of_markdown(tmp_path: Path, text: str, title: str, body: str) -> None:
    (tmp_path / "a.md").write_text(text)
    (document,) = read(tmp_path / "a.md")
    assert (document.title, document.text) == (title, body)


def test_hostile_files_cost_a_sentence_each_and_nothing_else(tmp_path: Path) -> None:
    bad = {
        "a.pdf": (b"%PDF-1.7\nnothing", "cannot be read as PDF: "),
        "b.pdf": (pdf("Locked", "Secret.", password="p"), "needs a password"),
        "c.pdf": (pdf("Scan", ""), "holds no text (a scan holds pictures"),
        "d.pdf": (pdf("Cut", "Text.")[:400], "cannot be read as PDF: "),
        "e.html": (b"", "cannot be read as HTML"),
        "f.html": (b"<div>" * 100_000 + b"deep", "holds no text"),
        "g.html": (b"<script>only</script>", "holds no text"),
        "h.md": (b"\xff\xfe", "not valid UTF-8 at byte 1"),
        "i.md": (b"> " * 50_000, "holds no text"),
    }
    for name, (data, _said) in bad.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "z.md").write_text("Good.")
    faults = Faults("skip")
    Faults.SHOWN, shown = len(bad), Faults.SHOWN
    try:
        assert [document.text for document in read(tmp_path, faults=faults)] == ["Good."]
    finally:
        Faults.SHOWN = shown
    assert faults.skipped == len(bad)
    for (name, (_data, said)), reason in zip(bad.items(), faults.first, strict=True):
        assert reason.startswith(f"{tmp_path / name}: ")
        assert said in reason
        assert "\n" not in reason
    with pytest.raises(DocumentError, match="--on-error skip"):
        read(tmp_path)


def test_pages_beside_tables_of_documents_are_none(tmp_path: Path) -> None:
    (tmp_path / "docs.jsonl").write_text('{"id": "1", "text": "Row."}\n')
    (tmp_path / "README.md").write_text("# About this folder")
    assert [document.id for document in read(tmp_path)] == ["1"]


@pytest.mark.parametrize(("name", "package"), [("a.md", "markdown_it"), ("a.html", "lxml"), ("a.pdf", "pypdf")])
def test_a_missing_parser_is_said_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    (tmp_path / name).write_bytes(b"x")
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(UnreadableInputError, match=r"pip install 'perwatt\[pages\]'"):
        read(tmp_path)


def test_a_page_whose_packing_is_damaged_costs_only_itself(tmp_path: Path) -> None:
    whole = gzip.compress(b"<h1>Notes</h1>" + bytes(range(256)) * 40)
    (tmp_path / "cut.html.gz").write_bytes(whole[:-20])
    (tmp_path / "none.md.gz").write_bytes(b"no gzip at all")
    (tmp_path / "flipped.html.gz").write_bytes(whole[:30] + bytes([whole[30] ^ 255]) + whole[31:])
    (tmp_path / "good.md").write_text("# Good\n\nText.")
    faults = Faults("skip")
    assert [document.id for document in read(tmp_path, faults=faults)] == ["good.md"]
    assert faults.skipped == 3
    assert all("cannot be read: " in each for each in faults.first)
