"""What each key has used: as an answer, and as metrics.

The keys together are the whole: what a query takes is counted once for its key and once for the service, and what the
service's processes do beside queries has a line of its own. A key that is not for all of the service sees its own line.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from service.access.caller import Caller, caller_of
from service.access.ledger import Used
from service.query.app_state import AppState, state_of
from service.wire.answer.usage import KeyUsage, UsageAnswer
from service.wire.encoding import encode

SERVICE = "(service)"  # what its processes do beside queries: starting, HTTP, JSON, following writes


async def usage(request: Request) -> Response:
    state, caller = state_of(request), caller_of(request.scope)
    spending = state.spending
    spending.note()
    used = _used(state, caller)
    of_keys_s = sum(of_key.cpu_s for key, of_key in used.items() if key != SERVICE) if caller.may_see_all else 0.0
    keys = [_line(state, key, of_key, of_keys_s if key != SERVICE else 0.0) for key, of_key in used.items()]
    answer = UsageAnswer(
        datetime.datetime.fromtimestamp(spending.since, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        spending.evidence,
        spending.why(),
        sorted(keys, key=lambda line: -line.cpu_s),
        spending.cpu_hour_usd,
        _line(state, "(all)", _whole(state)) if caller.may_see_all else None,
    )
    return Response(encode(answer), headers={"cache-control": "no-store"}, media_type="application/json")


class UsageCollector(Collector):
    """The numbers of each key that the caller may see, at the moment of the scrape."""

    def __init__(self, state: AppState, caller: Caller) -> None:
        self._state, self._caller = state, caller

    def collect(self) -> Iterable[Metric]:
        used = _used(self._state, self._caller)
        for field, name, text in (
            ("queries", "perwatt_key_queries", "Queries answered, by key."),
            ("tokens", "perwatt_key_tokens", "Tokens of texts, by key."),
            ("vectors_scored", "perwatt_key_vectors_scored", "Distances computed, by key."),
            ("cpu_s", "perwatt_key_cpu_seconds", "Processor time of queries, by key."),
        ):
            family = CounterMetricFamily(name, text, labels=["key"])
            for key, numbers in used.items():
                family.add_metric([key], getattr(numbers, field))
            yield family
        price = GaugeMetricFamily("perwatt_cpu_second_dollars", "Of one CPU, as the operator gave it; else absent.")
        dollars = self._state.spending.dollars(1.0)
        if dollars is not None:
            price.add_metric([], dollars)
        yield price
        joules = GaugeMetricFamily(
            "perwatt_cpu_second_joules", "Of one CPU, since the service started; else absent.", labels=["energy"]
        )
        second = self._state.spending.joules(1.0)
        if second is not None:
            joules.add_metric([self._state.spending.evidence], second.joules)
        yield joules


def _used(state: AppState, caller: Caller) -> dict[str, Used]:
    used = state.ledger.used()
    if not caller.may_see_all:
        return {key: numbers for key, numbers in used.items() if key == caller.name}
    if state.spending.here:
        beside_s = state.spending.service_cpu_s() - sum(numbers.cpu_s for numbers in used.values())
        used[SERVICE] = Used(0, 0, 0, max(0.0, beside_s))
    return used


def _whole(state: AppState) -> Used:
    queries, tokens, vectors_scored, cpu_s = state.metrics.work()
    # Of a router the work is done on other machines, by processes that are not its own.
    whole_s = max(cpu_s, state.spending.service_cpu_s()) if state.spending.here else cpu_s
    return Used(int(queries), int(tokens), int(vectors_scored), whole_s)


def _line(state: AppState, key: str, used: Used, of_keys_s: float = 0.0) -> KeyUsage:
    """of_keys_s: processor time of all keys' queries, of which this line has a share; 0: it is not told."""
    spending = state.spending
    joules, dollars = spending.joules(used.cpu_s), spending.dollars(used.cpu_s)
    more: dict[str, Any] = {}
    if of_keys_s:
        more["share"] = round(used.cpu_s / of_keys_s, 6)
    if joules is not None:
        more["joules"] = round(joules.joules, 6)
        if joules.low != joules.high:
            more |= {"joules_low": round(joules.low, 6), "joules_high": round(joules.high, 6)}
    if dollars is not None:
        more["dollars"] = round(dollars, 9)
    return KeyUsage(key, used.queries, used.tokens, used.vectors_scored, round(used.cpu_s, 6), **more)
