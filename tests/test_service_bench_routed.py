"""What a router costs is measured beside its shards, and the table says what was aimed for and missed."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
from collections import Counter
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
from service.bench.offered import Offer, SentTooLateError, in_time, offer
from service.bench.routed import beyond, fleet, stopped


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
    assert "900 beside a stopped replica were all answered" in router.remarks(figures())


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
        with connection, contextlib.suppress(ConnectionError):  # who asked may go with an answer unread
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


def answer(best: list[tuple[str, float]], shards: int = 2) -> bytes:
    hits = [{"id": id_, "score": score, "payload": {}} for id_, score in best]
    coverage = {"survivors": 9, "exact": False, "partial": False, "shards": 2, "answered": shards}
    return b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps({"hits": hits, "coverage": coverage, "took_ms": 1}).encode()


def test_an_answer_with_other_hits_or_fewer_shards_is_wrong() -> None:
    bodies = [[("a", 0.5), ("b", 0.25)], [("c", 0.5)]]
    known = [stopped.hits_in(answer(best).partition(b"\r\n\r\n")[2]) for best in bodies]
    good = [(place, answer(best)) for place, best in enumerate(bodies)]
    stopped.check(good * 2, known)
    for wrong in (answer([("a", 0.5), ("d", 0.25)]), answer([("a", 0.5), ("b", 0.24)]), answer(bodies[0], 1)):
        with pytest.raises(click.ClickException, match="of 3 answers 1 were wrong, the first to body 0"):
            stopped.check([*good, (0, wrong)], known)


def test_answers_that_are_kept_are_those_to_the_bodies_that_were_sent() -> None:
    class Echo(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bodies = [f"body {place}" for place in range(5)]
        for _ in range(5):  # a machine that stands still sends few
            made = offer(server.server_address[1], "/", bodies, 200, 0.5, 64, 10.0, keep=True)
            if made.fates["answered"] > 60:
                break
        server.shutdown()
    assert len(made.answers) == made.fates["answered"] > 20
    assert all(raw.endswith(f"\r\n\r\n{bodies[place]}".encode()) for place, raw in made.answers)
    assert {place for place, _ in made.answers} == set(range(5))


def test_a_turn_that_was_disturbed_is_made_again_and_a_request_that_was_lost_is_told() -> None:
    made = [
        Offer([1.0] * 90, Counter(answered=90, missed=10), 0.0, []),
        Offer([2.0] * 100, Counter(answered=100), 0.0, []),
        Offer([3.0] * 99, Counter({"answered": 99, "timeout": 1}), 0.0, []),
    ]
    coming = iter(made)
    assert stopped.kept_in_time(lambda: in_time(next(coming))) == [2.0] * 100
    with pytest.raises(click.ClickException, match="1 requests were not answered"):
        stopped.kept_in_time(lambda: in_time(next(coming)))
    with pytest.raises(SentTooLateError, match="10 of 100 requests were sent too late"):
        stopped.kept_in_time(lambda: in_time(made[0]))
