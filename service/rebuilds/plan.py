"""What may be rebuilt, from what, with how much of the machine, and when: the file of `perwatt serve --rebuilds`.

    memory = "4 GiB"                        # of the process that rebuilds; default: no limit of its own
    threads = 1
    keep = 2                                # newest generations that stay on disk; those that are served stay anyway
    max_slowdown = 2.0                      # a generation that searches more slowly than so many times is not served

    [sources.catalogue]                     # a name that callers may give; paths and options are decided here
    index = "docs"
    inputs = ["/data/catalogue.jsonl"]      # what `perwatt embed` takes
    vectors = "/data/vectors/catalogue"     # its folder; a text that was embedded there is not embedded again
    embed = ["--text-field", "body"]        # further options of `perwatt embed`
    build = ["--filterable", "year:int"]    # … and of `perwatt build`

    [[triggers]]
    index = "docs"
    source = "changes"                      # default: the served generation and what was written since
    changes = 50000                         # when so many documents were written
    share = 0.05                            # … or such a share of the index
    at = "03:00"                            # … or every day at this time, UTC

Without a file, `changes` is the one source, and nothing starts by itself.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from index.disk.root import check_name
from index.errors import InputError
from service.errors import SettingsError

CHANGES = "changes"  # the source that every index has
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(Ki|Mi|Gi|Ti)B")
_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
_AT = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


class RebuildSource(Struct, forbid_unknown_fields=True, frozen=True):
    index: str
    inputs: Annotated[list[str], Meta(min_length=1)]
    vectors: str
    embed: list[str] = []
    build: list[str] = []


class Trigger(Struct, forbid_unknown_fields=True, frozen=True):
    index: str
    source: str = CHANGES
    changes: Annotated[int, Meta(ge=1)] | None = None
    share: Annotated[float, Meta(gt=0)] | None = None
    at: str | None = None

    @property
    def at_minute(self) -> int | None:
        """The time of day as minutes since midnight."""
        if self.at is None:
            return None
        return 60 * int(self.at[:2]) + int(self.at[3:])


class RebuildPlan(Struct, forbid_unknown_fields=True, frozen=True):
    memory: str | None = None
    threads: Annotated[int, Meta(ge=1)] = 1
    keep: Annotated[int, Meta(ge=0)] = 2
    max_slowdown: Annotated[float, Meta(ge=1)] = 2.0
    sources: dict[str, RebuildSource] = {}
    triggers: list[Trigger] = []

    @property
    def memory_bytes(self) -> int | None:
        if self.memory is None:
            return None
        size = _SIZE.fullmatch(self.memory)
        if size is None:
            raise ValueError(f"memory is {self.memory!r}; expected a size such as '4 GiB'")
        return int(float(size[1]) * _UNITS[size[2]])


def read_plan(path: Path | None) -> RebuildPlan:
    """Raises SettingsError, naming the file and what is wrong in it."""
    if path is None:
        return RebuildPlan()
    try:
        plan = msgspec.toml.decode(path.read_bytes(), type=RebuildPlan)
        _check(plan)
    except OSError as error:
        raise SettingsError(f"--rebuilds {path} cannot be read: {error.strerror}.") from error
    except (msgspec.MsgspecError, ValueError, InputError) as error:
        raise SettingsError(f"--rebuilds {path}: {error}.") from error
    return plan


def _check(plan: RebuildPlan) -> None:
    assert plan.memory_bytes is None or plan.memory_bytes > 0
    for name, source in plan.sources.items():
        if name == CHANGES:
            raise ValueError(f"a source may not be called {CHANGES!r}: that is what every index has")
        check_name(name)
        check_name(source.index)
    for trigger in plan.triggers:
        source_of(plan, trigger.index, trigger.source)
        if trigger.at is not None and not _AT.fullmatch(trigger.at):
            raise ValueError(f"a trigger is at {trigger.at!r}; expected a time of day such as '03:00'")
        if trigger.changes is None and trigger.share is None and trigger.at is None:
            raise ValueError(f"a trigger of index {trigger.index!r} never fires: it needs changes, share or at")


def source_of(plan: RebuildPlan, index: str, name: str) -> RebuildSource | None:
    """None for `changes`. Raises ValueError for a name that the plan does not have for this index."""
    if name == CHANGES:
        return None
    source = plan.sources.get(name)
    if source is None or source.index != index:
        there = [CHANGES, *(each for each, one in plan.sources.items() if one.index == index)]
        raise ValueError(f"index {index!r} has no source {name!r}: it has {', '.join(there)}")
    return source
