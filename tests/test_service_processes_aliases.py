"""When an alias that changed on disk is followed, and how often one that cannot be."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from bare_index import build

from service.processes.aliases import AGAIN_S, Aliases
from service.query.index_registry import IndexRegistry

pytest_plugins = ["registry_fixtures"]


def test_what_was_refused_is_tried_again_when_the_alias_changes_or_after_a_while(
    registry: IndexRegistry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = [0.0]
    aliases = Aliases(registry, lambda: now_s[0])
    first = registry.loaded("bare").id

    def followed() -> int:
        caplog.clear()
        asyncio.run(aliases.look())
        return sum("following it" in record.getMessage() for record in caplog.records)

    with caplog.at_level("INFO", logger="perwatt.service"):
        assert followed() == 0
        second = build(tmp_path, 2)
        largest = max(second.iterdir(), key=lambda path: path.stat().st_size)
        content = largest.read_bytes()
        largest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert [followed(), followed()] == [1, 0]
        assert (registry.loaded("bare").id, list(registry.failures)) == (first, ["bare"])
        now_s[0] = AGAIN_S
        assert [followed(), followed()] == [1, 0]
        third = build(tmp_path, 3)
        assert [followed(), followed()] == [1, 0]
        assert (registry.loaded("bare").id, registry.failures) == (third.name, {})


def test_an_alias_that_cannot_be_read_is_said_and_followed_when_it_can(registry: IndexRegistry, tmp_path: Path) -> None:
    aliases, alias = Aliases(registry), tmp_path / "bare" / "current"
    good = alias.read_bytes()
    alias.write_text("{}")
    asyncio.run(aliases.look())
    assert "bare" in registry.failures
    alias.write_bytes(good)
    asyncio.run(aliases.look())
    assert registry.failures == {}
