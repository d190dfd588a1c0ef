"""Callers of a service that may be killed at any moment: they know what they were told, and believe nothing else."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from changing import document, vector
from patience import patient
from serving import UNTRUSTING
from written import Effects, Written, asking, seeds_of

from index import Root

SEARCH, DOCUMENTS = "/v1/indexes/docs/search", "/v1/indexes/docs/documents"
EACH = 100  # documents that a caller writes to; no other caller does
OPEN = ("not known", "may or may not")  # said of a write that may have been done
REFUSED = (401, 403, 404, 409, 412, 422, 429, 503)


def payload(owner: str, seed: int) -> dict[str, Any]:
    return {**document(seed), "seed": seed, "owner": owner}


class SentWrite(NamedTuple):
    owner: str
    effects: Effects
    key: str
    method: str
    path: str
    body: Any


class Place:
    """A root, the service on it, and what its callers hold on to from one service to the next."""

    def __init__(self, root: Path, owners: dict[str, Written], keys: dict[str, dict[str, str]]) -> None:
        """keys: headers by the name of a key."""
        self.root, self.owners, self.keys = root, owners, keys
        self.url = ""
        self.over = threading.Event()
        self.failures: list[BaseException] = []
        self.commands: list[subprocess.Popen[str]] = []
        self.again: list[SentWrite] = []  # of which nobody knows, and which may be sent again
        self.counts: Counter[str] = Counter()

    def client(self, key: str = "") -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=patient(30), headers=self.keys.get(key, {}), verify=UNTRUSTING)

    def command(self, *words: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """`perwatt`, in the background."""
        command = [sys.executable, "-m", "deploy.command", *words, "--root", str(self.root)]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, process_group=0
        )
        self.commands.append(process)
        return process

    def end_commands(self, *, kill: bool) -> None:
        for process in self.commands:
            if kill:
                process.kill()
            said = process.communicate(timeout=patient(60))[1]
            assert "Traceback" not in said, said
        self.commands.clear()


class Caller(threading.Thread):
    """One of several at once; what goes wrong is for the place to tell."""

    def __init__(self, place: Place, rng: random.Random) -> None:
        super().__init__(daemon=True)
        self.place, self.rng = place, rng

    def run(self) -> None:
        try:
            while not self.place.over.is_set():
                self.step()
        except BaseException as error:
            self.place.failures.append(error)
            self.place.over.set()

    def step(self) -> None:
        raise NotImplementedError

    def ask(self, key: str, method: str, path: str, body: Any = None, once: str = "") -> tuple[str, Any]:
        """What became of a call: "done", "refused" or "open" where nobody knows; and its answer.

        once: its `Idempotency-Key`.
        """
        headers = {"idempotency-key": once} if once else {}
        try:
            with self.place.client(key) as client:  # a connection each, so to any worker
                answer = client.request(method, path, json=body, headers=headers)
        except httpx.ConnectError:
            time.sleep(0.01)
            return "refused", None
        except httpx.TransportError:
            return "open", None
        if answer.status_code < 300:
            return "done", answer.json()
        problem = answer.json()
        if problem["code"] == "deadline-exceeded" or any(words in problem["detail"] for words in OPEN):
            return "open", problem
        assert answer.status_code in REFUSED, answer.text
        self.place.counts[f"refused: {problem['code']}"] += 1
        return "refused", problem


class WritingCaller(Caller):
    """Puts and deletes documents of its own, and reads them back."""

    def __init__(self, place: Place, rng: random.Random, owner: str) -> None:
        super().__init__(place, rng)
        self.owner, self.written, self.seq = owner, place.owners[owner], 0

    def step(self) -> None:
        rng = self.rng
        steps: list[Callable[[], None]] = [self.put, self.delete_one, self.delete_some, self.trespass]
        if not self.written.undecided:
            steps += [self.delete_by_filter, self.read]
        rng.choices(steps, [6, 2, 2, 1, 1, 2][: len(steps)])[0]()

    def put(self) -> None:
        effects: Effects = {id_: self.rng.randrange(10**9) for id_ in self._free(self.rng.randint(1, 8))}
        documents = [
            {"id": id_, "vector": vector(seed or 0).tolist(), "payload": payload(self.owner, seed or 0)}
            for id_, seed in effects.items()
        ]
        bad = {"id": f"refused-{self.owner}", "vector": [1.0], "payload": {}}
        answer = self.tell(effects, "PUT", DOCUMENTS, {"documents": [*documents, bad]})
        assert answer is None or (answer["written"], len(answer["failed"])) == (len(effects), 1), answer

    def delete_one(self) -> None:
        for id_ in self._free(1):
            outcome, answer = self.ask("write", "DELETE", f"{DOCUMENTS}/{id_}")
            self.note({id_: None}, outcome, answer)
            if outcome == "done" or (answer is not None and answer.get("status") == 404):
                assert (outcome == "done") == (id_ in self._before), f"{id_}: {answer}"

    def delete_some(self) -> None:
        ids = self._free(self.rng.randint(1, 4))
        there = len(set(ids) & self.written.known.keys())
        answer = self.tell(dict.fromkeys(ids), "POST", f"{DOCUMENTS}/delete", {"ids": ids})
        assert answer is None or answer["deleted"] == there, f"{there} of {ids} were there: {answer}"

    def delete_by_filter(self) -> None:
        year = self.rng.randrange(2000, 2010)
        theirs = {"field": "owner", "eq": self.owner}
        gone = [id_ for id_, seed in self.written.known.items() if payload("", seed)["year"] == year]
        body = {"filter": {"and": [theirs, {"field": "year", "eq": year}]}, "min_seq": self.seq}
        answer = self.tell(dict.fromkeys(gone), "POST", f"{DOCUMENTS}/delete", body)
        assert answer is None or answer["deleted"] == len(gone), f"{gone} were there: {answer}"

    def trespass(self) -> None:
        """Every way in which a write is refused as a whole."""
        [id_] = self._free(1)
        document = {"id": id_, "vector": vector(0).tolist(), "payload": payload("refused", 0)}
        for key in ("nobody", "search", "tenant"):
            outcome, answer = self.ask(key, "PUT", DOCUMENTS, {"documents": [document]})
            if outcome == "done":
                assert (key, answer["written"]) == ("tenant", 0), answer
        self.place.counts["trespassed"] += 1

    def read(self) -> None:
        query, mine = self.rng.randrange(10**9), {"field": "owner", "eq": self.owner}
        outcome, answer = self.ask("search", "POST", SEARCH, asking(query, filter=mine, min_seq=self.seq))
        if outcome == "done":
            self.written.settle(seeds_of(answer["hits"], query))
            self.place.counts["read"] += 1
        else:
            assert answer is None or answer["code"] != "precondition-failed", answer

    def tell(self, effects: Effects, method: str, path: str, body: Any) -> Any:
        """Sends a write and notes what came of it; its answer where it was done."""
        once = f"{self.owner} {self.rng.randrange(10**12)}"
        outcome, answer = self.ask("write", method, path, body, once)
        self.note(effects, outcome, answer)
        if outcome == "open" and effects and "filter" not in body:  # that would be of other documents by then
            self.place.again.append(SentWrite(self.owner, effects, once, method, path, body))
        return answer if outcome == "done" else None

    def note(self, effects: Effects, outcome: str, answer: Any) -> None:
        self._before = set(self.written.known)
        self.place.counts[outcome] += 1
        if outcome == "done":
            self.written.done(effects)
            self.seq = max(self.seq, answer["seq"])
        elif outcome == "open" and effects:
            self.written.open.append(effects)

    def _free(self, count: int) -> list[str]:
        """Documents of which it is known whether they are there."""
        free = {f"{self.owner}-{number}" for number in range(EACH)} - self.written.undecided
        return self.rng.sample(sorted(free), count)


class SearchingCaller(Caller):
    """Looks at everything, whatever is written: each hit must be one document, whole."""

    def step(self) -> None:
        query, exact = self.rng.randrange(10**9), self.rng.random() < 0.5
        outcome, answer = self.ask("search", "POST", SEARCH, asking(query, params={"exact": exact}))
        if outcome == "done":
            assert answer["generation"].startswith("docs-"), answer
            assert seeds_of(answer["hits"], query), answer
            self.place.counts["searched"] += 1


class Operator(Caller):
    """Folds, rebuilds, switches, rolls back and cleans up, all of it while others write and search."""

    def step(self) -> None:
        rng = self.rng
        rng.choice([self.rebuild, self.rebuild, self.fold, self.switch, self.roll_back, self.clean])()
        time.sleep(rng.uniform(0, 0.2))

    def rebuild(self) -> None:
        outcome, answer = self.ask("admin", "POST", "/v1/rebuilds", {"index": "docs"})
        if outcome != "done":
            return
        if self.rng.random() < 0.3:
            time.sleep(self.rng.uniform(0, 1))
            self.ask("admin", "DELETE", f"/v1/rebuilds/{answer['id']}")
        while not self.place.over.is_set():
            outcome, seen = self.ask("admin", "GET", f"/v1/rebuilds/{answer['id']}")
            if outcome == "done" and seen["ended_at"] is not None:
                self.place.counts[f"rebuild {seen['state']}"] += 1
                return
            time.sleep(0.05)

    def fold(self) -> None:
        family = self.rng.choice(["flat", "graph"])
        words = ["build", "--from-changes", "--index", "docs", "--threads", "1", "--family", family]
        self.run_command(*words, *(["--no-switch"] if self.rng.random() < 0.3 else []))
        self.place.counts["folded"] += 1

    def switch(self) -> None:
        generation = self.rng.choice(Root(self.place.root).generations("docs"))
        outcome, _ = self.ask("admin", "PUT", "/v1/aliases/docs", {"generation": generation})
        self.place.counts[f"switch {outcome}"] += 1

    def roll_back(self) -> None:
        outcome, _ = self.ask("admin", "POST", "/v1/aliases/docs/rollback")
        self.place.counts[f"roll back {outcome}"] += 1

    def clean(self) -> None:
        self.run_command("gc", "docs", "--keep", str(self.rng.randint(0, 2)))

    def run_command(self, *words: str) -> None:
        process = self.place.command(*words)
        while process.poll() is None and not self.place.over.is_set():
            time.sleep(0.02)
