"""The shape of the repository: who may import whom, rooms without circles, and names that must not collide."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from house import (
    COMMENTS,
    PACKAGES,
    TOP,
    arrows_between_files,
    arrows_between_rooms,
    back_up,
    circles,
    class_names,
    ends_of,
    files_of,
    imports_of,
    order_of,
    room_of,
    rooms,
    strange_files,
    strangers,
)

FILES_A_ROOM = 15
READ = (".py", *(name for names in COMMENTS for name in names))


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
    client, answers = TOP / "service" / "client", TOP / "service" / "wire" / "answer"
    inside = [
        f"{path.name}:{line} imports {name}"
        for path in sorted([*client.glob("*.py"), *answers.glob("*.py")])
        for line, name in imports_of(path)
        if name.split(".")[0] not in {*sys.stdlib_module_names, "httpx", "msgspec"}
        and not name.startswith(("service.client.", "service.wire.answer."))
    ]
    assert inside == []
    for face in (TOP / "service", answers.parent, answers):  # what importing any part of it brings along
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


def test_a_shared_fixture_has_a_name_of_its_own() -> None:
    """A module of `pytest_plugins` gives its fixtures to every test of the run, not only to those that ask for it."""
    where: dict[str, list[str]] = {}
    for path in [*(TOP / "tests").glob("*_fixtures.py"), TOP / "tests" / "conftest.py"]:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and any(
                "fixture" in ast.unparse(each) for each in node.decorator_list
            ):
                where.setdefault(node.name, []).append(path.name)
    assert {name: files for name, files in where.items() if len(files) > 1} == {}


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
