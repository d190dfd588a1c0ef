"""An index in shards: how many there are, of what the figures are, and what S shards cost."""

from __future__ import annotations

from loadtest import units
from loadtest.analysis.reading import Reading
from loadtest.analysis.sharding import per_cpu_second, replicas_in_words
from loadtest.record.run_record import ServiceFacts
from loadtest.report.page import Section, Table

FALL = (
    "A search costs about as much in each of S shards as in an index in one piece, so queries per joule fall as 1/S: "
    "take the fewest and largest shards that memory allows. Replicas share the queries and cost none by themselves."
)


def shards_in_words(served: ServiceFacts | None) -> str:
    """ "S = 4, R = 2"; empty without a router."""
    if served is None or not served.replicas:
        return ""
    return f"S = {served.shards}, R = {replicas_in_words(served)}"


def shards_section(reading: Reading) -> Section | None:
    """None without a router."""
    record, trial, served = reading.record, reading.trial, reading.record.served
    if served is None or not served.replicas:
        return None
    servers, seen = served.servers, served.servers - record.unseen
    shards = "one shard" if served.shards == 1 else f"{served.shards} shards"
    lead = f"A router answers for an index in {shards} (S); R servers have each of them. {FALL}"
    rows = [
        ["Shards (S)", f"{served.shards}"],
        ["Servers of each (R)", replicas_in_words(served)],
        ["Servers that answer", f"{1 + servers}: the router and {servers} behind it"],
        ["Whose CPU time was seen", f"the router's and that of {seen} of {servers} behind it" if seen else "nobody's"],
    ]
    if trial is not None and trial.cores_used > 0:
        rows.append(["CPUs busy, of those", units.digits(trial.cores_used)])
    per_cpu = per_cpu_second(reading)
    rows.append(["Queries a CPU second, of all", units.digits(per_cpu) if per_cpu else "not known"])
    joule = reading.per_joule
    rows.append(["Joules", "none" if joule.evidence == "none" else f"{joule.evidence}, of all: {joule.domain}"])
    price = reading.price
    if price is None:
        rows.append(["Dollars", f"none: {reading.no_price}"])
    else:
        machines = f"{price.machines or 1} machine{'s' if price.machines > 1 else ''}"
        rows.append(["Dollars", f"of {machines}: {price.stated()}"])
    return Section("Shards and replicas", lead, [Table(["", "This run"], rows)])
