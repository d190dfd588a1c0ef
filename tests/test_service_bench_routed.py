"""What a router costs is measured beside its shards, and the table says what was aimed for and missed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from indexing import clustered

from deploy.figures.tables import router
from index import open_generation
from service.bench import race
from service.bench.routed import beyond, fleet


def figures() -> dict[str, Any]:
    form = {"router_us": 300.0, "part_us": 100.0, "shard_us": 200.0, "one_us": 250.0}
    return {
        "vector": {**form, "router_over_shard": 1.5, "of_one": 0.36, "beyond_ms": 0.2},
        "text": {**form, "router_over_shard": 1.1, "of_one": 0.4, "beyond_ms": 0.4},
        "slowest_shard_ms": 0.5,
        "stopped": {"quiet_p99_ms": 4.0, "stopped_p99_ms": 5.0, "ratio": 1.25, "searches": 900, "per_s": 100},
        "conditions": {
            "rows": 9000,
            "dim": 8,
            "shards": 2,
            "k": 10,
            "wanted": 0.95,
            "effort": 10,
            "effort_of_one": 12,
            "rounds": 5,
            "seconds": 3,
            "connections": 16,
            "cores": "one core",
        },
    }


def test_the_table_says_in_bold_what_was_missed() -> None:
    rows = [line.split("|")[1:-1] for line in router.targets(figures()).splitlines()[2:]]
    assert [cells[2].strip() for cells in rows] == [
        *("0.20 ms", "**missed** 1.50 ×", "**missed** 0.72 / 2 ×"),
        *("**missed** 0.40 ms", "1.10 ×", "**missed** 0.80 / 2 ×"),
        "1.25 ×",
    ]
    assert all(cells[0].strip().startswith("**") == ("missed" in cells[2]) for cells in rows)
    assert "900 beside a stopped replica" in router.remarks(figures())


def test_the_shards_hold_the_rows_of_the_one_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "model", dict)
    ids = [f"s{row:03}" for row in range(300)]
    np.save(tmp_path / "vectors.npy", clustered(300, 8))
    (tmp_path / "ids.txt").write_text("\n".join(ids) + "\n")
    held: list[str] = []
    for root in fleet.build_shards(tmp_path, 3, 0.9):
        with open_generation(root.path(fleet.NAME)) as generation:
            held += [generation.external_id(row) for row in range(generation.count)]
    assert sorted(held) == ids


class Speaker:
    """A server in this process that answers each request with what it is given to say."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self.says = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
        self.may_answer, self.answered = threading.Event(), threading.Event()
        self.may_answer.set()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self.listening.accept()
        with connection:
            while connection.recv(1 << 16):
                self.may_answer.wait()
                for piece in (self.says[:20], self.says[20:]):
                    connection.sendall(piece)
                self.answered.set()


@pytest.fixture
def speakers() -> Iterator[list[Speaker]]:
    made = [Speaker(), Speaker()]
    yield made
    for each in made:
        each.listening.close()


def test_the_slowest_shard_is_the_one_that_answers_last(speakers: list[Speaker]) -> None:
    lines, wires = [beyond.KeptLine(each.port) for each in speakers], [b"GET"] * 2
    assert beyond.slowest(lines, wires) > 0
    speakers[0].may_answer.clear()
    speakers[1].answered.clear()
    took: list[float] = []
    waiting = threading.Thread(target=lambda: took.append(beyond.slowest(lines, wires)))
    waiting.start()
    speakers[1].answered.wait()
    assert took == []
    speakers[0].may_answer.set()
    waiting.join()
    assert took[0] > 0
    speakers[1].says = b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\n{}"
    with pytest.raises(click.ClickException, match=r"HTTP/1\.1 503"):
        beyond.slowest(lines, wires)
    for line in lines:
        line.socket.close()
