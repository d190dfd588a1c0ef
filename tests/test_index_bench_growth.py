"""`perwatt bench growth`: each size is a run of its own, and a planted exponent is found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import clustered
from racing import entry, findable

from deploy.figures import growth_picture
from deploy.figures.tables.sizes import growth as tables
from index.bench import growth
from index.bench.ann.engine import Ladder
from index.bench.ann.engines import ENGINES
from index.bench.errors import BenchError

SIZES = (1000, 2000, 4000)


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    source = tmp_path_factory.mktemp("vectors") / "vectors.npy"
    np.save(source, clustered(3300, 32))
    entries = [
        entry("perwatt", ladder=Ladder(1000, 8000, 2), ours=True),
        entry("short", ladder=Ladder(1000, 2000, 2)),
        entry("refuses", "Refuses"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        findable(patch)
        with pytest.raises(BenchError, match="two sizes"):
            growth.measure(source, SIZES[:1], [], entries)
        return growth.measure(source, SIZES, [], entries)


def test_each_size_is_measured_and_what_misses_the_target_has_no_point(figures: dict[str, Any]) -> None:
    assert (figures["sizes"], figures["real_rows"]) == (list(SIZES), 2970)
    rows = {each["name"]: [point["rows"] for point in each["points"]] for each in figures["engines"]}
    assert rows == {"perwatt": list(SIZES), "short": list(SIZES[:2])}  # it looks at half of the most
    for each in figures["engines"]:
        assert all(point["recall"] >= 0.95 and point["cpu_us"] > 0 for point in each["points"])
    assert [each["rows"] for each in figures["failed"]] == list(SIZES)


def test_a_size_may_be_measured_of_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the engine itself, since it is built by a process that is watched."""
    findable(monkeypatch)
    np.save(tmp_path / "vectors.npy", clustered(3300, 32))
    ours = next(each for each in ENGINES if each.name == growth.ALONE)
    entries = [entry("perwatt", ladder=Ladder(8000, 8000), ours=True), ours]
    found = growth.measure(tmp_path / "vectors.npy", SIZES[:2], [], entries, [6000], tmp_path / "work")
    [points] = [each["points"] for each in found["engines"] if each["name"] == growth.ALONE]
    assert [point["rows"] for point in points] == found["sizes"] == [*SIZES[:2], 6000]
    last = points[-1]
    assert last["recall"] >= 0.95
    assert min(last["queries_per_s"], last["build_cpu_s"], last["file_bytes"]) > 0
    assert last["peak_bytes"] > last["peak_private_bytes"] > 2**20
    assert "6,000 rows were built by ours alone" in tables.remarks(found | {"machine": {"cores": 2}})
    with pytest.raises(BenchError, match="perwatt-dropped, which is not among perwatt"):
        growth.measure(tmp_path / "vectors.npy", SIZES[:2], [], entries[:1], [6000])


def test_a_size_that_was_measured_alone_joins_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    point = {"queries_per_s": 10.0, "cpu_us": 100.0, "build_s": 90.0, "build_cpu_s": 9.0, "peak_private_bytes": 8000}
    point |= {"peak_bytes": 2**30, "file_bytes": 2**30}
    engines = [
        {"name": name, "label": name, "ours": True, "points": [point | {"rows": 10, "queries_per_s": 20.0}]}
        for name in (growth.ALONE, "perwatt")
    ]
    measured = {"figures": {"sizes": [10], "engines": engines}, "machine": {}}
    monkeypatch.setattr(tables, "kept_of", lambda *_: {"figures": {"points": [point | {"rows": 1000}]}})
    figures = tables.with_alone(measured)["figures"]
    assert figures["sizes"] == [10, 1000]
    assert [len(each["points"]) for each in figures["engines"]] == [2, 1]
    assert figures["engines"][0]["exponents"]["queries_per_s"] == round(-np.log10(2) / 2, 3)
    monkeypatch.setattr(tables, "kept_of", lambda *_: None)
    assert tables.with_alone(measured)["figures"]["sizes"] == [10]


def test_ours_stand_beside_each_peer_at_the_largest_size_that_one_has() -> None:
    def engine(label: str, *points: tuple[int, float, float], ours: bool = False) -> dict[str, Any]:
        made = [{"rows": rows, "build_s": build_s, "queries_per_s": rate} for rows, build_s, rate in points]
        return {"name": label, "label": label, "ours": ours, "points": made}

    engines = [
        engine("perwatt, speed", (10, 2.0, 300.0), (100, 20.0, 30.0), ours=True),
        engine("Slow", (10, 9.0, 100.0)),
        engine("Slower", (10, 15.0, 40.0)),
    ]
    said = tables.beside({"engines": engines})
    assert said.startswith("At 10 rows, how many times as long Slow and Slower build")
    assert "speed: 4.5 and 7.5, 3.00." in said
    assert tables.beside({"engines": engines[:1]}) == ""


def test_a_planted_exponent_is_found_again() -> None:
    points = [
        {"rows": rows, "queries_per_s": 1e6 * rows**-0.25, "cpu_us": rows**0.5, "build_s": 2e-4 * rows**1.1,
         "build_cpu_s": rows}
        for rows in SIZES
    ]  # fmt: skip
    assert growth.exponents(points) == {"queries_per_s": -0.25, "cpu_us": 0.5, "build_s": 1.1, "build_cpu_s": 1.0}
    assert growth.exponents(points[:1]) == {}


def test_table_and_picture_show_each_size_and_exponent(figures: dict[str, Any], tmp_path: Path) -> None:
    table = tables.sizes(figures).splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == ["| **Perwatt**", "| Short"]
    assert " – |" in table[3]
    power = figures["engines"][0]["exponents"]["queries_per_s"]
    assert f"| {power:.2f} · " in table[2]
    measured = {"figures": figures, "machine": {"cpu": "A CPU", "isa": "avx2"}, "measured_on": "2026-11-30"}
    drawn = growth_picture.picture(measured)
    assert f">Perwatt ^{power:.2f}</text>" in drawn
    assert drawn.count("<circle") == 2 * 5
    assert all(f">{size:,}</text>" in drawn for size in SIZES)
