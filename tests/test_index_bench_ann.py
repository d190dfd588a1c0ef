"""`perwatt bench ann`: real engines on a small set, engines that are missing or die, and what the figures become."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import clustered
from patience import patient
from racing import clusters, entry, eventually, findable

from deploy.figures.ann_picture import picture, spread
from index.bench.ann.engines import ENGINES
from index.bench.ann.run import measure
from index.bench.ann.table import table
from index.bench.ann.targets import few_dimensions, qps, reached
from index.bench.ann.vectors import AnnWorkload
from index.bench.errors import BenchError

# Those that the test environment holds; the rest differ from them in an adapter of some lines.
HERE = (
    "perwatt",
    "perwatt-compact",
    "perwatt-exact",
    "rabitqlib",
    "faiss-hnsw16",
    "faiss-ivf-pq",
    "usearch",
)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    findable(monkeypatch)


@pytest.fixture(scope="module")
def load() -> AnnWorkload:
    return clusters()


@pytest.fixture(scope="module")
def run(load: AnnWorkload) -> dict[str, Any]:
    """Every engine that is installed with the tests, and one that is not."""
    missing = entry("missing", package="no-such-package-at-all")
    entries = [each for each in ENGINES if each.name in HERE]
    return measure(load, [*entries, missing], ks=(10,), threads=(1, 2), rounds=2)


def test_every_installed_engine_finds_what_is_there(run: dict[str, Any]) -> None:
    assert {each["name"] for each in run["engines"]} == set(HERE)
    for engine in run["engines"]:
        best = max(point["recall"] for point in engine["cases"]["k10_t1"]["points"])
        assert best >= 0.95, engine["label"]
    exact = next(each for each in run["engines"] if each["name"] == "perwatt-exact")
    assert [point["recall"] for point in exact["cases"]["k10_t2"]["points"]] == [1.0]


def test_a_missing_peer_is_named_and_the_rest_goes_on(run: dict[str, Any]) -> None:
    assert [each["name"] for each in run["failed"]] == ["missing"]
    assert "no-such-package-at-all is not installed" in run["failed"][0]["reason"]
    assert run["versions"]["no-such-package-at-all"] is None


def test_figures_have_the_units_and_shapes_that_readers_rely_on(run: dict[str, Any]) -> None:
    assert json.loads(json.dumps(run)) == run
    assert set(run) == {
        "format", "measured_at", "seconds", "vectors", "machine", "versions", "targets", "k", "threads", "rounds",
        "engines", "failed", "reached",
    }  # fmt: skip
    assert run["vectors"] == {"name": "clusters", "rows": 1200, "dim": 64, "metric": "cosine", "queries": 50}
    assert set(run["machine"]) == {"arch", "cpu", "cores", "memory_bytes", "isa", "kernel", "load_average"}
    for engine in run["engines"]:
        assert engine["build"]["seconds"] > 0
        assert engine["build"]["threads"] == run["machine"]["cores"]
        assert engine["build"]["times"] == 2
        assert engine["bytes_per_vector"]["file"] > 64 * 0.5
        assert set(engine["cases"]) == {"k10_t1", "k10_t2"}
        for case in engine["cases"].values():
            assert list(case["at"]) == ["0.90", "0.95", "0.99"]
            assert case["points"]
            for point in case["points"]:
                assert set(point) == {"recall", "qps", "spread", "cpu_us", "effort", "queries", "rounds"}
                assert point["qps"] > 0
                assert 1 <= point["rounds"] <= 2
    ours = next(each for each in run["engines"] if each["name"] == "perwatt")
    # A block is the vertex' codes, a head, and signs of 32 edges: 64 + 64 + 256 + 4 · 64 bytes, and the root besides.
    assert 640 <= ours["bytes_per_vector"]["read_by_searches"] < 1000


def test_table_and_picture_name_every_engine(run: dict[str, Any]) -> None:
    shown = table(run)
    drawn_ = ElementTree.fromstring(picture(run))
    texts = ["".join(node.itertext()) for node in drawn_.iter("{http://www.w3.org/2000/svg}text")]
    for engine in run["engines"]:
        assert engine["label"] in shown
        assert engine["label"] in texts
    assert "left out: Missing: no-such-package-at-all is not installed" in shown
    assert picture(run) == picture(run)


def test_a_peer_that_dies_is_reported_and_the_rest_goes_on(
    load: AnnWorkload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "armed").touch()
    entries = [
        entry("dies-in-build", "DiesInBuild"),
        entry("dies-in-search", "DiesInSearch"),
        entry("refuses", "Refuses"),
        entry("elsewhere", metrics=("l2",)),
        entry("plain"),
    ]
    run = measure(load, entries, ks=(10,), threads=(1,), rounds=1)
    reasons = {each["name"]: each["reason"] for each in run["failed"]}
    assert "died of SIGSEGV" in reasons["dies-in-build"]
    assert "the last thing it said" in reasons["dies-in-build"]
    assert "died of SIGABRT" in reasons["dies-in-search"]
    assert reasons["refuses"] == "ValueError: no such thing"
    assert "no cosine" in reasons["elsewhere"]
    assert [each["name"] for each in run["engines"]] == ["plain"]
    assert run["engines"][0]["build"]["note"] == "kept"


def figure(name: str, *, qps: float, build: float = 10.0, size: int = 1000, ours: bool = False) -> dict[str, Any]:
    at = {"0.90": {"qps": 2 * qps}, "0.95": {"qps": qps}, "0.99": None if name == "scann" else {"qps": qps / 4}}
    case = {"at": at, "points": [{"recall": 0.95, "qps": qps, "spread": 0.0}]}
    sizes = {"private": size, "mapped": 0, "file": size}
    return {
        "name": name, "label": name.upper(), "ours": ours, "build": {"seconds": build}, "bytes_per_vector": sizes,
        "cases": {"k10_t1": case, "k10_t2": case},
    }  # fmt: skip


def test_targets_are_held_against_the_best_that_reached_the_recall() -> None:
    engines = [
        figure("perwatt", qps=300, build=12, size=600, ours=True),
        figure("perwatt-compact", qps=900, build=3, ours=True),  # ours is never a peer
        figure("perwatt-quick", qps=60, build=2, ours=True),
        figure("rabitqlib", qps=100, build=9),
        figure("scann", qps=200),
        figure("hnswlib", qps=50, build=15),
    ]
    found = {(each["name"], each["part"].removeprefix("recall ")): each for each in reached(engines)}
    best = "speed, k = 10, {}: queries/s × best peer's"
    assert found[best.format("1 thread"), "0.95"]["value"] == 1.5
    assert found[best.format("1 thread"), "0.95"]["against"] == "SCANN"
    assert found[best.format("2 threads"), "0.99"]["value"] == 3.0
    assert found[best.format("2 threads"), "0.99"]["against"] == "RABITQLIB"
    assert found["speed, k = 10, 1 thread: queries/s × hnswlib's", "0.95"]["met"] is True
    assert found["speed, k = 10, 1 thread: queries/s × faiss HNSW's", "0.95"]["met"] is None
    scaling = found["speed, k = 10: queries/s on 2 threads × on one", "0.95"]
    assert (scaling["target"], scaling["value"], scaling["met"]) == (1.9, 1.0, False)
    assert found["compact, k = 10, 1 thread: queries/s × faiss HNSW's", "0.95"]["value"] is None
    assert found["speed: memory, of SymphonyQG's", "all that is resident"]["value"] == 0.6
    assert [found[best.format("1 thread"), recall]["target"] for recall in ("0.90", "0.95", "0.99")] == [1.4, 1.6, 2.0]
    sooner = "build by {}: {} seconds, times ours"
    assert found[sooner.format("own", "hnswlib's"), ""]["value"] == 5
    assert found[sooner.format("own", "SymphonyQG's"), ""]["met"] is True
    assert found[sooner.format("quick", "hnswlib's"), ""]["value"] == 7.5
    assert found[sooner.format("quick", "SymphonyQG's"), ""]["value"] is None  # its searches take longer
    assert qps(engines[4], "k10_t1", "0.99") is None


def test_auto_is_held_against_the_better_profile_and_few_dimensions_have_targets_of_their_own() -> None:
    engines = [
        figure("perwatt", qps=300, ours=True),
        figure("perwatt-compact", qps=400, size=100, ours=True),
        figure("perwatt-auto", qps=380, ours=True),
        figure("rabitqlib", qps=200),
        figure("faiss-hnsw16", qps=50, size=200),
    ]
    found = {(each["name"], each["part"].removeprefix("recall ")): each for each in reached(engines)}
    auto = found["auto, k = 10, 1 thread: queries/s × the better profile's", "0.95"]
    assert (auto["value"], auto["target"], auto["met"], auto["against"]) == (0.95, 0.97, False, "PERWATT-COMPACT")
    assert "auto, k = 10, 2 threads: queries/s × the better profile's" in {name for name, _ in found}
    few = few_dimensions(engines)
    assert [(each["part"], each["value"], each["target"]) for each in few] == [
        ("recall 0.95", 1.9, 1.5), ("recall 0.99", 1.9, 1.5), ("codes and graph", 0.5, 0.45),
    ]  # fmt: skip
    assert few_dimensions(engines[:2] + engines[3:])[0]["value"] == 2.0  # compact, where auto did not take part


def test_names_keep_apart_and_inside() -> None:
    places = spread([10, 11, 12, 95, 96], 10, 0, 100)
    assert all(b - a >= 10 for a, b in pairwise(places))
    assert places[0] >= 0
    assert places[-1] <= 100


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.command", "bench", "ann", *map(str, arguments)],
        capture_output=True, text=True, timeout=patient(300),
    )  # fmt: skip


def test_the_command_writes_what_it_says(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", clustered(1500, 16, seed=1))
    ran = command(
        "--vectors", tmp_path / "rows.npy", "--peers", "usearch", "--k", 5, "--threads", 1, "--rounds", 1,
        "--json", tmp_path / "out.json", "--plot", tmp_path / "out.svg", "--metric", "l2",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    figures = json.loads((tmp_path / "out.json").read_text())
    assert [each["name"] for each in figures["engines"]] == ["perwatt", "usearch"]
    assert figures["vectors"]["metric"] == "l2"
    assert ran.stdout.strip() == table(figures)
    assert (tmp_path / "out.svg").read_text() == picture(figures)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--peers", "glass"), 1, "perwatt: error: glass is no engine"),
        (("--vectors", "/no/such/file.npy"), 2, "does not exist"),
        (("--k", "0"), 2, "0 is not in the range"),
        (("--json", "/no/such/folder/out.json"), 2, "the folder of /no/such/folder/out.json does not exist"),
        (("--index", "nothing", "--root", "/no/such/root"), 1, "perwatt: error: "),
    ],
)
def test_mistakes_are_answered_before_anything_is_measured(
    arguments: tuple[str, ...], status: int, message: str
) -> None:
    ran = command(*arguments)
    assert ran.returncode == status
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_k_beyond_the_rows_is_refused(load: AnnWorkload) -> None:
    with pytest.raises(BenchError, match=r"k is 1,?000|k is 1000 with 1,200 rows"):
        measure(load, [], ks=(1000,))


def test_the_readme_shows_targets_and_engines_losing_rows_included(run: dict[str, Any]) -> None:
    from deploy.figures.tables import ann

    scan = [{"place": place, "threads": 1, "share_of_read": 0.5 if place == "cached" else 0.8} for place in ann.SCANS]
    elsewhere = {"perwatt: slept": ("≥ 1", "2; nobody")}
    shown = ann.targets_table({"Here": ann.targets(run, [], scan), "There": elsewhere})
    assert "| target | aimed for | Here | There |" in shown
    assert "| perwatt: slept | ≥ 1 | – | 2; nobody |" in shown
    assert "| exact int8 scan, in the core's own cache: share of read bandwidth | ≥ 0.7 | **missed** 0.50" in shown
    assert "| exact int8 scan, in memory: share of read bandwidth | ≥ 0.7 | 0.80 (1 thread)" in shown
    for each in run["reached"]:
        assert f"| {each['name']} |" in shown
        if each["met"] is False:
            assert f"**missed** {each['value']:.2f}" in shown
    engines = ann.engines_table(run)
    for engine in run["engines"]:
        assert engine["label"] in engines
    assert "Missing (no-such-package-at-all is not installed" in ann.left_out(run)
    others = ann.others_table([{key: run[key] for key in ("vectors", "engines", "failed", "reached")}])
    assert "clusters: 1,200 × 64, cosine" in others


def test_other_vectors_differ_as_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deploy.figures import ann_runs
    from index.bench.ann import vectors

    np.save(tmp_path / ann_runs.WORDNET, clustered(3000, 192, seed=2).astype(np.float16))
    monkeypatch.setenv("PERWATT_DATA", str(tmp_path))
    monkeypatch.setattr(vectors, "docstring_vectors", lambda: (clustered(1500, 32, seed=4), "cosine"))
    loads = ann_runs.others()
    assert [(load.rows.shape[1], load.metric) for load in loads] == [
        (32, "cosine"), (128, "l2"), (128, "cosine"), (768, "cosine"), (768, "ip"),
    ]  # fmt: skip
    for load in loads:
        spread_ = np.linalg.norm(load.rows, axis=1).std()
        assert (spread_ < 1e-3) == (load.metric == "cosine"), load.name
        assert len({load.name for load in loads}) == len(loads)


def test_engines_are_listed_with_their_versions() -> None:
    lines = command("--list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [each.name for each in ENGINES]
    faiss = next(line for line in lines if line.startswith("faiss-hnsw16"))
    assert re.search(r"faiss-cpu +\d+\.\d+", faiss)


def test_a_run_that_is_ended_leaves_nothing_behind(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", clustered(1500, 64, seed=1))
    (tmp_path / "scratch").mkdir()
    run = subprocess.Popen(
        [sys.executable, "-m", "deploy.command", "bench", "ann", "--vectors", str(tmp_path / "rows.npy")],
        env={**os.environ, "TMPDIR": str(tmp_path / "scratch")}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert run.stdout
    try:
        assert eventually(lambda: bool(list((tmp_path / "scratch").glob("*/*.log"))))  # a worker has begun
    finally:
        run.terminate()
        said, _ = run.communicate(timeout=patient(60))
    assert run.returncode == 143, said.decode()
    assert list((tmp_path / "scratch").iterdir()) == []
