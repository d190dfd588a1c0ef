"""What a run cost, as it is kept in embed.json: joules and dollars a document are computed from it
later.

Seconds are wall-clock, cpu_seconds user and system time of the process over the same span,
peak_rss_bytes its highest resident memory. A run that resumes another counts its own work only:
divide by `embedded`, not by `documents`."""

import platform
import time
from dataclasses import dataclass, field

from embed.vectors.provenance import now_utc, peak_rss_bytes


@dataclass(slots=True)
class EmbedRecord:
    """Counts of one run. rows = embedded + reused.

    Attributes:
        documents: Read.
        skipped: Records refused under --on-error skip.
        reused: Rows whose text had a vector already, from an earlier run or from earlier in this one.
        tokens: Of the embedded texts, as the model saw them.
        cut: Embedded texts that reached the model's length, so that their rest, if any, was not read.
        changed: Whether embed.json was replaced.
        known: Vectors of this model that were there at the start.
        reached: Source and byte that the rows were read up to.
        usd_per_million_tokens: Given by the user, of a model elsewhere.
    """

    threads: int | None = None
    backend: str = ""
    documents: int = 0
    rows: int = 0
    embedded: int = 0
    reused: int = 0
    skipped: int = 0
    tokens: int = 0
    cut: int = 0
    embedding_seconds: float = 0.0
    changed: bool = True
    known: int = 0
    reached: tuple[int, int] = (0, 0)
    usd_per_million_tokens: float | None = None
    started_at: str = field(default_factory=lambda: now_utc())
    _wall: float = field(default_factory=time.perf_counter)
    _cpu: float = field(default_factory=time.process_time)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._wall

    @property
    def cost_usd(self) -> float | None:
        """Of the tokens, at the price given."""
        return None if self.usd_per_million_tokens is None else self.tokens * self.usd_per_million_tokens / 1e6

    def as_dict(self) -> dict[str, object]:
        price = {
            "usd_per_million_tokens": self.usd_per_million_tokens,
            "cost_usd": self.cost_usd,
            "evidence": "given by the user",
        }
        return {
            "started_at": self.started_at,
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(time.process_time() - self._cpu, 3),
            "embedding_seconds": round(self.embedding_seconds, 3),
            "documents": self.documents,
            "rows": self.rows,
            "embedded": self.embedded,
            "reused": self.reused,
            "skipped": self.skipped,
            "tokens": self.tokens,
            "cut": self.cut,
            "peak_rss_bytes": peak_rss_bytes(),
            "threads": self.threads,
            "backend": self.backend,
            "machine": platform.machine(),
        } | ({} if self.cost_usd is None else {"encoder_price": price})
