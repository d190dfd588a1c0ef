"""Leases: a generation that was replaced is closed when its last request is done, and neither before nor never."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from changing import DIM, Documents
from patience import patient

from index import Generation, Root, open_generation
from index.changes.log import Log
from index.search.filtering import parse
from service.query import served_view as module
from service.query.admission import Deadline
from service.query.following import AT_ONCE
from service.query.served_generation import ServedGeneration
from service.wire.cursor import Cursor, encode
from service.wire.problems import Problem
from service.wire.request.search import SearchRequest

pytest_plugins = ["serving_fixtures"]


@pytest.fixture
def loaded(root: Path) -> Any:
    with ThreadPoolExecutor(1) as threads:
        opened = ServedGeneration(open_generation(Root(root).path("bare")), threads)
        yield opened
        opened.retire()


@pytest.mark.parametrize("took_s", [0.0, 0.05])
def test_an_exact_search_that_takes_long_is_timed_twice(
    root: Path, monkeypatch: pytest.MonkeyPatch, took_s: float
) -> None:
    """An exact one of rows that lie on the disk reads all of them."""
    search_rows, asked = Generation.search_rows, Counter[bool]()

    def counted(self: Generation, *words: Any, exact: bool = False, **more: Any) -> Any:
        asked[exact] += 1
        time.sleep(took_s if exact else 0)
        return search_rows(self, *words, exact=exact, **more)

    monkeypatch.setattr(Generation, "search_rows", counted)
    with ThreadPoolExecutor(1) as threads:
        ServedGeneration(open_generation(Root(root).path("bare")), threads).retire()
    assert asked[True] == (2 if took_s else asked[False])
    assert asked[False] > 2


QUERY = np.ones((1, 8), np.float32)


def patience() -> Deadline:
    return Deadline(60_000, time.perf_counter())


def search(loaded: ServedGeneration) -> Any:
    return loaded.view().search(QUERY, 5, None, False, patience())


def test_a_retired_generation_closes_with_its_last_lease(loaded: ServedGeneration) -> None:
    with loaded:
        with loaded:
            loaded.retire()
        assert not loaded.closed
        assert loaded.view().payload(0, None)
    assert loaded.closed


def test_a_generation_nobody_holds_closes_when_it_is_retired(loaded: ServedGeneration) -> None:
    with loaded:
        pass
    assert not loaded.closed
    loaded.retire()
    assert loaded.closed


def test_a_search_that_outlives_its_request_keeps_the_generation_open(
    loaded: ServedGeneration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INLINE_S", 0.0)  # every search goes to the search thread
    begun, go_on, now = threading.Event(), threading.Event(), module.ServedView._search

    def held(self: Any, *words: Any) -> Any:
        begun.set()
        assert go_on.wait(patient(60))
        return now(self, *words)

    monkeypatch.setattr(module.ServedView, "_search", held)

    async def work() -> None:
        with loaded:
            asked = asyncio.create_task(search(loaded))
            await asyncio.to_thread(begun.wait)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        loaded.retire()
        closed_at_once = loaded.closed
        go_on.set()
        while not loaded.closed:
            await asyncio.sleep(0.001)
        assert not closed_at_once

    asyncio.run(work())


@pytest.mark.parametrize(("values", "there"), [(10, False), (3000, True)])
def test_a_filter_of_thousands_of_values_holds_up_nobody(
    loaded: ServedGeneration, monkeypatch: pytest.MonkeyPatch, values: int, there: bool
) -> None:
    view, threaded = loaded.view(), []

    async def in_thread(deadline: Deadline, work: Any, *arguments: Any) -> Any:
        threaded.append(work)
        return work(*arguments)

    monkeypatch.setattr(view, "_in_thread", in_thread)
    asked = parse({"or": [{"field": "x", "in": list(range(min(values, 1000)))}] * 3})
    with pytest.raises(Problem, match="x"):
        asyncio.run(view.survivors(asked, patience()))
    assert bool(threaded) == there


def test_a_page_that_follows_one_of_a_worker_who_knows_more_waits_for_what_that_knew(tmp_path: Path) -> None:
    """It applies so many changes at a time; a cursor that says that there are more rows is none that does not fit."""
    path = Documents(30).build(tmp_path)
    with ThreadPoolExecutor(1) as threads, Log(tmp_path / "docs", DIM, None) as log:
        loaded = ServedGeneration(open_generation(path), threads)
        log.append([Documents(0).put(number, number) for number in range(100, 100 + 3 * AT_ONCE)])
        rows = 30 + 3 * AT_ONCE

        async def page_rows(said: int) -> int:
            after = encode(Cursor(loaded.id, b"", 1, 0.5, 0, 0, said))
            asked = SearchRequest(text="a page", cursor=after)
            with loaded:
                return (await loaded.view_for(asked, patience())).page_rows

        assert asyncio.run(page_rows(rows)) == rows
        assert asyncio.run(page_rows(rows + 1)) == rows  # which it refuses: there is nothing to wait for
        loaded.retire()


def test_inline_or_in_the_thread_the_answer_is_the_same(
    loaded: ServedGeneration, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline = asyncio.run(search(loaded))
    monkeypatch.setattr(module, "INLINE_S", 0.0)
    threaded = asyncio.run(search(loaded))
    assert inline.found.rows.tolist() == threaded.found.rows.tolist()
    assert inline.found.scores.tolist() == threaded.found.scores.tolist()


def test_a_deadline_cuts_a_long_search_short(loaded: ServedGeneration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INLINE_S", 0.0)

    async def work() -> None:
        deadline = Deadline(1, time.perf_counter())
        with pytest.raises(Problem) as caught:
            await loaded.view().search(np.repeat(QUERY, 50_000, axis=0), 10, None, True, deadline)
        assert caught.value.code == "deadline-exceeded"

    asyncio.run(work())


def test_one_that_was_replaced_leaves_memory_at_once_and_not_at_the_next_collection(tmp_path: Path) -> None:
    """A service collects garbage rarely, and what was written since a generation may be large."""
    documents = Documents(30)
    path = documents.build(tmp_path)
    with Log(tmp_path / "docs", DIM, None) as log:
        log.append([documents.put(number, number) for number in range(20, 60)])
    with ThreadPoolExecutor(1) as threads:
        gc.collect()
        gc.disable()
        try:
            loaded = ServedGeneration(open_generation(path), threads)
            assert loaded.view().count == 60
            asyncio.run(loaded.view().search(np.ones((1, DIM), np.float32), 5, None, False, patience()))
            delta = weakref.ref(loaded.follower.delta)
            loaded.retire()
            del loaded
            assert delta() is None
        finally:
            gc.enable()
