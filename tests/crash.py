"""Kills the service, and what works beside it, over and over, and looks at what is left: `make test-crash MINUTES=20`.

    python tests/crash.py [--minutes 20] [--seed N] [--folder KEEP]

A round is one life of `perwatt serve`, with one worker or two. Callers write, delete and search; an operator folds,
rebuilds, switches, rolls back and cleans up; then everything is killed: at a named point (POINTS), by itself, or at a
random moment, all of it or one process. Whatever comes next has to find

- every write that was acknowledged, none that was refused, and of the others each whole or not at all,
- whole generations only, and an alias that names one of them,
- what an exact search of everything gives, equal to a dictionary: ids, seeds, scores,
- the same answers and the same recall as before the kill, where nothing was written in between,
- and a write of which nobody knows, sent again with its `Idempotency-Key`, done once.

Chance comes from the seed alone; how far each process is when it is killed also depends on the machine. A failure names
the seed and the round, and leaves the folder.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from changing import vector
from crashing import EACH, SEARCH, Operator, Place, SearchingCaller, WritingCaller, payload
from killing import BUILD_POINTS, GC_POINTS, POINTS, Armed, chosen, end, over
from patience import patient
from server_keys import bearer, make_key
from serving import NotStarted, Server
from written import Written, everything

from index import Root, build_generation, open_generation, verify
from index.changes.log_reader import LogReader
from service.rebuilds.records import RebuildRecords

OWNERS = ("one", "two", "three")
FIELDS = ["owner:keyword", "year:int"]


class Crash:
    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder = seed, folder
        owners = {owner: Written({f"{owner}-{n}": n * len(OWNERS) + at for n in range(EACH)})
                  for at, owner in enumerate(OWNERS)}  # fmt: skip
        rows = [(owner, id_, seed) for owner in OWNERS for id_, seed in owners[owner].known.items()]
        build_generation(
            np.stack([vector(seed) for _, _, seed in rows]),
            [id_ for _, id_, _ in rows],
            root=folder / "root",
            name="docs",
            family="graph",
            payload=[payload(owner, seed) for owner, _, seed in rows],
            filterable=FIELDS,
            threads=1,
        )
        keys = folder / "keys.json"
        kept: dict[str, Any] = {"tenant": {"filter": {"field": "owner", "eq": "nobody"}}}
        tokens = {
            name: make_key(keys, name, "write" if name == "tenant" else name, **kept.get(name, {}))  # type: ignore[arg-type]
            for name in ("search", "write", "admin", "tenant")
        }
        self.place = Place(folder / "root", owners, {name: bearer(token) for name, token in tokens.items()})
        self.before: dict[str, Any] | None = None

    def run(self, seconds: float) -> None:
        until_s, number = time.monotonic() + seconds, 0
        while time.monotonic() < until_s:
            number += 1
            try:
                self.round(number, random.Random(f"{self.seed}/{number}"), until_s)
            except BaseException:
                print(f"seed {self.seed}, round {number}; what is left is in {self.folder}", flush=True)
                raise
        with self.started(2, None) as server:
            self.look(server)
            assert server.end() == 0

    def round(self, number: int, rng: random.Random, until_s: float) -> None:
        workers, armed = rng.choice((1, 1, 2)), chosen(rng, POINTS | BUILD_POINTS, 0.6)
        how, still = rng.choice(("all", "all", "the parent", "a worker", "told")), rng.random() < 0.4
        place, counts = self.place, self.place.counts.copy()
        with self.started(workers, armed) as server:
            if armed is None and rng.random() < 0.5:
                self.send_again()
            self.look(server)
            place.over.clear()
            callers = [WritingCaller(place, random.Random(rng.random()), owner) for owner in OWNERS]
            others = [SearchingCaller(place, random.Random(rng.random())), Operator(place, random.Random(rng.random()))]
            everyone = [*callers, *others]
            for caller in everyone:
                caller.start()
            ends_s = min(until_s, time.monotonic() + rng.uniform(0.3, 3))
            while time.monotonic() < ends_s and server.process.poll() is None and not place.failures:
                time.sleep(0.01)
            if still:  # nobody is at work when it is killed
                self.still(everyone)
                self.before = self.answers(server)
            died = server.process.poll() is not None or "ended with signal SIGKILL" in server.log()
            end(server, how, rng)
            self.still(everyone)
        place.end_commands(kill=rng.random() < 0.5)
        self.end_rebuild(kill=rng.random() < 0.5)
        beside = self.beside(rng)
        self.look_at_disk()
        wrote = place.counts["done"] - counts["done"]
        nobody_knows = sum(len(each.open) for each in place.owners.values())
        point = f", died {armed[0]}" if armed and died else ""
        place.counts[f"killed {armed[0]}" if armed and died else f"killed {how}"] += 1
        print(f"round {number}: {workers} workers{point}; {how} ended; {wrote} writes, {nobody_knows} open{beside}")

    def started(self, workers: int, armed: Armed | None) -> contextlib.AbstractContextManager[Server]:
        words = ["--keys", str(self.folder / "keys.json"), "--workers", str(workers)]
        log = self.folder / "server.log"
        try:
            server = Server(self.place.root, *words, log_file=log, env=armed[1] if armed else None, alone=True)
        except NotStarted:
            if armed is None:
                raise
            server = Server(self.place.root, *words, log_file=log, alone=True)
        self.place.url = server.url
        return over(server)

    def still(self, callers: list[Any]) -> None:
        self.place.over.set()
        for caller in callers:
            caller.join()
        if self.place.failures:
            raise self.place.failures[0]

    def send_again(self) -> None:
        """What nobody knows of: each is done then, and only once."""
        caller = Operator(self.place, random.Random(0))
        for sent in self.place.again:
            seqs = set()
            for _ in range(2):
                outcome, answer = caller.ask("write", sent.method, sent.path, sent.body, sent.key)
                assert outcome == "done", answer
                seqs.add(answer["seq"])
            assert len(seqs) == 1, f"{sent} was done twice"
            self.place.owners[sent.owner].open.remove(sent.effects)
            self.place.owners[sent.owner].done(sent.effects)
            self.place.counts["sent again"] += 1
            self.before = None

    def look(self, server: Server) -> None:
        """What is served, held against what is known."""
        root = self.place.root
        seq = 0
        with contextlib.suppress(FileNotFoundError), LogReader(root / "docs") as reader:
            seq = reader.acknowledged
        for turn in range(4):  # a connection each: of either worker
            with self.place.client("search") as client:
                found = everything(client, self.seed + turn, min_seq=seq)
            for owner, written in self.place.owners.items():
                written.settle({id_: seed for id_, seed in found.items() if id_.startswith(f"{owner}-")})
            strange = [id_ for id_ in found if id_.rpartition("-")[0] not in OWNERS]
            assert not strange, f"refused and there: {strange}"
        self.place.again.clear()
        if self.before is not None:
            now = self.answers(server)
            if (now["generation"], now["seq"]) == (self.before["generation"], self.before["seq"]):
                assert now == self.before
                self.place.counts["same answers"] += 1
            self.before = None

    def answers(self, server: Server) -> dict[str, Any] | None:
        """What a restart must not change; None where the service does not answer any more."""
        found: dict[str, Any] = {}
        for query in range(8):
            outcome, answer = Operator(self.place, random.Random(0)).ask(
                "admin", "POST", SEARCH, {"vector": vector(query).tolist(), "k": 10}
            )
            if outcome != "done":
                return None
            found |= {
                "generation": answer["generation"],
                "seq": answer.get("seq", 0),
                f"hits of {query}": answer["hits"],
            }
        asked = {"queries": 50}
        outcome, answer = Operator(self.place, random.Random(0)).ask("admin", "POST", "/v1/indexes/docs/recall", asked)
        if outcome != "done" or answer["generation"] != found["generation"]:
            return None
        return found | {"recall": answer["recall"]}

    def end_rebuild(self, *, kill: bool) -> None:
        """One that outlives its service ends by itself, or is killed too."""
        records = RebuildRecords(self.place.root)
        limit_s = time.monotonic() + patient(240)
        while (id_ := records.running()) is not None:
            record = records.get(id_)
            if kill and record is not None and record.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(record.pid, signal.SIGKILL)
            assert time.monotonic() < limit_s, f"rebuild {id_} does not end"
            time.sleep(0.02)

    def beside(self, rng: random.Random) -> str:
        """A command while no service runs, and where it was killed."""
        if rng.random() < 0.5:
            return ""
        words, points = rng.choice(
            [
                (["build", "--from-changes", "--index", "docs", "--threads", "1"], BUILD_POINTS),
                (["gc", "docs", "--keep", "0"], GC_POINTS),
            ]
        )
        armed = chosen(rng, points, 0.8)
        process = self.place.command(*words, environment=os.environ | (armed[1] if armed else {}))
        self.place.end_commands(kill=False)
        died = f" killed {armed[0]}" if armed and process.returncode < 0 else ""
        self.place.counts[f"{words[0]}{died}"] += 1
        return f"; {words[0]}{died}"

    def look_at_disk(self) -> None:
        root = Root(self.place.root)
        generations = root.generations("docs")
        assert root.alias("docs").generation in generations
        for generation in generations:
            verify(root.path("docs", generation))
        open_generation(root.path("docs")).close()
        with contextlib.suppress(FileNotFoundError), LogReader(self.place.root / "docs") as reader:
            seq = reader.head.first - 1
            while changes := reader.since(seq):
                seq = changes[-1].seq
        log = (self.folder / "server.log").read_text()
        assert "Traceback" not in log, log


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="perwatt-crash-"))
    crash = Crash(asked.seed, folder)
    crash.run(60 * asked.minutes)
    for name, count in sorted(crash.place.counts.items()):
        print(f"{count:7,} {name}")
    print("every promise held")


if __name__ == "__main__":
    sys.exit(main())
