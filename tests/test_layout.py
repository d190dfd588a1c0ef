"""The shape of the repository: who may import whom, rooms without circles, and names that must not collide."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

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
FILES_A_ROOM = 15
ROOM_IN_TABLE = re.compile(r"^    ([a-z_]+)(?:/|\.py) ")  # a line of a package's docstring
Arrows = dict[str, set[str]]  # who imports whom
# A file of ours in prose: a path or its end. Documents are in capitals; NAME stands for many.
NAMED_FILE = re.compile(r"(?<![\w{*…-])(?:[\w.-]+/)*(?:\w[\w-]*\.(?:py|hpp|cpp|js|sh)|[A-Z]+\.md)\b")
COMMENTS = {
    (".cpp", ".hpp", ".js", ".css"): re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL),
    (".sh", ".toml", ".yaml", ".yml", ".hcl", ".txt", "Makefile", "Dockerfile"): re.compile(r"#[^\n]*"),
    (".md",): re.compile(r".+", re.DOTALL),
}
READ = (".py", *(name for names in COMMENTS for name in names))


@cache
def imports_of(path: Path) -> tuple[tuple[int, str], ...]:
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            assert node.module
            for name in node.names:
                yield node.lineno, f"{node.module}.{name.name}"


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
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom):
                inside = [f"{node.module}.{name.name}" for name in node.names]
                names = [name if name in modules else str(node.module) for name in inside]
            else:
                continue
            arrows[module] |= {name for name in names if name in modules and name != module}
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
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                names[node.name].append(f"{path}:{node.lineno}")
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_the_data_path_allows(package: str) -> None:
    files = sorted((TOP / package).rglob("*.py"))
    assert files
    assert [each for path in files for each in strangers(package, path)] == []


@pytest.mark.parametrize(
    ("package", "source", "count"),
    [
        ("embed", "import index", 1),
        ("index", "from embed.models.folder import find_model", 1),
        ("index", "from embed.vectors.npy import NpyVectors", 0),
        ("service", "import loadtest.report", 1),
        ("service", "from index import open_generation", 0),
        ("loadtest", "from index.search.exact import search", 0),
        ("loadtest", "from index.search import exact", 0),
        ("loadtest", "from index import build", 1),
        ("loadtest", "import index.search.exact", 0),
        ("loadtest", "import service", 1),
        ("loadtest", "from service.client import Client", 0),
        ("loadtest", "from service.wire.limits import K, FIELDS", 2),
        ("loadtest", "from service.telemetry.powercap import rapl_zones", 0),
        ("loadtest", "from service.telemetry import metrics", 1),
    ],
)
def test_the_rule_sees_a_forbidden_import(package: str, source: str, count: int, tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(source)
    assert len(strangers(package, module)) == count


def test_nothing_but_commands_and_figures_needs_a_bench() -> None:
    offenders = [
        f"{module} imports {other}"
        for module, others in sorted(arrows_between_files(TOP).items())
        for other in sorted(others)
        if room_of(other).endswith(".bench") and not room_of(module).endswith(".bench")
        if module.split(".")[0] != "deploy" and module.split(".")[1] != "cli"
    ]
    assert offenders == []


def test_no_circle_between_files_nor_between_rooms() -> None:
    files = arrows_between_files(TOP)
    assert sum(len(others) for others in files.values()) > 500
    assert circles(files) == []
    assert circles(arrows_between_rooms(files)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_runs_back_up_the_order_of_the_rooms(package: str) -> None:
    folder = TOP / package
    there = {path.parent.name for path in folder.glob("*/*.py")} | {path.stem for path in folder.glob("*.py")}
    listed = order_of(package, TOP)
    assert sorted(listed) == sorted(there - {"__init__"})
    assert back_up(package, TOP, arrows_between_files(TOP)) == []


def test_the_graph_sees_a_circle_an_arrow_back_up_and_imports_in_every_place(tmp_path: Path) -> None:
    for package in PACKAGES:
        (tmp_path / package).mkdir()
    embed = tmp_path / "embed"
    for room in ("above", "below"):
        (embed / room).mkdir()
        (embed / room / "__init__.py").write_text("")
    (embed / "__init__.py").write_text('"""Two rooms.\n\n    above/   first\n    below/   second\n"""\n')
    (embed / "above" / "one.py").write_text("from embed.above import two\n")
    (embed / "above" / "two.py").write_text("def late() -> None:\n    from embed.below.three import name\n")
    (embed / "below" / "three.py").write_text("name = 1\n")
    files = arrows_between_files(tmp_path)
    assert files["embed.above.one"] == {"embed.above.two"}
    assert circles(files) == circles(arrows_between_rooms(files)) == back_up("embed", tmp_path, files) == []

    (embed / "below" / "three.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import embed.above.one\nname = 1\n"
    )
    files = arrows_between_files(tmp_path)
    assert circles(files) == [["embed.above.one", "embed.above.two", "embed.below.three"]]
    assert circles(arrows_between_rooms(files)) == [["embed.above", "embed.below"]]
    assert back_up("embed", tmp_path, files) == ["embed.below.three imports embed.above.one"]


def test_each_room_says_what_it_is_for_and_holds_some_fifteen_files_at_most() -> None:
    silent, full = [], []
    for room in rooms(TOP):
        name = str(room.relative_to(TOP))
        face = room / "__init__.py"
        said = ast.get_docstring(ast.parse(face.read_text(encoding="utf-8"))) if face.exists() else None
        sentence = re.match(r"[A-Z`].{20,}?[.:?](\s|$)", said or "", re.DOTALL)
        if sentence is None:
            silent.append(name)
        if len(list(room.glob("*.py"))) - 1 > FILES_A_ROOM:
            full.append(name)
    assert (silent, full) == ([], [])


def test_a_class_name_stands_once() -> None:
    twice = {name: places for name, places in class_names(files_of(TOP)).items() if len(places) > 1}
    assert twice == {}


def test_the_client_needs_nothing_of_the_service_but_the_structs_of_its_answers() -> None:
    """So that it can be published alone: with httpx, msgspec and these files."""
    client, answers = TOP / "service" / "client", TOP / "service" / "wire" / "answers.py"
    inside = [
        f"{path.name}:{line} imports {name}"
        for path in (*sorted(client.glob("*.py")), answers)
        for line, name in imports_of(path)
        if name.split(".")[0] not in {*sys.stdlib_module_names, "httpx", "msgspec"}
        and not name.startswith(("service.client.", "service.wire.answers."))
    ]
    assert inside == []
    for face in (TOP / "service", answers.parent):  # what importing any part of it brings along
        assert not imports_of(face / "__init__.py")


def test_no_module_hides_a_package() -> None:
    hidden = [
        str(path.relative_to(TOP))
        for package in (*PACKAGES, "tests")
        for path in (TOP / package).rglob("*")
        if path.stem in PACKAGES and (path.suffix == ".py" or path.is_dir())
    ]
    assert hidden == []


def test_tests_lie_flat_and_name_what_they_test() -> None:
    names = sorted(path.name for path in (TOP / "tests").glob("test_*.py"))
    assert not [path for path in (TOP / "tests").rglob("*.py") if path.parent != TOP / "tests"]
    odd = [
        name for name in names if name != "test_layout.py" and name.split("_")[1].removesuffix(".py") not in PACKAGES
    ]
    assert odd == ["test_readme.py"] or odd == []


def test_no_test_imports_from_another_test_file() -> None:
    offenders = [
        f"{path.name}:{line} imports {name}"
        for path in sorted((TOP / "tests").glob("*.py"))
        for line, name in imports_of(path)
        if name.startswith("test_")
    ]
    assert offenders == []


def test_nothing_is_pickled() -> None:
    offenders = [
        f"{path.relative_to(TOP)}:{line}"
        for path in files_of(TOP)
        for line, name in imports_of(path)
        if name.split(".")[0] in ("pickle", "dill", "cloudpickle", "shelve", "joblib")
    ]
    assert offenders == []


def test_the_licence_is_the_one_that_is_declared_and_whole() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    assert (project["license"], project["license-files"]) == ("Apache-2.0", ["LICENSE"])
    text = (TOP / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert [f"   {number}. " in text for number in range(1, 10)] == [True] * 9
    assert text.rstrip().endswith("limitations under the License.")


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
    named = {name for text in prose_of(path) for name in NAMED_FILE.findall(text)}
    python = {name for name in named if name.split("/")[0] in sys.stdlib_module_names}
    gone = [name for name in named - ours - python if not (path.parent / name).exists()]
    return sorted(name for name in gone if "NAME" not in name)


def test_every_file_that_a_comment_names_is_there() -> None:
    places = [TOP / place for place in (*PACKAGES, "native", "tests")]
    paths = [path for place in places for path in place.rglob("*") if path.is_file()]
    paths += [path for path in TOP.iterdir() if path.suffix == ".md" or path.name == "Makefile"]
    ours = ends_of(str(path.relative_to(TOP)) for path in paths)
    found = {str(path.relative_to(TOP)): strange_files(path, ours) for path in paths if path.name.endswith(READ)}
    assert {path: names for path, names in found.items() if names} == {}


def test_a_file_that_is_not_there_is_found_in_every_kind_of_comment(tmp_path: Path) -> None:
    texts = {
        "a.py": '"""See b.py, room/gone.py and concurrent/futures/thread.py."""\nX = "no.py"  # lost.hpp\n',
        "a.hpp": '#include "no.hpp"\n// b.py, gone.hpp\n/* and\n   lost.cpp */\n',
        "a.sh": "run no.sh  # as gone.sh does\n",
        "A.md": "`deploy/lost.sh` and GONE.md, but not NAME_server.py\n",
    }
    found = {}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        found[name] = strange_files(tmp_path / name, ends_of(["x/b.py", *texts]))
    assert found == {
        "a.py": ["lost.hpp", "room/gone.py"],
        "a.hpp": ["gone.hpp", "lost.cpp"],
        "a.sh": ["gone.sh"],
        "A.md": ["GONE.md", "deploy/lost.sh"],
    }
