"""The commands as a person or a script runs them: through `perwatt`, in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from indexing import clustered, names, write_vectors_folder
from warm import shared

from index import InputError, Root, cli, open_generation

DIM, COUNT = 16, 1200


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    payload = [{"year": 1900 + row % 100} for row in range(COUNT)]
    return write_vectors_folder(tmp_path / "vectors", names(COUNT), clustered(COUNT, DIM), payload)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "indexes"


def perwatt(*words: object, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    done = shared().run(*map(str, words), **environment)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def as_json(*words: object) -> Any:
    return json.loads(perwatt(*words, "--json").stdout)


def test_a_loss_that_is_typed_counts_and_not_that_of_the_served_one(
    vectors: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    class Models:
        def query_fitter(self, *_: object, loss: float, **__: object) -> None:
            asked.append(loss)
            raise InputError("that is enough")

    served = SimpleNamespace(path=root, loss=0.02)
    monkeypatch.setattr(cli, "_fitted_in_served", lambda *_: served)
    monkeypatch.setattr(cli, "_models", lambda *_: Models())
    for words in ([], ["--query-loss", "0.05"]):
        CliRunner().invoke(cli.build, [str(vectors), "--index", "docs", "--root", str(root), *words])
    assert asked == [0.02, 0.05]


def test_the_whole_life_of_an_index(vectors: Path, root: Path) -> None:
    build = ("build", vectors, "--index", "docs", "--root", root)
    said = perwatt(*build, "--filterable", "year:int")
    first = Root(root).alias("docs").generation
    for word in (first, "1,200 × 16, cosine", "flat (", "memory to serve", "1 (exact: every vector is scored)"):
        assert word in said.stdout
    assert "family flat: 1,200 × 16 have only" in said.stderr
    second = as_json(*build, "--family", "graph", "--recall-target", "0.9")
    assert second["switched"] is True
    assert second["manifest"]["recall"]["low"] >= 0.9
    listed = {row["generation"]: row for row in as_json("generations", "--root", root)}
    assert {name: row["state"] for name, row in listed.items()} == {
        first: "previous",
        second["manifest"]["generation"]: "served",
    }
    table = perwatt("generations", "docs", "--root", root).stdout.splitlines()
    columns = ["generation", "state", "count", "dim", "family", "profile", "bytes/vector", "recall@10", "created"]
    assert table[0].split() == columns
    assert len(table) == 3
    back = as_json("rollback", "docs", "--root", root)
    assert (list(back), back["generation"]) == (["index", "generation", "previous", "etag"], first)
    assert perwatt("switch", "docs", second["manifest"]["generation"], "--root", root).stdout.startswith("docs serves ")
    assert as_json("verify", "docs", "--root", root) == {
        "generation": second["manifest"]["generation"],
        "intact": True,
    }
    third = as_json(*build, "--no-switch")
    assert third["switched"] is False
    assert Root(root).alias("docs").generation == second["manifest"]["generation"]
    assert as_json("gc", "docs", "--root", root, "--keep", 0) == {"docs": [third["manifest"]["generation"]]}
    assert "deleted nothing" in perwatt("gc", "--root", root).stdout


def test_a_build_that_drops_a_filter_says_so(vectors: Path, root: Path) -> None:
    build = ("build", vectors, "--index", "docs", "--root", root, "--family", "flat")
    assert "could be filtered" not in perwatt(*build, "--filterable", "year:int").stderr
    assert "could be filtered" not in perwatt(*build, "--filterable", "year:int").stderr
    said = perwatt(*build).stderr
    assert "docs could be filtered by year, and this generation cannot" in said
    assert "--filterable year" in said


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """As a CSV file is embedded: every value is a string."""
    rows = [
        {"text": f"row {row}", "year": str(2000 + row), "price": f"{row}.5" if row else "", "lang": "en",
         "published": "2024-01-01" if row != 3 else "soon", "sold": "true" if row % 2 else "FALSE"}
        for row in range(20)
    ]  # fmt: skip
    return write_vectors_folder(tmp_path / "table", names(20), clustered(20, DIM), rows)


def test_columns_of_strings_are_read_as_declared_and_what_is_inferred_is_printed(table: Path, root: Path) -> None:
    build = ("build", table, "--index", "docs", "--root", root)
    done = perwatt(*build, "--filterable", "year:int,price:float,sold:bool,lang,published")
    shown = "lang:keyword (inferred), price:float, published:keyword (inferred), sold:bool, year:int"
    assert f"filterable       {shown}\n" in done.stdout
    assert "field published is a keyword, although 19 of 20 values read as date: row 3 (id 'doc-17')" in done.stderr
    assert "field lang" not in done.stderr
    with open_generation(Root(root).path("docs")) as generation:
        assert generation.filter({"field": "year", "gte": 2015, "lt": 2018}).count == 3
        assert generation.filter({"field": "price", "exists": False}).count == 1
        assert generation.filter({"field": "sold", "eq": True}).count == 10
    said = perwatt(*build, "--filterable", "year", "--json").stderr
    assert "year is a keyword, since its values are strings, and every one reads as int" in said
    served = Root(root).alias("docs")
    for declared, said in (
        ("published:date", "row 3 (id 'doc-17'): field 'published' is 'soon', expected an RFC 3339 date"),
        ("lang:int", "row 0 (id 'doc-0'): field 'lang' is 'en', expected an integer of 64 bits, or a string of one"),
        ("yaer:int", "no row has a field 'yaer', which was declared filterable; the fields there are: 'text', 'year',"),
        ("yaer", "no row has a field 'yaer', which was declared filterable; the fields there are: 'text', 'year',"),
    ):
        failed = perwatt(*build, "--filterable", declared, code=1)
        assert said in failed.stderr
        assert "family" not in failed.stderr  # before the long part of the build
    assert Root(root).alias("docs") == served


def test_nights_whose_gates_fail_do_not_fill_the_volume(vectors: Path, root: Path, tmp_path: Path) -> None:
    """The commands of a nightly rebuild, in its order, from before the first build on."""
    make_room = ("gc", "docs", "--root", root, "--keep", 1, "--missing-ok")
    build = ("--index", "docs", "--root", root, "--family", "flat", "--no-lexical")
    assert perwatt(*make_room).stdout == "docs: deleted nothing\n"
    assert "there is no index 'docs'" in perwatt(*make_room[:-1], code=1).stderr
    perwatt("build", vectors, *build)
    served = Root(root).alias("docs").generation
    few = write_vectors_folder(tmp_path / "few", names(10), clustered(10, DIM), [{}] * 10)
    kept = []
    for _night in range(3):
        perwatt(*make_room)
        perwatt("build", few, *build, code=1)
        kept.append(len(Root(root).generations("docs")))
    assert kept == [2, 3, 3]  # the one served, the newest, and tonight's
    assert Root(root).alias("docs").generation == served


def test_a_gate_that_does_not_hold_fails_the_command_and_says_so(vectors: Path, root: Path) -> None:
    build = ("build", vectors, "--index", "docs", "--root", root, "--family", "graph")
    perwatt(*build)
    served = Root(root).alias("docs")
    done = perwatt(*build, "--recall-target", "0.99999", "--json", code=1)
    assert "was built but not switched to: recall@10 is" in done.stderr
    assert json.loads(done.stdout)["switched"] is False
    few = write_vectors_folder(vectors.parent / "few", names(300), clustered(300, DIM))
    done = perwatt("build", few, "--index", "docs", "--root", root, code=1)
    assert "300 rows, and" in done.stderr
    assert "--min-count-ratio" in done.stderr
    assert Root(root).alias("docs") == served
    perwatt("build", few, "--index", "docs", "--root", root, "--min-count-ratio", "0.2")
    assert Root(root).alias("docs") != served


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("build", "nowhere", "--index", "docs"), "nowhere is not a folder of vectors"),
        (("verify", "docs"), "there is no index 'docs'"),
        (("switch", "docs", "x"), "there is no index 'docs'"),
        (("rollback", "Docs"), "'Docs' is not an index name"),
        (("gc", "docs"), "there is no index 'docs'"),
    ],
)
def test_known_errors_are_one_line_and_code_1(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = perwatt(*words, "--root", tmp_path, code=1)
    assert done.stderr.startswith("perwatt: error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_usage_errors_are_code_2(vectors: Path, root: Path) -> None:
    perwatt("build", vectors, code=2)
    perwatt("build", vectors, "--index", "docs", "--recall-target", "95", code=2)
    perwatt("build", vectors, "--index", "docs", "--family", "tree", code=2)


def test_a_damaged_generation_is_listed_and_named(vectors: Path, root: Path) -> None:
    perwatt("build", vectors, "--index", "docs", "--root", root)
    path = Root(root).path("docs")
    raw = bytearray((path / "index.faiss").read_bytes())
    raw[1000] ^= 1
    (path / "index.faiss").write_bytes(raw)
    assert "index.faiss: is damaged" in perwatt("verify", "docs", "--root", root, code=1).stderr
    (path / "manifest.json").write_text("{}")
    assert "is damaged" in perwatt("generations", "--root", root).stdout
    assert "manifest.json: is damaged" in as_json("generations", "--root", root)[0]["error"]


def test_nothing_to_list(tmp_path: Path) -> None:
    assert perwatt("generations", "--root", tmp_path).stdout.startswith("no generation of any index")
    assert as_json("generations", "--root", tmp_path) == []


def test_info_shows_what_perwatt_may_use() -> None:
    facts = as_json("info")
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] >= facts["memory_available_bytes"] > 0
    assert facts["kernels"]["isa"] in facts["kernels"]["units"]
    assert facts["versions"]["python"] == sys.version.split()[0]
    text = perwatt("info", PERWATT_ISA="scalar").stdout
    assert "scalar in use; this machine can run" in text
    assert "PERWATT_ISA='mmx' is not a unit" in perwatt("info", PERWATT_ISA="mmx", code=1).stderr
