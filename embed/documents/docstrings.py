"""A corpus that every machine has: the docstrings of Python's standard library, or of every
installed package.

    python:stdlib     the standard library of the running interpreter
    python:all        that, and every package on its path
    python:NAME       one module or package, `python:email.mime`

Sources are parsed with `ast` and never imported: importing runs code, opens windows (`turtle`),
browsers (`antigravity`). So modules written in C (zlib, math, itertools) are missing; what is
written in Python around them (gzip, encodings.zlib_codec) or as their twin (`_pydecimal`) is there.

Left out, because they would be found instead of what they are about: test suites, vendored copies,
IDLE, lib2to3, turtledemo; names with a leading underscore; and special methods whose docstring has
fewer than four words ("Return repr(self)."), while `__init__` and `Decimal.__add__`, which say
something, stay. A private *module* is a different matter: `concurrent.futures.Future` is written in
`concurrent.futures._base`. What a private module defines is kept under the name of the public
module that re-exports it (`public_names.py`), and dropped if none does. pydoc_data's language
topics are left out too: of sixty kilobytes each, the model would see only the first lines.
"""

import ast
import importlib.machinery
import os
import platform
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from embed.documents.document import Document, DocumentSource, NoSuchInputError
from embed.documents.public_names import PublicNames, is_private, statements
from embed.documents.signatures import Constants, constants_of, signature, title

PREFIX = "python:"
CORPORA = ("stdlib", "all")
NOISE = {"test", "tests", "idle_test", "idlelib", "lib2to3", "turtledemo", "__pycache__"}
NOISE |= {"site-packages", "dist-packages", "lib-dynload", "_vendor", "_vendored", "_bundled"}
FEWEST_WORDS_OF_A_SPECIAL_METHOD = 4


class NoSourceError(NoSuchInputError):
    """`python:NAME` names nothing that is written in Python on this machine."""


@dataclass(slots=True)
class Library:
    """A folder that modules are imported from, and what below it is read together (re-exports are
    looked up there).
    """

    root: Path
    files: list[Path]
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.size_bytes = sum(path.stat().st_size for path in self.files)


@dataclass(slots=True)
class Definition:
    """A module, class, function or method with a docstring; qualname is "" for the module itself."""

    module: str
    qualname: str
    kind: str
    signature: str
    title: str
    file: str
    line: int
    text: str


def read_docstrings(source: DocumentSource) -> Iterator[Document]:
    """The documents of a `python:` source, sorted by file and line; notes what did not parse."""
    libraries = find_libraries(source.name.removeprefix(PREFIX))
    source.size_bytes = sum(library.size_bytes for library in libraries)
    python = platform.python_version()
    unparsed: list[str] = []
    ids: set[str] = set()
    row = 0
    for library in libraries:
        for definition in _definitions(library, source, unparsed):
            row += 1
            name = ".".join(filter(None, (definition.module, definition.qualname)))
            document_id = name if name not in ids else f"{name}:{definition.line}"
            if document_id in ids:
                document_id = f"{name}:{definition.file}:{definition.line}"
            ids.add(document_id)
            payload: dict[str, object] = {
                "title": definition.title,
                "text": definition.text,
                "module": definition.module,
                "name": name,
                "kind": definition.kind,
                "signature": definition.signature,
                "file": definition.file,
                "line": definition.line,
                "python": python,
            }
            yield Document(
                document_id, definition.title, definition.text, payload, source, row, done_bytes=source.done_bytes
            )
    if unparsed:
        source.notes.append(
            f"{source.name}: {len(unparsed)} source files do not parse and were left out (first: {unparsed[0]})"
        )


def check_name(name: str) -> None:
    """NoSourceError where nothing of that name is written in Python, before a model is loaded for it."""
    if name not in CORPORA:
        _library_of(name)


def find_libraries(name: str) -> list[Library]:
    """NoSourceError where nothing of that name is written in Python."""
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    if name == "stdlib":
        return [Library(stdlib, list(_python_files(stdlib)))]
    if name == "all":
        libraries = [Library(stdlib, list(_python_files(stdlib)))]
        for folder in _site_folders():
            for path in sorted(folder.iterdir()):
                if path.suffix == ".py" and path.stem.isidentifier():
                    libraries.append(Library(folder, [path]))
                elif path.is_dir() and path.name.isidentifier() and path.name not in NOISE:
                    libraries.append(Library(folder, list(_python_files(path))))
        return [library for library in libraries if library.files]
    return [_library_of(name)]


def _library_of(name: str) -> Library:
    """Follows the dotted name over the path as an import would, without importing the parents."""
    search: Iterable[str] | None = None
    spec = None
    for part in range(1, name.count(".") + 2):
        partial = ".".join(name.split(".")[:part])
        spec = importlib.machinery.PathFinder.find_spec(partial, None if search is None else list(search))
        if spec is None:
            break
        search = spec.submodule_search_locations or []
    depth = name.count(".") + 1
    if spec and spec.submodule_search_locations:
        for location in spec.submodule_search_locations:
            folder = Path(location)
            if files := list(_python_files(folder)):
                return Library(folder.parents[depth - 1], files)
    elif spec and spec.origin and spec.origin.endswith(".py"):
        return Library(Path(spec.origin).parents[depth - 1], [Path(spec.origin)])
    if name in sys.builtin_module_names or (spec and spec.origin):
        raise NoSourceError(
            f"{PREFIX}{name}: {name} is written in C; there is no Python source to read docstrings from"
        )
    raise NoSourceError(
        f"{PREFIX}{name}: there is no module {name} on the path of {sys.executable}; "
        "python:stdlib and python:all are the other two choices"
    )


def _python_files(folder: Path) -> Iterator[Path]:
    """Sorted by path; a folder of noise is skipped below `folder`, but not when it is `folder`
    itself.
    """
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name.isidentifier() and name not in NOISE)
        for name in sorted(files):
            if name.endswith(".py") and name[:-3].isidentifier():
                yield Path(parent, name)


def _site_folders() -> list[Path]:
    found = [Path(entry) for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]
    return [folder for folder in dict.fromkeys(found) if folder.is_dir()]


def _definitions(library: Library, source: DocumentSource, unparsed: list[str]) -> Iterator[Definition]:
    names = PublicNames()
    found: list[Definition] = []
    for path in library.files:
        relative = path.relative_to(library.root)
        parts = relative.with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        try:
            data = path.read_bytes()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes in other people's strings
                tree = ast.parse(data)
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            unparsed.append(str(relative))
        else:
            source.done_bytes += len(data)
            names.note(module, tree, is_package)
            if text := ast.get_docstring(tree):
                found.append(Definition(module, "", "module", "", f"import {module}", str(relative), 1, text))
            found.extend(_below(tree, module, "", str(relative), constants_of(tree)))
    for definition in found:
        public = names.public(definition.module, definition.qualname)
        if public is not None:
            definition.title = definition.title.replace(definition.module, public, 1)
            definition.module = public
            yield definition


def _below(node: ast.AST, module: str, outer: str, file: str, constants: Constants) -> Iterator[Definition]:
    """Definitions with docstrings in a module or class body, also inside its `if` and `try`."""
    for child in statements(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not is_private(child.name):
            qualname = f"{outer}.{child.name}" if outer else child.name
            if isinstance(child, ast.ClassDef):
                kind = "class"
            else:
                kind = "method" if isinstance(node, ast.ClassDef) or outer else "function"
            if (text := ast.get_docstring(child)) and _says_something(child.name, text):
                shown = f"{module}.{qualname}"
                yield Definition(
                    module,
                    qualname,
                    kind,
                    signature(child, constants),
                    title(shown, child, kind, constants),
                    file,
                    child.lineno,
                    text,
                )
            if isinstance(child, ast.ClassDef):
                yield from _below(child, module, qualname, file, constants)


def _says_something(name: str, text: str) -> bool:
    special = name.startswith("__") and name.endswith("__")
    return not special or len(text.split()) >= FEWEST_WORDS_OF_A_SPECIAL_METHOD
