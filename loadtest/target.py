"""The service under test, asked outside the load: is it ready, what does it serve, what are the exact answers?"""

from __future__ import annotations

import http.client
import json
import os
from typing import Any

import msgspec
import numpy as np

from loadtest.errors import TargetError
from loadtest.record import Served
from loadtest.samples import Answer
from loadtest.trial import Recall
from loadtest.truth import Exact, Truth, recall_interval
from loadtest.workload import Address, Workload


class Target:
    """One kept-alive connection to `url`, for questions one at a time."""

    def __init__(self, url: str, index: str, timeout_s: float = 30.0) -> None:
        self.url = url
        self.index = index
        self._address = Address.parse(url)
        self._connection = http.client.HTTPConnection(self._address.host, self._address.port, timeout=timeout_s)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"} if body else {}
        if key := os.environ.get("PERWATT_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        try:
            self._connection.request(method, self._address.prefix + path, body, headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise TargetError(
                f"no answer from {self.url}{path}: {error}. Is the service running (perwatt serve)?"
            ) from error

    def served(self) -> Served:
        """What is served; fields that the service does not tell stay None."""
        status, raw = self.ask("GET", f"/v1/indexes/{self.index}")
        if status in (401, 403):
            raise TargetError(
                f"{self.url} refuses us with {status}: set PERWATT_API_KEY to a key that may search {self.index!r}"
            )
        if b"index-not-found" in raw:
            listed = self._json("/v1/indexes")
            raise TargetError(f"{self.url} serves no index {self.index!r}; it serves: {_names(listed)}")
        described, version = self._json(f"/v1/indexes/{self.index}"), self._json("/version")
        about = described if isinstance(described, dict) else {}
        model = about.get("model")
        return Served(
            url=self.url,
            index=self.index,
            generation=about.get("generation"),
            model=model.get("id") if isinstance(model, dict) else model,
            count=about.get("count"),
            dim=about.get("dim"),
            metric=about.get("metric"),
            recall=about.get("recall"),
            kernels=about.get("kernels"),
            version=version,
        )

    def _json(self, path: str) -> Any:
        status, body = self.ask("GET", path)
        try:
            return json.loads(body) if status == 200 else None
        except ValueError:
            return None

    def search(self, body: dict[str, Any]) -> Answer:
        status, raw = self.ask("POST", f"/v1/indexes/{self.index}/search", msgspec.json.encode(body))
        if status != 200:
            raise TargetError(f"{self.url} answered a search with {status}: {raw[:300].decode('utf-8', 'replace')}")
        try:
            return msgspec.json.decode(raw, type=Answer)
        except msgspec.MsgspecError as error:
            raise TargetError(f"{self.url} answered a search with something else: {error}") from error

    def try_each_kind(self, workload: Workload) -> int:
        """One request of each kind and filter; the mean bytes of an answer. TargetError says what was refused."""
        kinds: dict[tuple[str, int], int] = {}
        for number, query in enumerate(workload.queries):
            kind = "text" if query.text is not None else "id" if query.id is not None else "vector"
            for variant in range(workload.variants):
                kinds.setdefault((kind, variant), number * workload.variants + variant)
        sizes = []
        for request in kinds.values():
            status, raw = self.ask("POST", f"/v1/indexes/{self.index}/search", workload.body(request))
            if status != 200:
                raise TargetError(
                    f"{self.url} answers one of the queries with {status}: {raw[:400].decode('utf-8', 'replace')}\n"
                    f"The query was {workload.body(request)[:200].decode('utf-8', 'replace')}"
                )
            sizes.append(len(raw))
        return round(sum(sizes) / len(sizes))

    def embed(self, texts: list[str], at_once: int = 64) -> list[list[float]]:
        """The service's own vectors of `texts` (POST /v1/embeddings)."""
        found: list[list[float]] = []
        for start in range(0, len(texts), at_once):
            body = msgspec.json.encode({"input": texts[start : start + at_once]})
            status, raw = self.ask("POST", "/v1/embeddings", body)
            try:
                found += [one["embedding"] for one in json.loads(raw)["data"]] if status == 200 else []
            except (ValueError, KeyError, TypeError):
                status = 0
            if status != 200 or len(found) != min(start + at_once, len(texts)):
                raise TargetError(
                    f"{self.url} makes no vectors of the queries ({status}): {raw[:300].decode('utf-8', 'replace')}"
                )
        return found

    def exact_answers(self, workload: Workload, count: int, seed: int = 0) -> Truth:
        """Exact answers (`params.exact`) to `count` requests of the workload, a seeded sample, asked one by one."""
        total = len(workload.queries) * workload.variants
        random = np.random.default_rng(seed)
        chosen = np.sort(random.choice(total, min(count, total), replace=False))
        answers = []
        for request in chosen.tolist():
            query = workload.queries[request // workload.variants]
            if query.truth is not None:
                answers.append(Exact(request, query.truth))
                continue
            body = msgspec.json.decode(workload.body(request))
            body["params"] = {"exact": True}
            hits = self.search(body).hits
            answers.append(Exact(request, [hit.id for hit in hits], [hit.score for hit in hits]))
        return Truth(answers, workload.plan.k)

    def recall(self, workload: Workload, truth: Truth, effort: int | None) -> Recall:
        """Recall of the answers at `effort`, without load, over all requests that `truth` knows."""
        values = []
        for request in truth.requests():
            body = msgspec.json.decode(workload.body(request))
            if effort is not None:
                body["params"] = {"effort": effort}
            value = truth.recall(request, [(hit.id, hit.score) for hit in self.search(body).hits])
            if value is not None:
                values.append(value)
        found = recall_interval(values, workload.plan.k)
        if found is None:
            raise TargetError("no query has a non-empty exact answer, so recall cannot be measured")
        return found

    def close(self) -> None:
        self._connection.close()


def _names(listed: Any) -> str:
    """Aliases in what GET /v1/indexes answered."""
    rows = listed.get("indexes") if isinstance(listed, dict) else listed
    names = [row.get("alias") or row.get("name") for row in rows if isinstance(row, dict)] if rows else []
    return ", ".join(str(name) for name in names if name) or "none that it tells"
