"""perwatt itself: what a search of it is, and what it tells of what it serves.

Questions outside the load go through the service's own client, like those of any other program; requests under the
clock do not (see `generator/pump.py`), because a client library's work would be measured with them. What is asked for
is typed here, with everything optional that another version of the service may not tell.
"""

from __future__ import annotations

import base64
import os
from functools import cached_property
from typing import Any, TypeVar

import msgspec
import numpy as np

from loadtest.errors import TargetError, WorkloadError
from loadtest.record.run_record import ServiceFacts
from loadtest.targets.contract import QUESTION_S, Abilities, SampledAnswer, Target
from loadtest.workload.plan import Filter, Plan
from loadtest.workload.queries import Query
from loadtest.workload.requests import Prepared
from service.client import Client, ClientError, ProblemError, calls
from service.client.calls import Call

T = TypeVar("T")
KINDS = frozenset(frozenset({kind}) for kind in ("text", "vector", "id"))


class _Described(msgspec.Struct):
    """What an index tells of itself; another service's may tell less."""

    generation: str | None = None
    count: int | None = None
    dim: int | None = None
    metric: str | None = None
    model: Any = None
    recall: Any = None
    kernels: Any = None
    replicas: list[int] | None = None


class _Listed(msgspec.Struct):
    alias: str | None = None


class _Names(msgspec.Struct):
    indexes: list[_Listed] = []


class _Vector(msgspec.Struct):
    embedding: list[float]


class _Embeddings(msgspec.Struct):
    data: list[_Vector]


class PerwattTarget(Target):
    """The service at the plan's URL; `api_key` None: what PERWATT_KEY says."""

    name = "perwatt"
    ready_path = "/readyz"

    def __init__(self, plan: Plan, api_key: str | None = None) -> None:
        super().__init__(plan)
        self.able = Abilities(
            KINDS, effort="effort", exact=plan.mode in (None, "dense"), embeds=True, compares_scores=True
        )
        self.index = plan.index
        self._key = api_key if api_key is not None else os.environ.get("PERWATT_KEY") or None
        if self._key and not (self._key.isascii() and self._key.isprintable()):
            raise WorkloadError("The key has characters that no key has; expected one as it was printed, pw_….")

    @cached_property
    def _client(self) -> Client:
        return Client(self.url, key=self._key, timeout_s=QUESTION_S, trust_env=False)  # straight there, as the load

    def prepare(
        self, query: Query, filter_: Filter | None, *, effort: int | None, exact: bool = False, k: int = 0
    ) -> Prepared:
        plan = self.plan
        body: dict[str, object] = {"k": k or plan.k}
        if query.text is not None:
            body["text"] = query.text
        elif query.id is not None:
            body["id"] = query.id
        elif plan.vector_encoding == "base64":
            body["vector"] = base64.b64encode(np.asarray(query.vector, "<f4").tobytes()).decode()
        else:
            body["vector"] = query.vector
        if filter_ is not None:
            body["filter"] = filter_
        if exact:
            body["params"] = {"exact": True}
        elif effort is not None:
            body["params"] = {"effort": effort}
        if plan.mode is not None:
            body["mode"] = plan.mode
        if plan.fields is not None:
            body["fields"] = plan.fields
        key = (("Authorization", f"Bearer {self._key}"),) if self._key else ()
        headers = (*key, ("Content-Type", "application/json"))
        return Prepared("POST", f"/v1/indexes/{plan.index}/search", headers, msgspec.json.encode(body))

    def read(self, body: bytes) -> SampledAnswer:
        try:
            return msgspec.json.decode(body, type=SampledAnswer)
        except msgspec.MsgspecError as error:
            raise TargetError(f"{self.url} answers what is no answer to a search: {error}") from error

    def ask(self, request: Prepared, what: str) -> bytes:
        call = Call(request.method, request.path, msgspec.Raw, body=msgspec.Raw(request.body))
        return bytes(self._call(call, what))

    def _call(self, call: Call[T], what: str) -> T:
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
        self._call(Call("GET", "/livez", msgspec.Raw), "answers /livez")

    def served(self) -> ServiceFacts:
        """What is served; fields that the service does not tell stay None."""
        try:
            about = self._call(_as(calls.index(self.index), _Described), "answers")
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
            engine=self.name,
            effort_name=self.able.effort,
            replicas=about.replicas,
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

    def embed(self, texts: list[str], at_once: int = 64) -> list[list[float]]:
        """The service's own vectors of `texts` (POST /v1/embeddings)."""
        found: list[list[float]] = []
        for start in range(0, len(texts), at_once):
            part = texts[start : start + at_once]
            call: Call[_Embeddings] = _as(calls.embeddings(part, kind="query"), _Embeddings)
            data = self._call(call, "answers a request for vectors of the queries").data
            if len(data) != len(part):
                raise TargetError(f"{self.url} made {len(data)} vectors of {len(part)} queries")
            found += [one.embedding for one in data]
        return found

    def close(self) -> None:
        if "_client" in self.__dict__:  # it is made by the first question
            self._client.close()


def _as(call: Call[Any], gives: type[T]) -> Call[T]:
    """The same call, its answer read as another type."""
    return msgspec.structs.replace(call, gives=gives)
