"""What must be known of all rows before any shard is built: words of the whole, and which fields there are.

One pass over the payloads. A survey of a part of the rows can be kept beside it and added to others, so that a job's
workers need not read all payloads again; only types of fields that nobody declared are inferred from all rows at once.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec

from index.disk.sealed import read_sealed, write_sealed
from index.disk.vectors_folder import Source
from index.progress import Progress, say
from index.search.fields.columns import Field, Names
from index.search.fields.field_inference import Rows, infer_types
from index.search.lexical.text import analyser, text_of
from index.weights.whole import WholeWords


@dataclass
class Survey:
    """Of some rows.

    Args:
        fields: names that were looked for.
        language: of the words; None where none are counted.
    """

    fields: Sequence[str]
    language: str | None
    rows: int = 0
    words: int = 0
    held: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.names = Names(self.fields)
        self._analyse: Callable[[str], list[str]] = analyser(self.language or "none").analyze

    def take(self, payload: Sequence[bytes]) -> None:
        """Counts some more rows."""
        if self.names.unseen:
            self.names.take(msgspec.json.decode(raw, type=dict[str, msgspec.Raw]) for raw in payload)
        for raw in payload if self.language is not None else ():
            found = self._analyse(text_of(raw))
            self.words += len(found)
            self.held.update(set(found))
        self.rows += len(payload)

    def add(self, other: "Survey") -> None:
        """Counts the rows of another survey, with the same fields and language, too."""
        self.rows += other.rows
        self.words += other.words
        self.held.update(other.held)
        self.names.add(other.names)

    def check_fields(self) -> None:
        """Raises InputError for a field that no row has."""
        for name in sorted(self.names.unseen):
            raise self.names.missing(name)

    @property
    def whole(self) -> WholeWords | None:
        """The words of all rows; None where there are none."""
        return WholeWords(self.rows, self.words, self.held) if self.held else None

    def write(self, path: Path, **more: Any) -> None:
        """more: what else the file shall say."""
        write_sealed(
            path,
            {
                "fields": list(self.fields),
                "language": self.language,
                "rows": self.rows,
                "words": self.words,
                "held": dict(self.held),
                "unseen": sorted(self.names.unseen),
                "seen": list(self.names.seen),
                **more,
            },
        )

    @classmethod
    def read(cls, path: Path) -> tuple[Self, dict[str, Any]]:
        """A survey that was written, and all that its file says. Raises GenerationError where it is damaged."""
        found = read_sealed(path)
        survey = cls(found["fields"], found["language"], found["rows"], found["words"], Counter(found["held"]))
        survey.names = Names(found["unseen"], found["seen"])
        return survey, found


def survey(sources: Sequence[Source], fields: Sequence[Field], language: str | None, show: bool) -> Survey:
    """Of all rows of some sources."""
    found = Survey([each.name for each in fields], language)
    for _ in _batches(sources, found, show):
        pass
    return found


def survey_and_infer(
    sources: Sequence[Source], fields: list[Field], language: str | None, show: bool
) -> tuple[list[Field], Survey]:
    """The same, and the fields with types that fit all rows. Raises InputError for a field that no row has."""
    found = Survey([each.name for each in fields], language)
    batches = _batches(sources, found, show)
    typed, notes = infer_types(fields, batches)
    for _ in batches:  # what was not needed to infer types
        pass
    for note in notes:
        say(note, show=show)
    found.check_fields()
    return typed, found


def _batches(sources: Iterable[Source], found: Survey, show: bool) -> Iterator[Rows]:
    sources = list(sources)
    with Progress("survey", sum(source.count for source in sources), show=show) as progress:
        for batch in (batch for source in sources for batch in source.batches()):
            payload = batch.payload or [b"{}"] * len(batch.ids)
            first = found.rows
            found.take(payload)
            yield Rows(payload, batch.ids, range(first, found.rows))
            progress.add(len(payload))
