"""Page by page: all pages are the whole answer cut up, and a cursor holds for its query and generation alone."""

from __future__ import annotations

import asyncio
import binascii
import itertools
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from chunk_index import DIM, SEARCH, ask
from serving import serving

from index import Root, build_generation, open_generation
from service.query.admission import Deadline
from service.query.ranked.ranking import RankedHit, Ranking, Survivors
from service.wire import cursor, limits

pytest_plugins = ["chunk_index_fixtures"]


# Pages
@pytest.mark.parametrize(
    "query",
    [
        {"text": "chess"},
        {"text": "chess castling on", "mode": "lexical"},
        {"text": "chess", "mode": "hybrid"},
        {"text": "chess", "group_by": "doc_id"},
        {"text": "chess castling on", "mode": "hybrid", "group_by": "doc_id"},
        {"text": "chess", "mode": "hybrid", "filter": {"field": "even", "eq": True}, "params": {"rrf_k": 10}},
        {"id": "c100", "filter": {"field": "even", "eq": True}},
    ],
    ids=str,
)
def test_pages_are_the_whole_answer_cut_up(chunks_client: httpx.Client, query: dict[str, Any]) -> None:
    """To the very end. A hybrid search is fused deeper in pages, so there the whole is one long page."""
    query = {**query, "params": {**query.get("params", {}), "exact": True}}
    hybrid = query.get("mode") == "hybrid"
    whole = ask(chunks_client, k=1000, **query, **({"cursor": ""} if hybrid else {}))
    pages: list[Any] = []
    following: str | None = ""
    sizes = itertools.cycle([1, 7, 40, 2, 130, 70, 50])
    while following is not None:
        page = ask(chunks_client, k=next(sizes), cursor=following, **query)
        pages += page["hits"]
        following = page.get("next_cursor")
        assert not page["coverage"]["partial"]
    assert pages == whole["hits"]
    assert len({hit["id"] for hit in pages}) == len(pages) > 100
    if query.get("mode") != "lexical" and "group_by" not in query:
        assert len(pages) == whole["coverage"]["survivors"]


def rewritten(given: str, **changes: Any) -> str:
    """A cursor with other numbers in it: nothing in one is secret."""
    raw = binascii.a2b_base64(given.replace("-", "+").replace("_", "/"))
    held = msgspec.msgpack.decode(raw[: -cursor._CHECK_BYTES], type=cursor.Cursor)
    return cursor.encode(msgspec.structs.replace(held, **changes))


@pytest.mark.parametrize(
    ("query", "changes"),
    [
        ({"text": "chess", "mode": "hybrid"}, {"depth": 50}),
        ({"text": "chess", "mode": "hybrid", "group_by": "number"}, {"depth": 50}),
        ({"text": "chess"}, {"seen": limits.PAGED - 30}),
        ({"text": "chess castling on", "mode": "lexical"}, {"seen": limits.PAGED - 30}),
    ],
    ids=str,
)
def test_pages_that_end_before_the_hits_do_say_so(
    chunks_client: httpx.Client, query: dict[str, Any], changes: dict[str, int]
) -> None:
    """As if the index were larger than what may be paged through."""
    page = ask(chunks_client, k=10, cursor="", **query)
    seen = len(page["hits"])
    following: str | None = rewritten(page["next_cursor"], **changes)
    while following is not None:
        page = ask(chunks_client, k=10, cursor=following, **query)
        seen += len(page["hits"])
        following = page.get("next_cursor")
        assert page["coverage"]["partial"] == (following is None)
    assert seen < page["coverage"]["survivors"]


class MissingRanking(Ranking):
    """Finds the better rows only when it looks deeper, as a walk may."""

    def __init__(self, rows: int, misses: dict[int, int]) -> None:
        """misses: by row, how deep it takes to find it."""
        self._rows, self._misses, self.depth = rows, misses, 0
        order = SimpleNamespace(order=lambda row: row)
        view: Any = SimpleNamespace(reach=rows, rows=order, page_order=lambda row, _id: row)
        query: Any = SimpleNamespace(mode="dense", cursor="x", group_by=None, explain=False)
        self._view, self._query = view, query
        self._scored, self._cpu_s, self._lexical_s, self._sparse_s, self._unweighed = 0, 0.0, 0.0, 0.0, 0
        self._cut, self._compared_all = False, True

    async def _best(self, wanted: int) -> list[RankedHit]:
        found = [row for row in range(self._rows) if self._misses.get(row, 0) <= wanted]
        return [RankedHit(row, -float(row)) for row in found[:wanted]]


@pytest.mark.parametrize("late", [{}, {3: 12}, {3: 12, 5: 12, 7: 30}, dict.fromkeys(range(9), 25)])
def test_pages_go_on_when_a_deeper_search_finds_better_rows_late(late: dict[int, int]) -> None:
    async def pages() -> list[int]:
        seen: list[int] = []
        after: cursor.Cursor | None = None
        while True:
            page = await MissingRanking(40, late).hits(10, after)
            seen += [hit.row for hit in page.hits]
            if not page.more:
                return seen
            last = page.hits[-1]
            after = cursor.Cursor("docs-1", b"", len(seen), last.score, last.row, 0, 40, None)

    found = asyncio.run(pages())
    assert found == sorted(set(found))
    assert set(found) >= set(range(40)) - set(late)  # to the end, whatever came too late for its page


def ranking_of(hits: list[RankedHit], **query: Any) -> Any:
    """One whose rankings hold `hits` and nothing else; `asked` has the depths that were asked for."""

    class Ready(Ranking):
        asked: list[int]

        async def _rank(self, survivors: Any, depth: int) -> list[RankedHit]:
            self.asked.append(depth)
            return hits[:depth]

    made: Any = Ready.__new__(Ready)
    made.asked, made.depth = [], 0
    rows = SimpleNamespace(order=lambda row: row, value=lambda _field, row: row % 3)
    made._view = SimpleNamespace(
        reach=len(hits), rows=rows, page_mark=lambda row: (row, ""), page_order=lambda row, _id: row,
        field_type=lambda _name: "int",
    )  # fmt: skip
    made._query = SimpleNamespace(**{"group_by": None, "mode": "hybrid"} | query)
    made._survivors, made._deadline = Survivors(), Deadline(60_000, time.perf_counter())
    return made


def test_a_hybrid_search_for_more_groups_than_there_are_does_not_rank_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "PART_ROWS", 100)
    ranking = ranking_of([RankedHit(row, -float(row)) for row in range(1000)], group_by="number")
    assert [hit.row for hit in asyncio.run(ranking._grouped(11))] == [0, 1, 2]
    assert ranking.asked == [22, 44, 88, 100]


def test_a_page_of_a_hybrid_search_goes_on_behind_its_last_hit_whatever_the_scores_are_by_now() -> None:
    """A better hit that was deleted makes all scores larger."""
    ranking = ranking_of([])
    ranking.depth = 50
    now = [RankedHit(5, 0.9), RankedHit(7, 0.8), RankedHit(9, 0.7)]
    after = cursor.Cursor("docs-1", b"", 10, 0.5, 5, 50, 100)
    assert [hit.row for hit in ranking._behind(now, after)] == [7, 9]
    gone = cursor.Cursor("docs-1", b"", 10, 0.75, 6, 50, 100)
    assert [hit.row for hit in ranking._behind(now, gone)] == [9]


def test_a_ranking_of_no_weight_does_not_cut_the_answer(chunks_client: httpx.Client) -> None:
    page = ask(chunks_client, text="word17", mode="hybrid", cursor="", params={"weights": {"dense": 0}})
    assert len(page["hits"]) == 1
    assert "next_cursor" not in page
    assert not page["coverage"]["partial"]


def test_the_last_page_names_no_other(chunks_client: httpx.Client) -> None:
    few = {"field": "number", "eq": 5}
    page = ask(chunks_client, text="x", k=6, cursor="", filter=few)
    assert len(page["hits"]) == 6
    rest = ask(chunks_client, text="x", k=6, cursor=page["next_cursor"], filter=few)
    assert 0 < len(rest["hits"]) <= 6
    assert "next_cursor" not in rest
    assert "next_cursor" not in ask(chunks_client, text="x", k=6, filter=few), "no page was asked for"


def test_a_cursor_holds_for_its_query_alone(chunks_client: httpx.Client) -> None:
    cursor = ask(chunks_client, text="x", k=3, cursor="")["next_cursor"]
    assert ask(chunks_client, text="x", k=5, fields=["title"], cursor=cursor)["hits"]
    for other in (
        {"text": "y"},
        {"text": "x", "mode": "hybrid"},
        {"text": "x", "filter": {"field": "even", "eq": True}},
        {"text": "x", "group_by": "number"},
        {"text": "x", "params": {"effort": 7}},
    ):
        problem = chunks_client.post(SEARCH, json={**other, "cursor": cursor}).json()
        assert (problem["code"], problem["pointer"]) == ("invalid-value", "/cursor")
        assert "another query" in problem["detail"]


def test_a_cursor_that_was_changed_is_refused(chunks_client: httpx.Client) -> None:
    cursor = ask(chunks_client, text="x", k=3, cursor="")["next_cursor"]
    for place in range(0, len(cursor), 7):
        changed = cursor[:place] + ("B" if cursor[place] == "A" else "A") + cursor[place + 1 :]
        problem = chunks_client.post(SEARCH, json={"text": "x", "cursor": changed}).json()
        assert (problem["code"], problem["pointer"]) == ("invalid-value", "/cursor"), changed


def test_a_page_of_a_generation_that_is_gone_is_410(chunks_folder: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(chunks_folder, tmp_path / "root"))
    with serving(own, tmp_path, "wordless") as chunks_server, chunks_server.client() as chunks_client:
        search = "/v1/indexes/wordless/search"
        query: dict[str, Any] = {"vector": [0.5] * DIM, "k": 5}
        first = chunks_client.post(search, json={**query, "cursor": ""}).json()
        path = Root(own).path("wordless")
        with open_generation(path) as generation:
            vectors = np.stack([generation.vector(row) for row in range(50)])
        new = build_generation(vectors, list(range(50)), root=own, name="wordless", switch=False)
        assert chunks_client.put("/v1/aliases/wordless", json={"generation": new.name}).status_code == 200
        gone = chunks_client.post(search, json={**query, "cursor": first["next_cursor"]})
        assert (gone.status_code, gone.json()["code"]) == (410, "generation-gone")
        assert gone.json()["current"] == new.name
        assert chunks_client.post("/v1/aliases/wordless/rollback").status_code == 200
        assert chunks_client.post(search, json={**query, "cursor": first["next_cursor"]}).status_code == 200
