"""`perwatt bench disk`: the limit of memory holds, files are dropped from the page cache, and rows that lose stay."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from encoder_server import wait_until
from indexing import clustered, names
from patience import patient
from racing import entry, findable

from deploy.figures.tables.sizes import disk as tables
from index import build_generation, open_generation
from index.bench.ann.engine import Entry, Ladder
from index.bench.ann.vectors import workload
from index.bench.disk import run
from index.bench.disk.command import bench_disk
from index.bench.disk.contenders import CONTENDERS
from index.bench.disk.limit import memory_group
from index.bench.disk.pages import cached_bytes, evict
from index.bench.errors import BenchError
from index.bench.peers.faiss_disk import expect_random_reads
from index.disk.lists import GROUPS_FILE, PROFILE, RECORDS_FILE
from index.disk.sections import read_ahead

ROWS, QUERIES = 3000, {"COLD": 20, "FILLING": 40, "WARM": 40, "JUDGED": 100}
# Codes that are trained quickly.
LISTS = "index.bench.peers.faiss_disk:ListsOnDisk"
SMALL = (
    CONTENDERS[0],
    Entry("faiss-pq", "faiss PQ", "faiss-cpu", LISTS, Ladder(1, 100), {"codes": "SQ8"}),
    Entry("faiss-fast", "faiss fast", "faiss-cpu", LISTS, Ladder(1, 100, seconds=(4, 8)),
          {"codes": "PQ{half}x4fs", "refine": "SQ8", "mapped": False}),
)  # fmt: skip

TAKES = """
import sys
from pathlib import Path
from index.bench.disk.limit import MemoryGroup
group = MemoryGroup(Path(sys.argv[1]) if sys.argv[1] else None, 64 << 20)
group.join()
some = bytearray(32 << 20)
print("within", flush=True)
read = Path(sys.argv[2]).read_bytes()[:1] if sys.argv[2] else b""
try:
    more = bytearray(96 << 20)
    print("beyond", flush=True)
except MemoryError:
    print("refused", flush=True)
"""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    findable(monkeypatch)
    for name, count in QUERIES.items():
        monkeypatch.setattr(run, name, count)


@pytest.fixture(scope="module")
def on_disk() -> Iterator[Path]:
    """/tmp may be in memory, and what lies there is in the page cache alone; /var/tmp outlives a restart."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vectors") / "vectors.npy"
    np.save(path, clustered(ROWS + 200, 64))
    return path


def test_a_process_that_takes_more_than_its_limit_is_stopped() -> None:
    def taken(*arguments: str) -> tuple[int, list[str]]:
        ran = subprocess.run([sys.executable, "-c", TAKES, *arguments], stdout=subprocess.PIPE, text=True)
        return ran.returncode, ran.stdout.split()

    assert taken("", "") == (0, ["within", "refused"])
    with memory_group(64 << 20) as group:
        if group.folder is None:
            assert group.kind == "rlimit"
            assert group.used() == {}
        else:
            assert taken(str(group.folder), "") == (-9, ["within"])
            used = group.used()
            assert 32 << 20 < used["peak_bytes"] <= 64 << 20
            assert used["private_bytes"] < 1 << 20
    assert group.folder is None or not group.folder.exists()


def test_files_leave_the_page_cache_or_are_said_to_stay(on_disk: Path) -> None:
    def written(folder: Path) -> Path:
        (folder / "some").write_bytes(bytes(1 << 20))
        (folder / "none").write_bytes(b"")
        return folder / "some"

    (on_disk / "evicted").mkdir()
    path = written(on_disk / "evicted")
    assert cached_bytes(path) == 1 << 20
    evict(on_disk / "evicted")
    assert cached_bytes(path) == 0
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        written(Path(folder))
        with pytest.raises(BenchError, match=r"stays in the page cache \(1\.0 of 1\.0 MiB\)"):
            evict(Path(folder))


def test_a_folder_in_memory_is_refused_before_anything_is_built(vectors: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        with pytest.raises(BenchError, match="name a folder on a disk with --work"):
            run.measure(vectors, ROWS, 1, work=Path(folder), entries=SMALL)
        assert [each for each in Path(folder).rglob("*") if each.is_file()] == []


def test_all_of_a_large_section_is_read_ahead(on_disk: Path) -> None:
    (on_disk / "large").mkdir()
    path = on_disk / "large" / "some"
    path.write_bytes(bytes(24 << 20))
    evict(path.parent)
    read_ahead(np.memmap(path, np.uint8, "r"))
    wait_until(lambda: cached_bytes(path) == 24 << 20, patient(10))


def test_what_lists_have_in_memory_is_there_once_they_are_opened(on_disk: Path) -> None:
    """Records are not: they are read when a search wants them."""
    path = build_generation(clustered(20_000, 64), names(20_000), root=on_disk, name="docs", profile=PROFILE)
    groups, records = path / GROUPS_FILE, path / RECORDS_FILE
    evict(path)
    with open_generation(path, verify=False):
        wait_until(lambda: cached_bytes(groups) >= groups.stat().st_size, patient(10))
        assert cached_bytes(records) < 0.1 * records.stat().st_size


def test_only_the_mapping_of_that_file_is_advised(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).write_bytes(bytes(1 << 16))
    maps = [np.memmap(tmp_path / name, np.uint8, "r") for name in ("one", "other")]
    expect_random_reads(tmp_path / "one")
    flags, place = {}, ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        place = line.rsplit(" ", 1)[-1] if "-" in line.split()[0] else place
        if line.startswith("VmFlags:"):
            flags[place] = line.split()
    assert "rr" in flags[str(tmp_path / "one")]
    assert "rr" not in flags[str(tmp_path / "other")]
    del maps


@pytest.fixture(scope="module")
def figures(vectors: Path, on_disk: Path) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        findable(patch)
        for name, count in QUERIES.items():
            patch.setattr(run, name, count)
        return run.measure(vectors, ROWS, 1, limit_bytes=64 << 20, work=on_disk / "figures", entries=SMALL)


def test_the_command_prints_figures_and_lines(vectors: Path, on_disk: Path) -> None:
    asked = ["--vectors", str(vectors), "--rows", str(ROWS), "--rounds", "1", "--limit-mib", "64"]
    asked += ["--contender", "perwatt-disk", "--work", str(on_disk / "command")]
    figures = json.loads(CliRunner().invoke(bench_disk, [*asked, "--json"], catch_exceptions=False).stdout)
    assert [each["name"] for each in figures["contenders"]] == ["perwatt-disk"]
    printed = CliRunner().invoke(bench_disk, asked, catch_exceptions=False).stdout.splitlines()
    assert [line[:20] for line in printed[2:]] == ["perwatt, disk, cold ", "perwatt, disk, warm "]


def test_each_contender_answers_cold_and_warm_within_the_limit(figures: dict[str, Any]) -> None:
    assert figures["failed"] == []
    assert [each["name"] for each in figures["contenders"]] == [each.name for each in SMALL]
    assert figures["real_rows"] < ROWS  # queries were held out
    for each in figures["contenders"]:
        assert each["build"]["seconds"] > 0
        assert each["warm"]["queries_per_s"] > 0
        assert abs(each["warm"]["recall"] - each["recall"]) < 0.1  # of other queries
        if figures["limit_kind"] != "rlimit":
            assert 0 < each["memory"]["peak_bytes"] <= 64 << 20
    ours = figures["contenders"][0]
    assert ours["recall"] >= 0.95
    assert ours["cold"]["reads"] >= figures["k"]
    assert ours["cold"]["read_kib"] > 0
    # So few rows are all in the page cache by then; a page of the program may come back from the disk.
    assert ours["warm"]["read_kib"] < max(1.0, ours["cold"]["read_kib"] / 10)
    assert all(each["warm"]["reads"] == 0 for each in figures["contenders"][1:])


def test_what_is_built_is_kept_and_what_needs_more_memory_is_left_out(vectors: Path, on_disk: Path) -> None:
    entries = [
        entry("plain", ladder=Ladder(1000, 4000, 2)),
        entry("greedy", "Greedy", Ladder(1000, 4000, 2)),
        entry("refuses", "Refuses"),
        entry("missing", package="no-such-package"),
    ]
    how: dict[str, Any] = {
        "rows": ROWS,
        "rounds": 1,
        "limit_bytes": 64 << 20,
        "work": on_disk / "kept",
        "entries": entries,
    }
    first = run.measure(vectors, **how)
    assert [each["name"] for each in first["contenders"]] == ["plain"]
    reasons = {each["name"]: each["reason"] for each in first["failed"]}
    assert set(reasons) == {"greedy", "refuses", "missing"}
    assert "SIGKILL" in reasons["greedy"] or "MemoryError" in reasons["greedy"]
    assert "no such thing" in reasons["refuses"]
    assert "pip install no-such-package" in reasons["missing"]
    [place] = (on_disk / "kept").iterdir()
    assert place.name == f"disk-{ROWS}-64-{workload(vectors).key}"  # of these vectors
    built = (place / "plain.json").read_text()
    again = run.measure(vectors, names=["plain"], **how)
    assert again["contenders"][0]["build"] == json.loads(built)["build"]
    (place / "plain.json").unlink()  # as one that died before its settings were chosen
    anew = run.measure(vectors, names=["plain"], **how)
    assert anew["contenders"][0]["build"] == json.loads(built)["build"]
    with pytest.raises(BenchError, match="nobody: expected some of plain, greedy"):
        run.measure(vectors, names=["nobody"], **how)


def test_the_table_says_what_missed_the_target_and_what_else_ran(figures: dict[str, Any]) -> None:
    ours, pq, *others = figures["contenders"]
    fast, slow = {"queries_per_s": 900.0, "cpu_us": 100.0}, {"queries_per_s": 301.0, "cpu_us": 400.0}
    quiet = {"others": 0.0}

    def with_(each: dict[str, Any], recall: float, **clock: float) -> dict[str, Any]:
        return each | {"recall": recall, **{name: each[name] | quiet | clock for name in ("cold", "warm")}}

    shown = [with_(ours, 0.96, **fast), with_(pq, 0.951, **slow), *(with_(each, 0.9, **fast) for each in others)]
    said = tables.remarks(figures | {"contenders": shown})
    assert "cold **missed** 3.0 × (faiss PQ) at 1/4.0 of the least processor time" in said
    assert "Other work" not in said
    assert "64 MiB" in said
    shown[0]["warm"]["others"] = 0.4
    shown[1]["warm"]["queries_per_s"] = 300.0
    said = tables.remarks(figures | {"contenders": shown, "failed": [{"name": "x", "label": "X", "reason": "it died"}]})
    assert "warm 3.0 × the queries a second" in said
    assert "X is left out: it died." in said
    assert "we lose" not in said
    absent = {each.label for each in CONTENDERS if each.name not in {each["name"] for each in shown}}
    assert {label for label in absent if f"{label} was not measured here." in said} == absent != set()
    shown[1]["warm"]["queries_per_s"] = 990.0
    assert f"**Warm we lose**: {pq['label']} answers 1.10 × as many." in tables.remarks(figures | {"contenders": shown})
    shown[1]["warm"]["queries_per_s"] = 300.0
    assert "**Other work took up to 40% of the processors beside it**" in said
    table = tables.contenders(figures | {"contenders": shown})
    assert table.count("**missed** 0.9000") == len(others)
    assert "| **perwatt, disk** | 0.9600 |" in table
    shown[0]["build"] = {"seconds": None, "cpu_seconds": None}
    assert "| not timed |" in tables.contenders(figures | {"contenders": shown})


def test_every_contender_of_the_table_has_an_adapter() -> None:
    from importlib import import_module

    for each in CONTENDERS:
        module, name = each.place.split(":")
        made = getattr(import_module(module), name)(**each.arguments)
        assert callable(made.build)
    assert sum(each.ours for each in CONTENDERS) == 1
