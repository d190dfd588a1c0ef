"""The service under test, asked outside the load: is it ready, what does it serve, what are the exact answers?

These questions go through the service's own client, like those of any other program; requests under the clock do not
(see `generator/pump.py`), because a client library's work would be measured with them. What is asked for is typed here,
with everything optional that another version of the service may not tell.
"""

from __future__ import annotations

import os
from typing import Any, TypeVar

import msgspec
import numpy as np

from loadtest.errors import TargetError
from loadtest.generator.samples import SampledAnswer
from loadtest.record.run_record import ServiceFacts
from loadtest.record.trial import RecallEstimate
from loadtest.workload.requests import Address, Workload
from loadtest.workload.truth import Exact, Truth, recall_interval
from service.client import Client, ClientError, ProblemError, calls
from service.client.calls import Call

T = TypeVar("T")


class _Described(msgspec.Struct):
    """What an index tells of itself; another service's may tell less."""

    generation: str | None = None
    count: int | None = None
    dim: int | None = None
    metric: str | None = None
    model: Any = None
    recall: Any = None
    kernels: Any = None


class _Listed(msgspec.Struct):
    alias: str | None = None


class _Names(msgspec.Struct):
    indexes: list[_Listed] = []


class _Vector(msgspec.Struct):
    embedding: list[float]


class _Embeddings(msgspec.Struct):
    data: list[_Vector]


class Target:
    """The service at `url`, for questions one at a time."""

    def __init__(self, url: str, index: str, timeout_s: float = 30.0) -> None:
        self.url = url
        self.index = index
        Address.parse(url)  # what the load could not be sent to is refused here already
        key = os.environ.get("PERWATT_KEY") or None
        self._client = Client(url, key=key, timeout_s=timeout_s, trust_env=False)  # straight there, as the load goes

    def ask(self, call: Call[T], what: str) -> T:
        """The answer to `call`; TargetError with `what` was answered with what."""
        try:
            return self._client.call(call)
        except ProblemError as problem:
            if problem.status in (401, 403):
                raise TargetError(
                    f"{self.url} refuses us with {problem.status}: set PERWATT_KEY to a key that may search "
                    f"{self.index!r}"
                ) from problem
            raise TargetError(
                f"{self.url} {what} with {problem.status}: {problem.detail} ({problem.code})"
            ) from problem
        except ClientError as error:
            raise TargetError(f"no answer from {self.url}: {error} Is the service running (perwatt serve)?") from error

    def alive(self) -> None:
        """Raises TargetError when it does not answer."""
        self.ask(Call("GET", "/livez", msgspec.Raw), "answers /livez")

    def served(self) -> ServiceFacts:
        """What is served; fields that the service does not tell stay None."""
        try:
            about = self.ask(_as(calls.index(self.index), _Described), "answers")
        except TargetError as error:
            if isinstance(error.__cause__, ProblemError) and error.__cause__.code == "index-not-found":
                raise TargetError(f"{self.url} serves no index {self.index!r}; it serves: {self._names()}") from error
            raise
        return ServiceFacts(
            url=self.url,
            index=self.index,
            generation=about.generation,
            model=about.model.get("id") if isinstance(about.model, dict) else about.model,
            count=about.count,
            dim=about.dim,
            metric=about.metric,
            recall=about.recall,
            kernels=about.kernels,
            version=self._version(),
        )

    def _version(self) -> Any:
        try:
            return self._client.version()
        except ClientError:
            return None

    def _names(self) -> str:
        try:
            listed = self._client.call(_as(calls.indexes(), _Names)).indexes
        except ClientError:
            listed = []
        return ", ".join(one.alias for one in listed if one.alias) or "none that it tells"

    def search(self, body: dict[str, Any]) -> SampledAnswer:
        return self.ask(_as(calls.search(self.index, **body), SampledAnswer), "answered a search")

    def try_each_kind(self, workload: Workload) -> int:
        """One request of each kind and filter; the mean bytes of an answer. TargetError says what was refused."""
        kinds: dict[tuple[str, int], int] = {}
        for number, query in enumerate(workload.queries):
            kind = "text" if query.text is not None else "id" if query.id is not None else "vector"
            for variant in range(workload.variants):
                kinds.setdefault((kind, variant), number * workload.variants + variant)
        sizes = []
        for request in kinds.values():
            body = workload.body(request)  # the very bytes that will be sent under load
            call = msgspec.structs.replace(_as(calls.search(self.index), msgspec.Raw), body=msgspec.Raw(body))
            try:
                sizes.append(len(bytes(self.ask(call, "answers one of the queries"))))
            except TargetError as error:
                raise TargetError(f"{error}\nThe query was {body[:200].decode('utf-8', 'replace')}") from error
        return round(sum(sizes) / len(sizes))

    def embed(self, texts: list[str], at_once: int = 64) -> list[list[float]]:
        """The service's own vectors of `texts` (POST /v1/embeddings)."""
        found: list[list[float]] = []
        for start in range(0, len(texts), at_once):
            part = texts[start : start + at_once]
            call: Call[_Embeddings] = _as(calls.embeddings(part, kind="query"), _Embeddings)
            data = self.ask(call, "answers a request for vectors of the queries").data
            if len(data) != len(part):
                raise TargetError(f"{self.url} made {len(data)} vectors of {len(part)} queries")
            found += [one.embedding for one in data]
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

    def recall(self, workload: Workload, truth: Truth, effort: int | None) -> RecallEstimate:
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
        self._client.close()


def _as(call: Call[Any], gives: type[T]) -> Call[T]:
    """The same call, its answer read as another type."""
    return msgspec.structs.replace(call, gives=gives)
