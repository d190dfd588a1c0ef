"""What one trial is to do: where to, with which queries, how fast, how long. Everything that decides the numbers is
here.

A plan travels as a file: `perwatt loadtest` writes it, the Locust processes read it. What is secret (an API key) is not
in it but in the environment of those processes (PERWATT_KEY).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

from loadtest.errors import WorkloadError

Filter = dict[str, Any] | str  # an object, or a text where the engine takes texts


class FilterShare(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Share (0 to 1) of the requests that carry this filter."""

    share: Annotated[float, msgspec.Meta(ge=0, le=1)]
    filter: Filter


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One trial. Times are seconds, rates queries a second."""

    url: str
    index: str
    queries: str  # path of the query file
    target: str = "perwatt"  # the engine by name, or "http"
    template: str | None = None  # path of the request template of target "http"
    variables: dict[str, str] = {}  # of the template
    behind: str | None = None  # http://host:port of a database that is asked through the URL, to watch its processes
    routed: bool = False  # the URL is a router's: the servers that it asks are part of what is watched
    wires: str | None = None  # path of whole requests instead (`workload.ReadyMade`), for servers that are not perwatt
    queries_field: str = "title"
    queries_limit: int = 10_000
    rate_qps: float  # of all processes together
    duration_s: float  # the measured window; 0: until stopped by hand
    warmup_s: float = 2.0
    processes: int = 1  # generators, each of which sends an equal share of the rate
    bind: str | None = None  # host:port where generators of other hosts come; None: they are processes of this one
    k: int = 10
    effort: int | None = None
    mode: str | None = None
    fields: list[str] | None = None
    vector_encoding: str = "base64"  # or "json"
    popularity: str = "uniform"  # or "zipf:<exponent>"
    filters: list[FilterShare] = []
    seed: int = 1
    max_in_flight: int = 1024  # of each process; a connection is 2 file descriptors
    timeout_s: float = 10.0
    max_lag_s: float = 0.1  # a send that we are later for than this is not made up but counted as missed
    slo_p99_ms: float = 100.0
    recall_target: float | None = None
    truth: str | None = None  # path of the exact answers of some of the queries
    samples_per_s: float = 50.0  # answers a process reads in full, for recall and the server's own clock
    role: str = "run"
    first: bool = False  # the generator asks to run before other programs, once its requests are made

    def save(self, path: Path) -> None:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2))

    @classmethod
    def load(cls, path: Path) -> Plan:
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError) as error:
            raise WorkloadError(f"the plan {path} cannot be read: {error}") from error
