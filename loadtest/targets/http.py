"""Any search over HTTP, as a request template says (`template.py`)."""

from __future__ import annotations

import base64
from functools import cached_property
from typing import Any

import httpx
import msgspec
import numpy as np

from loadtest.errors import TargetError, WorkloadError
from loadtest.record.run_record import ServiceFacts
from loadtest.targets.contract import QUESTION_S, Abilities, SampledAnswer, SampledHit, Target
from loadtest.targets.selector import Step, parse, select, there
from loadtest.targets.template import (
    ABSENT,
    PLACE,
    About,
    Ask,
    Template,
    body_of,
    fill,
    filled_headers,
    filled_path,
    kinds_of,
    places_of,
    written,
)
from loadtest.workload.plan import Filter, Plan
from loadtest.workload.queries import Query
from loadtest.workload.requests import Prepared

JSON = ("Content-Type", "application/json")


class HttpTarget(Target):
    """An engine that `template` says how to ask. WorkloadError for a mode that it has no request for."""

    def __init__(self, plan: Plan, name: str, template: Template) -> None:
        super().__init__(plan)
        self.name = name
        self.template = template
        self.ready_path = template.ready
        self._values = {**template.variables, **({"index": plan.index} if plan.index else {})}
        chosen = template.search if plan.mode in (None, "dense") else getattr(template, plan.mode, None)
        if chosen is None:
            raise WorkloadError(f"{name} has no request for --mode {plan.mode}: its template has no [{plan.mode}]")
        self._search: Ask = chosen
        self._exact = template.exact if plan.mode in (None, "dense") else None
        places = places_of(chosen)
        if not plan.index and "index" in places:
            raise WorkloadError(f"{name} searches an index: say which, with --index")
        kinds = kinds_of(chosen)
        self.able = Abilities(
            kinds=frozenset([frozenset(kinds)] if chosen.both else [frozenset({kind}) for kind in kinds]),
            filter="filter" in places,
            effort=(template.effort.format_map(self._values) or "effort") if "effort" in places else None,
            exact=self._exact is not None,
            lowest_effort=plan.k if template.effort_from_k else 1,
            highest_effort=template.highest_effort,
        )
        needed = {*places, *(places_of(self._exact) if self._exact is not None else ())}
        if unset := sorted(needed & {name for name, value in template.variables.items() if not value}):
            raise WorkloadError(f"{name} needs a value: --set {unset[0]}=…")
        selectors = (chosen.ids, chosen.scores, chosen.took_ms, chosen.empty)
        self._ids, self._scores, self._took, self._empty = (self._steps(selector) for selector in selectors)

    def _steps(self, selector: str) -> list[Step]:
        return parse(PLACE.sub(lambda place: written(place[1], self._values), selector)) if selector else []

    @cached_property
    def _client(self) -> httpx.Client:
        return httpx.Client(timeout=QUESTION_S, trust_env=False)  # straight there, as the load goes

    def prepare(
        self, query: Query, filter_: Filter | None, *, effort: int | None, exact: bool = False, k: int = 0
    ) -> Prepared:
        ask = self._exact if exact else self._search
        if ask is None:
            raise WorkloadError(f"{self.name} has no exact mode: its template has no [exact]")
        values: dict[str, Any] = {**ask.absent, **self._values, "k": k or self.plan.k}
        vector = None if query.vector is None else base64.b64encode(np.asarray(query.vector, "<f4").tobytes()).decode()
        quoted = None if query.text is None else msgspec.json.encode(query.text).decode()
        given: dict[str, Any] = {
            "text": query.text,
            "text_quoted": quoted,
            "vector": query.vector,
            "vector_base64": vector,
            "id": query.id,
        }
        given |= {"filter": filter_, "effort": effort}
        values |= {name: value for name, value in given.items() if value is not None}
        return self._request(ask, values)

    def _request(self, ask: Ask | About, values: dict[str, Any]) -> Prepared:
        body = ABSENT if ask.body is None else fill(ask.body, values)
        headers = filled_headers(ask.headers, values)
        if body is not ABSENT and not any(name.lower() == "content-type" for name, _ in headers):
            headers = (*headers, JSON)
        raw = b"" if body is ABSENT else msgspec.json.encode(body)
        return Prepared(ask.method, filled_path(ask.path, values), headers, raw)

    def read(self, body: bytes) -> SampledAnswer:
        try:
            answer = msgspec.json.decode(body)
        except msgspec.MsgspecError as error:
            raise TargetError(f"{self.url} answers what is not JSON: {error}") from error
        if not there(answer, self._ids) and self._empty and there(answer, self._empty):
            return SampledAnswer([])
        if not there(answer, self._ids):
            said = body[:300].decode("utf-8", "replace")
            raise TargetError(f"the answer of {self.url} has no ids at {self._search.ids!r}; it begins with {said}")
        ids = [str(found) for found in select(answer, self._ids)]
        scores = select(answer, self._scores) if self._scores else []
        if len(scores) != len(ids) or not all(isinstance(score, int | float) for score in scores):
            scores = [0.0] * len(ids)
        took = select(answer, self._took) if self._took else []
        return SampledAnswer(
            [SampledHit(id_, score) for id_, score in zip(ids, scores, strict=True)],
            took_ms=float(took[0]) if took and isinstance(took[0], int | float) else None,
        )

    def ask(self, request: Prepared, what: str) -> bytes:
        try:
            answer = self._client.request(
                request.method, self.url.rstrip("/") + request.path, headers=request.headers, content=request.body
            )
        except httpx.HTTPError as error:
            raise TargetError(f"no answer from {self.url}: {error!r}. Is {self.template.engine} running?") from error
        if answer.status_code != 200:
            raise TargetError(f"{self.url} {what} with {answer.status_code}: {answer.text[:500]}")
        return answer.content

    def alive(self) -> None:
        try:
            self._client.get(self.url)
        except httpx.HTTPError as error:
            raise TargetError(f"no answer from {self.url}: {error!r}") from error

    def resolved(self) -> dict[str, str]:
        return {name: str(self._told(about)) for name, about in self.template.resolve.items()}

    def served(self) -> ServiceFacts:
        count = self._told(self.template.count)
        return ServiceFacts(
            url=self.url,
            index=self.plan.index,
            count=count if isinstance(count, int) else None,
            engine=self.template.engine,
            version=self._told(self.template.version),
            settings=self._told(self.template.settings),
            effort_name=self.able.effort,
        )

    def _told(self, about: About | None) -> Any:
        """What the engine tells there; None when the template does not ask, or it tells nothing."""
        if about is None:
            return None
        about = msgspec.structs.replace(about, body=body_of(about.body, self.name))
        try:
            answer = msgspec.json.decode(self.ask(self._request(about, self._values), f"answers {about.path}"))
        except msgspec.MsgspecError as error:
            raise TargetError(f"{self.url} answers {about.path} with what is not JSON: {error}") from error
        found = select(answer, self._steps(about.select)) if about.select else [answer]
        return found[0] if len(found) == 1 else found or None

    def close(self) -> None:
        if "_client" in self.__dict__:  # it is made by the first question
            self._client.close()
