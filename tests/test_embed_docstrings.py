"""The docstring corpus: what is read from sources, under which name, and what is left out."""

from __future__ import annotations

import ast
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from embed.documents.docstrings import NoSourceError, find_libraries, read_docstrings
from embed.documents.document import Document, DocumentSource
from embed.documents.public_names import PublicNames

# What most tests read of the standard library, which takes seconds to read whole.
PART = ("_collections_abc.py", "_pydecimal.py", "_pyio.py", "collections", "concurrent", "decimal.py", "encodings",
        "gzip.py", "io.py")  # fmt: skip


@pytest.fixture(scope="module", params=["part", pytest.param("whole", marks=pytest.mark.long)])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the standard library, or of a part of it with noise beside."""
    whole = Path(sysconfig.get_paths()["stdlib"])
    if request.param == "whole":
        return whole
    folder = tmp_path_factory.mktemp("stdlib")
    for name in PART:
        if (whole / name).is_dir():
            shutil.copytree(whole / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(whole / name, folder / name)
    for noise in ("test", "idlelib"):
        (folder / noise).mkdir()
        (folder / noise / "noise.py").write_text("'''Nobody looks for this.'''\n")
    return folder


def move(patch: pytest.MonkeyPatch, home: Path) -> None:
    paths = {**sysconfig.get_paths(), "stdlib": str(home)}
    patch.setattr(sysconfig, "get_paths", lambda: paths)


@pytest.fixture(scope="module")
def stdlib(home: Path) -> dict[str, Document]:
    with pytest.MonkeyPatch.context() as patch:
        move(patch, home)
        return {document.id: document for document in read_docstrings(DocumentSource("python:stdlib", "python"))}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package named shelf on the path; importing any of it would fail."""
    files = {
        "shelf/__init__.py": '"""A shelf."""\nfrom ._impl import Book, _hidden\nraise RuntimeError("imported")\n',
        "shelf/_impl.py": (
            '"""Private."""\n'
            'class Book:\n    """A book."""\n    def open(self, page=1):\n        """Open it at a page."""\n'
            'class Unshown:\n    """Not re-exported."""\n'
            'def _hidden():\n    """Private, whoever imports it."""\n'
        ),
        "shelf/plain.py": (
            "LIMIT = 9\n"
            "def sort(items, /, *, limit: int = LIMIT, table={1: 2, 3: 4, 5: 6, 7: 8}) -> list:\n"
            '    """Sort the shelf.\n\n        Indented.\n    """\n'
            "if True:\n    def sort(items):\n        '''Sort on other systems.'''\n"
            "class Box:\n"
            '    """A box."""\n'
            "    def __init__(self, size):\n        pass\n"
            "    def __repr__(self):\n        '''Return repr(self).'''\n"
            "    def __add__(self, other):\n        '''Put the content of both together.'''\n"
            "    @property\n    def weight(self):\n        '''In kilograms.'''\n"
            "    @staticmethod\n    def make(size):\n        '''A new one.'''\n"
            "    def _secret(self):\n        '''Private.'''\n"
            "    class Lid:\n        '''Of the box.'''\n        async def lift(self):\n            '''Slowly.'''\n"
        ),
        "shelf/tests/test_it.py": '"""A test."""\n',
        "shelf/_vendor/other.py": '"""Vendored."""\n',
        "shelf/broken.py": "def f(:\n",
        "shelf/null.py": "\x00",
        "shelf/latin.py": "",
        "shelf/not-a-module.py": '"""No."""\n',
    }
    for name, text in files.items():
        path = tmp_path / "site-packages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    latin = tmp_path / "site-packages" / "shelf" / "latin.py"
    latin.write_bytes('# coding: latin-1\n"""Café."""\n'.encode("latin-1"))
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    return tmp_path / "site-packages"


def read(name: str) -> tuple[dict[str, Document], DocumentSource]:
    source = DocumentSource(f"python:{name}", "python")
    documents = list(read_docstrings(source))
    found = {document.id: document for document in documents}
    assert len(found) == len(documents)
    return found, source


def test_the_standard_library_is_some_thousand_documents_with_every_field(
    stdlib: dict[str, Document], home: Path
) -> None:
    # 6,040 in a full 3.11, 5,521 in 3.13; distributions leave tkinter, distutils and idlelib to other packages
    least = 3000 if home == Path(sysconfig.get_paths()["stdlib"]) else 300
    assert least < len(stdlib) < 9000
    fields = {"module", "name", "kind", "signature", "file", "line", "python", "title", "text"}
    kinds = set()
    for document in stdlib.values():
        assert set(document.payload) == fields
        assert document.text == document.payload["text"] != ""
        assert document.payload["python"] == platform.python_version()
        assert not Path(str(document.payload["file"])).is_absolute()
        kinds.add(document.payload["kind"])
    assert kinds == {"module", "class", "function", "method"}


def test_gzip_compress_reads_as_its_documentation_does(stdlib: dict[str, Document]) -> None:
    document = stdlib["gzip.compress"]
    assert document.title.startswith("gzip.compress(data, compresslevel=9")
    assert "compress" in document.text.lower()
    source = Path(os.__file__).parent / str(document.payload["file"])
    line = source.read_text().splitlines()[int(str(document.payload["line"])) - 1]
    assert line.startswith("def compress(")
    assert "zlib" in stdlib["encodings.zlib_codec"].text


def test_what_private_modules_define_has_its_public_name(stdlib: dict[str, Document]) -> None:
    assert stdlib["decimal.Decimal.sqrt"].payload["file"] in ("_pydecimal.py", "decimal.py")
    assert "concurrent.futures.Executor.submit" in stdlib
    assert "collections.abc.Set" in stdlib
    assert "io.BytesIO.getbuffer" in stdlib or "io.TextIOBase.read" in stdlib


def test_noise_and_private_names_are_left_out(stdlib: dict[str, Document]) -> None:
    for document in stdlib.values():
        parts = document.id.partition(":")[0].split(".")
        assert parts[0] not in {"test", "idlelib", "lib2to3", "turtledemo"}
        assert not [part for part in parts if part.startswith("_") and not part.endswith("__")]


def test_nothing_is_imported(package: Path) -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "from embed.documents.docstrings import read_docstrings; from embed.documents.document import DocumentSource\n"
        "assert len(list(read_docstrings(DocumentSource('python:shelf', 'python')))) > 5\n"
        "assert len(list(read_docstrings(DocumentSource('python:turtle', 'python')))) > 5\n"
        "assert not {'shelf', 'turtle', 'tkinter'} & set(sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(Path(__file__).parents[1])])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_names_kinds_and_signatures(package: Path) -> None:
    found, _ = read("shelf")
    assert {(d.id, d.payload["kind"], d.title) for d in found.values()} == {
        ("shelf", "module", "import shelf"),
        ("shelf.Book", "class", "shelf.Book"),
        ("shelf.Book.open", "method", "shelf.Book.open(page=1)"),
        ("shelf.latin", "module", "import shelf.latin"),
        ("shelf.plain.sort", "function", "shelf.plain.sort(items, /, *, limit=9, table=...)"),
        ("shelf.plain.sort:8", "function", "shelf.plain.sort(items)"),
        ("shelf.plain.Box", "class", "shelf.plain.Box(size)"),
        ("shelf.plain.Box.__add__", "method", "shelf.plain.Box.__add__(other)"),
        ("shelf.plain.Box.weight", "method", "shelf.plain.Box.weight"),
        ("shelf.plain.Box.make", "method", "shelf.plain.Box.make(size)"),
        ("shelf.plain.Box.Lid", "class", "shelf.plain.Box.Lid"),
        ("shelf.plain.Box.Lid.lift", "method", "shelf.plain.Box.Lid.lift()"),
    }
    sort = found["shelf.plain.sort"]
    assert sort.payload["signature"] == "def sort(items, /, *, limit: int=9, table=...) -> list"
    assert sort.text == "Sort the shelf.\n\nIndented."
    assert (sort.payload["module"], sort.payload["file"], sort.payload["line"]) == ("shelf.plain", "shelf/plain.py", 2)
    book = found["shelf.Book.open"]
    assert (book.payload["module"], book.payload["name"]) == ("shelf", "shelf.Book.open")
    assert book.payload["file"] == "shelf/_impl.py"
    assert found["shelf.latin"].text == "Café."


@pytest.mark.timeout(20)
@pytest.mark.parametrize("parameters", ["self", "self, node", "self, node, *others", "self, *, a=1, b=2, c=3"])
def test_a_name_that_is_longer_than_any_title_has_its_parameters_left_out(package: Path, parameters: str) -> None:
    name = "enter_" + "very_" * 24 + "long_name"
    path = package / "shelf" / "long.py"
    path.write_text(f'class Rule:\n    def {name}({parameters}):\n        """Called when entering."""\n')
    found, _ = read("shelf")
    shown = f"shelf.long.Rule.{name}"
    assert found[shown].title == (f"{shown}()" if parameters == "self" else f"{shown}(...)")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("shelf/abc.py", "import sys, _shelf_abc\nsys.modules[__name__] = _shelf_abc\n"),
        ("shelf/__init__.py", "import _shelf_abc\nabc = _shelf_abc\n"),
        ("shelf/abc.py", "from _shelf_abc import *\nfrom _shelf_abc import __all__\n"),
    ],
)
def test_a_module_that_stands_for_a_private_one(file: str, text: str) -> None:
    """Three ways in which collections.abc was made in as many releases of Python."""
    names = PublicNames()
    names.note("_shelf_abc", ast.parse("__all__ = ['Shelf']\nclass Shelf: pass"), False)
    module, is_package = file.removesuffix(".py").replace("/", ".").removesuffix(".__init__"), "__init__" in file
    names.note(module, ast.parse(text), is_package)
    assert names.public("_shelf_abc", "Shelf") == "shelf.abc"
    assert names.public("_other", "Shelf") is None


def test_sources_that_do_not_parse_are_counted(package: Path) -> None:
    _, source = read("shelf")
    assert source.notes == ["python:shelf: 2 source files do not parse and were left out (first: shelf/broken.py)"]


def test_one_module_of_a_package(package: Path) -> None:
    found, _ = read("shelf.plain")
    assert "shelf.plain.Box" in found
    assert "shelf" not in found
    assert found["shelf.plain.Box"].payload["file"] == "shelf/plain.py"


def test_all_takes_the_standard_library_and_installed_packages(
    home: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(monkeypatch, home)
    monkeypatch.setattr(sys, "path", [str(package)])
    found, _ = read("all")
    assert {"gzip.compress", "shelf.Book"} <= set(found)


@pytest.mark.parametrize("name", ["zlib", "sys", "nosuchmodule", "email.nosuchmodule", ""])
def test_a_name_without_python_source_is_refused(name: str) -> None:
    with pytest.raises(NoSourceError, match=f"python:{name}"):
        find_libraries(name)


def test_order_and_ids_are_the_same_each_time(package: Path) -> None:
    assert list(read("shelf")[0]) == list(read("shelf")[0])
