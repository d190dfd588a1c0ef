"""Generations that are served before, after and while an alias moves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bare_index import build
from serving import serving
from worker_processes import eventually

from index import Root
from service.query import index_registry
from service.query.index_registry import IndexRegistry

pytest_plugins = ["registry_fixtures"]


def test_a_former_generation_is_not_released_while_it_is_switched_to(
    registry: IndexRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte of it is checked before its alias is written, which takes longer than nobody's naming it."""
    first, second = registry.loaded("bare").id, build(tmp_path, 2).name
    registry.loaded(first)  # somebody names it: it stays open for a while
    asyncio.run(registry.switch("bare", second, None))
    assert registry.beside("bare") == [first]
    switch, released = registry.root.switch, []

    def slowly(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(index_registry, "FORMER_S", -1.0)
        registry.release()
        released.append(first not in registry.beside("bare"))
        return switch(*args, **kwargs)

    monkeypatch.setattr(registry.root, "switch", slowly)
    served = asyncio.run(registry.switch("bare", first, None))
    assert released == [False]
    query = np.ones((1, 8), np.float32)
    assert served.generation.search(query, 3)[0].shape == (1, 3)
    registry.release()
    assert registry.beside("bare") == []  # the other one is released as ever


@pytest.mark.parametrize("options", [[], ["--workers", "2"]])
def test_an_alias_that_moves_while_a_server_loads_is_followed(tmp_path: Path, options: list[str]) -> None:
    """Nobody can tell it: it hears no signal yet, and no other worker knows it."""
    root = tmp_path / "root"
    first, second = (build(root, seed).name for seed in (1, 2))
    Root(root).switch("bare", first)
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        "from service.query import index_registry\n"
        "load = index_registry.IndexRegistry.load_all\n"
        "def load_all(self):\n"
        "    load(self)\n"
        f"    self.root.switch('bare', '{second}')\n"
        "index_registry.IndexRegistry.load_all = load_all\n"
    )
    with serving(root, tmp_path, *options, env={"PYTHONPATH": str(hook)}) as server:

        def generation() -> str:
            with server.client() as client:
                return str(client.get("/v1/indexes").json()["indexes"][0]["generation"])

        eventually(lambda: {generation() for _ in range(4)} == {second})
