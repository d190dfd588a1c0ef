"""The whole service as a state machine beside a dictionary: whatever is done in whatever order, both hold the same.

PERWATT_MACHINE_EXAMPLES says how many programs Hypothesis makes up, each new at every run; `make test-crash` asks for
more than `make test`, which runs the same few every time.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import httpx
import numpy as np
from changing import FIELDS, WORDS, document, vector
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from patience import patient
from serving import Server
from written import Written, asking, seeds_of

from index import Root, build_generation

EXAMPLES = int(os.environ.get("PERWATT_MACHINE_EXAMPLES", "0"))
INDEX = "/v1/indexes/docs"
FIRST, MOST = 40, 60  # documents that are there at first, and that there may be
ids = st.integers(0, MOST - 1).map(lambda number: f"d{number}")
seeds = st.integers(0, 10**6)
# What a filter says, and the same of a payload in Python.
conditions: Any = st.one_of(
    st.sampled_from(["en", "de", "fr"]).map(lambda lang: ({"field": "lang", "eq": lang}, lambda p: p["lang"] == lang)),
    st.integers(2000, 2010).map(
        lambda year: (
            {"field": "year", "gte": year},
            lambda p: p["year"] is not None and p["year"] >= year,
        )
    ),
    st.sampled_from(WORDS).map(lambda tag: ({"field": "tags", "in": [tag]}, lambda p: tag in p["tags"])),
    st.booleans().map(lambda ok: ({"not": {"field": "ok", "eq": ok}}, lambda p: p["ok"] != ok)),
)


def payload(seed: int) -> dict[str, Any]:
    return {**document(seed), "seed": seed}


class Machine(RuleBasedStateMachine):
    first: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="perwatt-machine-"))
        self.root = Path(shutil.copytree(self.first, self.folder / "root"))
        self.written = Written({f"d{number}": number for number in range(FIRST)})
        self.seq = 0
        self.generations = Root(self.root).generations("docs")
        self.server: Server | None = None

    def teardown(self) -> None:
        if self.server is not None:
            self.server.end()
        shutil.rmtree(self.folder)

    @initialize()
    def start(self) -> None:
        log_file = self.folder / "server.log"
        self.server = Server(self.root, "--workers", "2", log_file=log_file, alone=True)

    def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """By a connection of its own, so by either worker."""
        assert self.server is not None
        with self.server.client() as client:
            answer: httpx.Response = client.request(method, path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def wrote(self, answer: Any, count: int, effects: dict[str, int | None]) -> None:
        assert answer.get("written", answer.get("deleted")) == count, answer
        self.written.done(effects)
        self.seq = max(self.seq, answer["seq"])

    @rule(effects=st.dictionaries(ids, seeds, min_size=1, max_size=6))
    def put(self, effects: dict[str, int]) -> None:
        documents = [
            {"id": id_, "vector": vector(seed).tolist(), "payload": payload(seed)} for id_, seed in effects.items()
        ]
        answer = self.call("PUT", f"{INDEX}/documents", {"documents": documents})
        self.wrote(answer, len(effects), dict(effects))

    @rule(id_=ids)
    def delete(self, id_: str) -> None:
        there = id_ in self.written.known
        answer = self.call("DELETE", f"{INDEX}/documents/{id_}", status=200 if there else 404)
        if there:
            self.wrote(answer, 1, {id_: None})

    @rule(some=st.lists(ids, min_size=1, max_size=4))
    def delete_some(self, some: list[str]) -> None:
        answer = self.call("POST", f"{INDEX}/documents/delete", {"ids": some, "min_seq": self.seq})
        self.wrote(answer, len(set(some) & self.written.known.keys()), dict.fromkeys(some))

    @rule(condition=conditions, dry_run=st.booleans())
    def delete_by_filter(self, condition: Any, dry_run: bool) -> None:
        gone = self.keeping(condition)
        if len(gone) == len(self.written.known):
            dry_run = True  # no generation can be built of nothing
        body = {"filter": condition[0], "dry_run": dry_run, "min_seq": self.seq}
        answer = self.call("POST", f"{INDEX}/documents/delete", body)
        self.wrote(answer, len(gone), {} if dry_run else dict.fromkeys(gone))

    def keeping(self, condition: Any) -> list[str]:
        return [id_ for id_, seed in self.written.known.items() if condition[1](document(seed))]

    @rule(condition=conditions, query=seeds)
    def search(self, condition: Any, query: int) -> None:
        answer = self.call("POST", f"{INDEX}/search", asking(query, filter=condition[0], min_seq=self.seq))
        kept = self.keeping(condition)
        assert seeds_of(answer["hits"], query) == {id_: self.written.known[id_] for id_ in kept}
        assert answer["coverage"]["survivors"] == len(kept)

    @rule(word=st.sampled_from(WORDS))
    def search_words(self, word: str) -> None:
        body = {"text": word, "mode": "lexical", "k": 1000, "min_seq": self.seq, "fields": ["seed"]}
        hits = self.call("POST", f"{INDEX}/search", body)["hits"]
        holding = [id_ for id_, seed in self.written.known.items() if word in words_of(seed)]
        assert sorted(hit["id"] for hit in hits) == sorted(holding)

    @rule(id_=ids)
    def get(self, id_: str) -> None:
        seed = self.written.known.get(id_)
        answer = self.call("GET", f"{INDEX}/documents/{id_}", status=404 if seed is None else 200)
        assert seed is None or answer["payload"] == payload(seed)

    @precondition(lambda self: self.written.known)
    @rule(index=st.just("docs"))  # what takes no argument is all that the first program of Hypothesis does
    def rebuild(self, index: str) -> None:
        id_ = self.call("POST", "/v1/rebuilds", {"index": index}, 202)["id"]
        limit_s = time.monotonic() + patient(90)
        while (answer := self.call("GET", f"/v1/rebuilds/{id_}"))["ended_at"] is None:
            assert time.monotonic() < limit_s, answer
            time.sleep(0.2)  # a rebuild runs behind everything else
        if answer["state"] == "succeeded":
            self.generations = Root(self.root).generations("docs")
            assert self.generations[-1] == answer["generation"]
        else:
            assert "holds every change" in answer["detail"] or "rows" in answer["detail"], answer

    @rule(place=st.integers(0, 5))
    def switch(self, place: int) -> None:
        generation = self.generations[place % len(self.generations)]
        answer = self.call("PUT", "/v1/aliases/docs", {"generation": generation})
        assert answer["generation"] == generation

    @rule()
    def roll_back(self) -> None:
        alias = Root(self.root).alias("docs")
        if alias.previous in self.generations:
            assert self.call("POST", "/v1/aliases/docs/rollback")["generation"] == alias.previous

    @rule(number=st.sampled_from([signal.SIGTERM, signal.SIGKILL]))
    def restart(self, number: signal.Signals) -> None:
        assert self.server is not None
        os.killpg(self.server.process.pid, number)
        self.server.end()
        self.start()

    @invariant()
    def both_hold_the_same(self) -> None:
        if self.server is not None:
            answer = self.call("POST", f"{INDEX}/search", asking(7, min_seq=self.seq))
            assert answer.get("seq", 0) >= self.seq
            self.written.settle(seeds_of(answer["hits"], 7))


def words_of(seed: int) -> set[str]:
    written = document(seed)
    return {*written["title"].split(), *written["text"].split()}


def test_whatever_is_done_the_service_holds_what_a_dictionary_holds(tmp_path: Path) -> None:
    build_generation(
        np.stack([vector(number) for number in range(FIRST)]),
        [f"d{number}" for number in range(FIRST)],
        root=tmp_path,
        name="docs",
        payload=[payload(number) for number in range(FIRST)],
        filterable=FIELDS,
        threads=1,
    )
    Machine.first = tmp_path
    case = Machine.TestCase()
    case.settings = settings(
        max_examples=EXAMPLES or 2,
        stateful_step_count=20,
        derandomize=not EXAMPLES,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    case.runTest()
