"""The shape of the repository: who may import whom, and names that must not collide."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
PACKAGES = ("embed", "index", "service", "loadtest", "deploy")

# What each package may import of the others. Files of vectors are embed.vectors'. loadtest stands outside: it asks
# index.exact for ground truth, and the service as any other program does.
MAY_IMPORT = {
    "embed": set[str](),
    "index": {"embed.vectors"},
    "service": {"embed", "index"},
    "loadtest": {"embed.vectors", "index.exact", "service.client"},
    "deploy": set(PACKAGES),
}


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            assert node.module
            if "." in node.module:  # `from index import exact` imports index.exact, and is judged by it
                yield node.lineno, node.module
            for name in node.names:
                yield node.lineno, f"{node.module}.{name.name}"


def strangers(package: str, path: Path) -> list[str]:
    """The imports of `path` that its package is not allowed."""
    allowed = MAY_IMPORT[package] | {package}
    found = []
    for line, name in imports_of(path):
        top = name.split(".")[0]
        if top not in PACKAGES or any(name == each or name.startswith(each + ".") for each in allowed):
            continue
        found.append(f"{path.relative_to(TOP) if path.is_relative_to(TOP) else path}:{line} imports {name}")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_the_data_path_allows(package: str) -> None:
    files = sorted((TOP / package).rglob("*.py"))
    assert files
    assert [each for path in files for each in strangers(package, path)] == []


@pytest.mark.parametrize(
    ("package", "source", "count"),
    [
        ("embed", "import index", 1),
        ("index", "from embed.models import find_model", 2),
        ("index", "from embed.vectors.npy import NpyVectors", 0),
        ("service", "import loadtest.report", 1),
        ("service", "from index import open_generation", 0),
        ("loadtest", "from index.exact import search", 0),
        ("loadtest", "from index import exact", 0),
        ("loadtest", "from index import build", 1),
        ("loadtest", "from embed.vectors.npy import NpyVectors", 0),
        ("loadtest", "import index.exact", 0),
        ("loadtest", "import service", 1),
        ("loadtest", "from service.client import Client", 0),
        ("loadtest", "from service.limits import K", 2),
    ],
)
def test_the_rule_sees_a_forbidden_import(package: str, source: str, count: int, tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(source)
    assert len(strangers(package, module)) == count


def test_the_client_needs_nothing_else_of_the_service() -> None:
    inside = [
        f"{path.name}:{line} imports {name}"
        for path in sorted((TOP / "service" / "client").glob("*.py"))
        for line, name in imports_of(path)
        if name.split(".")[0] in PACKAGES and not name.startswith("service.client")
    ]
    assert inside == []
    assert not list(imports_of(TOP / "service" / "__init__.py"))  # what importing any part of it brings along


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


def test_nothing_is_pickled() -> None:
    offenders = [
        str(path.relative_to(TOP))
        for package in PACKAGES
        for path in (TOP / package).rglob("*.py")
        for _, name in imports_of(path)
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
