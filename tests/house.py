"""The graph of imports between files and rooms, drawn from the sources, and what is wrong with one."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

TOP = Path(__file__).parents[1]
PACKAGES = ("embed", "index", "service", "loadtest", "deploy")


# What each package may import of the others. Files of vectors are embed.vectors'. loadtest stands outside: it asks
# index.search.exact for ground truth, and the service as any other program does. The kernel's counters of energy have
# one reader.
MAY_IMPORT = {
    "embed": set[str](),
    "index": {"embed.vectors"},
    "service": {"embed", "index"},
    "loadtest": {"index.search.exact", "embed.vectors", "service.client", "service.telemetry.powercap"},
    "deploy": set(PACKAGES),
}


# A package's bench stands above them all and measures with loadtest, as anyone would; only commands may import it.
BENCH_MAY_IMPORT = {"loadtest"}
ROOM_IN_TABLE = re.compile(r"^    ([a-z_]+)(?:/|\.py) ")  # a line of a package's docstring


Arrows = dict[str, set[str]]  # who imports whom


# A file of ours in prose: a path or its end. Documents are in capitals; NAME stands for many.
NAMED_FILE = re.compile(r"(?<![\w{*…-])(?:[\w.-]+/)*(?:\w[\w-]*\.(?:py|hpp|cpp|js|sh)|[A-Z]+\.md)\b")
COMMENTS = {
    (".cpp", ".hpp", ".js", ".css"): re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL),
    (".sh", ".toml", ".yaml", ".yml", ".hcl", ".txt", "Makefile", "Dockerfile"): re.compile(r"#[^\n]*"),
    (".md",): re.compile(r".+", re.DOTALL),
}


class ParsedSource(NamedTuple):
    """What is asked of a file of Python, which is parsed once for all that ask.

    Args:
        imports: line, module, and the name that is imported from it, if any.
        classes: name and line.
    """

    imports: tuple[tuple[int, str, str | None], ...]
    classes: tuple[tuple[str, int], ...]


@cache
def parsed(text: str) -> ParsedSource:
    imports: list[tuple[int, str, str | None]] = []
    classes = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imports += [(node.lineno, name.name, None) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            assert node.module
            imports += [(node.lineno, node.module, name.name) for name in node.names]
        elif isinstance(node, ast.ClassDef):
            classes.append((node.name, node.lineno))
    return ParsedSource(tuple(imports), tuple(classes))


def source_of(path: Path) -> ParsedSource:
    return parsed(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> list[tuple[int, str]]:
    return [(line, name if inside is None else f"{name}.{inside}") for line, name, inside in source_of(path).imports]


def strangers(package: str, path: Path) -> list[str]:
    """The imports of `path` that its package is not allowed."""
    in_bench = path.is_relative_to(TOP / package / "bench")
    allowed = MAY_IMPORT[package] | {package} | (BENCH_MAY_IMPORT if in_bench else set())
    found = []
    for line, name in imports_of(path):
        top = name.split(".")[0]
        if top not in PACKAGES or any(name == each or name.startswith(each + ".") for each in allowed):
            continue
        found.append(f"{path.relative_to(TOP) if path.is_relative_to(TOP) else path}:{line} imports {name}")
    return found


def files_of(top: Path) -> list[Path]:
    return sorted(path for package in PACKAGES for path in (top / package).rglob("*.py"))


def module_of(path: Path, top: Path) -> str:
    parts = path.relative_to(top).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def arrows_between_files(top: Path) -> Arrows:
    """Every import of a module of ours, wherever in a file it stands: at its top, in a function, for types alone."""
    modules = {module_of(path, top): path for path in files_of(top)}
    arrows: Arrows = {module: set() for module in modules}
    for module, path in modules.items():
        for _, name, inside in source_of(path).imports:
            other = name if inside is None or f"{name}.{inside}" not in modules else f"{name}.{inside}"
            if other in modules and other != module:
                arrows[module].add(other)
    return arrows


def room_of(module: str) -> str:
    """The folder of a package that a module is in, or the module itself where it lies in none."""
    return ".".join(module.split(".")[:2])


def arrows_between_rooms(files: Arrows) -> Arrows:
    rooms: Arrows = defaultdict(set)
    for module, others in files.items():
        rooms[room_of(module)] |= {room_of(other) for other in others} - {room_of(module)}
    return dict(rooms)


def circles(arrows: Arrows) -> list[list[str]]:
    """Groups that reach each other (Tarjan, 1972); none when imports run one way."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in sorted(arrows.get(node, ())):
            if other not in number:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], number[other])
        if low[node] == number[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(arrows):
        if node not in number:
            visit(node)
    return found


def order_of(package: str, top: Path) -> list[str]:
    """The rooms and files of a package in the order of its docstring; each imports only what stands below it."""
    text = ast.get_docstring(ast.parse((top / package / "__init__.py").read_text(encoding="utf-8")), clean=False) or ""
    return [found[1] for line in text.splitlines() if (found := ROOM_IN_TABLE.match(line))]


def back_up(package: str, top: Path, files: Arrows) -> list[str]:
    """Imports from a room to one that stands above it in the package's own table."""
    place = {name: number for number, name in enumerate(order_of(package, top))}
    return [
        f"{module} imports {other}"
        for module, others in sorted(files.items())
        for other in sorted(others)
        if module.startswith(package + ".") and other.startswith(package + ".")
        if place[module.split(".")[1]] > place[other.split(".")[1]]
    ]


def rooms(top: Path) -> list[Path]:
    """Folders of a package with Python files."""
    return sorted({path.parent for path in files_of(top)} - {top / package for package in PACKAGES})


def class_names(paths: Iterable[Path]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        for name, line in source_of(path).classes:
            names[name].append(f"{path}:{line}")
    return names


def prose_of(path: Path) -> Iterator[str]:
    """The comments and docstrings of a file; the whole of a document."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        yield from (token.string for token in tokens if token.type == tokenize.COMMENT)
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        yield from (ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, documented))
    for names, pattern in COMMENTS.items():
        if path.name.endswith(names):
            yield from pattern.findall(text)


def ends_of(paths: Iterable[str]) -> set[str]:
    """As which a file may be named: by its path, or by its end."""
    return {"/".join(path.split("/")[-depth:]) for path in paths for depth in range(1, path.count("/") + 2)}


def strange_files(path: Path, ours: set[str]) -> list[str]:
    """Files that the prose of `path` names and that are neither ours, by their `ends_of`, nor Python's."""
    if not _strange(path, [path.read_text(encoding="utf-8")], ours):
        return []  # telling comments from code takes long
    return _strange(path, prose_of(path), ours)


def _strange(path: Path, texts: Iterable[str], ours: set[str]) -> list[str]:
    named = {name for text in texts for name in NAMED_FILE.findall(text)}
    python = {name for name in named if name.split("/")[0] in sys.stdlib_module_names}
    gone = [name for name in named - ours - python if not (path.parent / name).exists()]
    return sorted(name for name in gone if "NAME" not in name)
