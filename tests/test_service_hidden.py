"""A key that imposes a filter, tried by somebody who wants what it hides: no answer of any route has a trace of it.

Every second document is hidden. Its id, its text and the values of its fields hold a word that no other has, so a leak
of any kind is found by looking for that word in the bytes of whatever was answered.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from patience import patient
from serving import Server, serving

from index import build_generation
from service.access import keys
from service.client import Client, ProblemError
from service.wire import cursor
from service.wire.answer.indexes import FilterableField

COUNT = 240
WORD = "zanzibar"
TOPICS = ("coffee beans", "chess openings", "volcanic ash")
VISIBLE = {"field": "tier", "eq": "public"}


def documents() -> list[dict[str, Any]]:
    rows = []
    for row in range(COUNT):
        hidden = row % 2 == 1
        rows.append(
            {
                "title": f"{WORD} {row}" if hidden else f"Note {row}",
                "text": f"On {TOPICS[row % 3]}, {WORD if hidden else 'open'} {row}",
                "tier": f"{WORD}-tier" if hidden else "public",
                "author": f"author{row // 4}",  # two of each four are hidden, the first of a group among them
                "owner": f"{WORD}-{row}" if hidden else f"o{row}",
                "year": 9000 + row if hidden else 2000 + row % 20,
            }
        )
    return rows


def name(row: int) -> str:
    return f"{row:03}-{WORD}" if row % 2 else f"{row:03}-ünï/côde"


@pytest.fixture(scope="module")
def vectors(served_encoder: Any) -> Any:
    return served_encoder.encode([f"{row['title']} {row['text']}" for row in documents()], kind="document")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    made = {"file": str(tmp_path_factory.mktemp("keys") / "keys.json")}
    wanted: list[tuple[str, keys.Access, Any]] = [
        ("half", "search", VISIBLE),
        ("chief", "admin", VISIBLE),
        ("all", "admin", None),
    ]
    with keys.changing(Path(made["file"])) as held:
        for slot, (who, scope, filter_) in enumerate(wanted):
            made[who] = keys.add(held, keys.Key(who, slot, scope, [], filter=filter_), None)
    return made


@pytest.fixture(scope="module", params=["graph", "flat"])
def server(
    request: Any, vectors: Any, served_encoder: Any, tokens: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("root")
    build_generation(
        vectors,
        [name(row) for row in range(COUNT)],
        root=root,
        name="docs",
        payload=documents(),
        family=request.param,
        canaries=[],
        model=served_encoder.fingerprint.as_dict(),
        filterable=["tier:keyword", "author:keyword", "owner:keyword", "year:int"],
    )
    build_generation(
        np.eye(8, dtype=np.float32),
        [f"{WORD}{row}" for row in range(8)],
        root=root,
        name="other",
        payload=[{"x": WORD}] * 8,
    )
    with serving(root, tmp_path_factory.mktemp("server"), "--keys", tokens["file"]) as running:
        yield running


@pytest.fixture
def half(server: Server, tokens: dict[str, str]) -> Iterator[Client]:
    seen: list[httpx.Response] = []

    def note(response: httpx.Response) -> None:
        response.read()
        seen.append(response)

    with Client(server.url, key=tokens["half"], event_hooks={"response": [note]}) as client:
        yield client
    assert seen
    for response in seen:
        told = (response.text + str(response.headers)).lower()
        asked = response.request.content.decode().lower() + str(response.request.url).lower()
        assert WORD not in told or WORD in asked, (asked, told)  # an error may repeat what it was given


QUERIES: list[dict[str, Any]] = [
    {"text": f"{WORD} coffee"},
    {"text": f"{WORD} coffee", "mode": "lexical"},
    {"text": f"{WORD} chess open", "mode": "hybrid"},
    {"id": name(0)},
    {"text": "ash", "group_by": "author"},
    {"text": "open ash", "mode": "lexical", "group_by": "author"},
    {"text": "open ash", "mode": "hybrid", "group_by": "author"},
    {"text": "ash", "group_by": "owner"},
]
ESCAPES: list[Any] = [
    None,
    {"field": "tier", "exists": True},
    {"not": VISIBLE},
    {"or": [VISIBLE, {"not": VISIBLE}]},
    {"not": {"and": [VISIBLE, {"not": VISIBLE}]}},
    {"field": "tier", "in": ["public", f"{WORD}-tier"]},
    {"field": "year", "gte": 9000},
    {"field": "owner", "eq": f"{WORD}-1"},
]


@pytest.mark.parametrize("params", [None, {"exact": True}, {"effort": 512}], ids=str)
@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_no_search_and_no_filter_reaches_a_hidden_document(half: Client, query: dict[str, Any], params: Any) -> None:
    for asked in ESCAPES:
        answer = half.search("docs", k=1000, filter=asked, params=params, **query)
        assert all(WORD not in f"{hit.id} {hit.payload}" for hit in answer.hits)
        assert all(hit.payload["tier"] == "public" for hit in answer.hits)
        assert answer.coverage.survivors <= COUNT // 2
        assert len(answer.hits) <= answer.coverage.survivors
        batch = half.search_batch("docs", [{"k": 1000, "filter": asked, "params": params, **query}] * 2)
        for result in batch.results:
            assert [hit.id for hit in result.hits] == [hit.id for hit in answer.hits]
    if "mode" not in query and "group_by" not in query:
        everything = half.search("docs", k=1000, **query)
        assert len(everything.hits) == COUNT // 2 - ("id" in query)


def test_what_a_router_asks_tells_no_more(server: Server, tokens: dict[str, str]) -> None:
    """Of vectors drawn from all documents half would be of hidden ones; and how many there are is hidden too."""
    answers = []
    for who in ("half", "all"):
        headers = {"authorization": f"Bearer {tokens[who]}", "content-type": "application/json"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=patient(30)) as client:
            sample = client.post("/v1/indexes/docs/part", json={"sample": 200})
            count = client.post("/v1/indexes/docs/part", json={"documents": [name(1)]}).json()
            answers.append((sample.status_code, count["count"], len(count.get("documents", []))))
    assert answers == [(403, COUNT // 2, 0), (200, COUNT, 1)]


def test_a_group_whose_best_is_hidden_shows_its_best_visible_one(half: Client) -> None:
    answer = half.search("docs", text=f"{WORD}", k=1000, group_by="author")
    assert len(answer.hits) == COUNT // 4


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_pages_go_by_what_is_hidden(half: Client, query: dict[str, Any]) -> None:
    ids: list[str] = []
    following: str | None = ""
    while following is not None:
        page = half.search("docs", k=17, cursor=following, **query)
        ids += [hit.id for hit in page.hits]
        following = page.next_cursor
    assert len(ids) == len(set(ids)) <= COUNT // 2
    assert not [id_ for id_ in ids if WORD in id_]


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_the_cursor_of_somebody_who_sees_all_opens_nothing(
    half: Client, server: Server, tokens: dict[str, str], query: dict[str, Any]
) -> None:
    with Client(server.url, key=tokens["all"]) as other:
        theirs = other.search("docs", k=3, cursor="", **query).next_cursor
    assert theirs is not None
    with pytest.raises(ProblemError, match="belongs to another query"):
        half.search("docs", k=3, cursor=theirs, **query)
    # Forged: their place (the row of a hidden document, or any other) in a cursor that holds for us.
    ours = half.search("docs", k=3, cursor="", **query).next_cursor
    assert ours is not None
    held = cursor._DECODER.decode(raw(ours))
    for row in range(0, COUNT, 7):
        forged = cursor.encode(
            cursor.Cursor(held.generation, held.query, held.seen, held.score + 1, row, held.depth, held.rows)
        )
        assert len(half.search("docs", k=5, cursor=forged, **query).hits) <= 5


def raw(given: str) -> bytes:
    return binascii.a2b_base64(given.replace("-", "+").replace("_", "/"))[: -cursor._CHECK_BYTES]


@pytest.mark.parametrize("row", [1, 77, COUNT - 1])
def test_a_hidden_document_is_as_one_that_is_not_there(half: Client, row: int) -> None:
    hidden, nobody = name(row), name(row).replace(WORD, "nowhere")
    for ask in (
        lambda id_: half.document("docs", id_),
        lambda id_: half.document("docs", id_, fields=["title"]),
        lambda id_: half.search("docs", id=id_),
        lambda id_: half.search("docs", id=id_, group_by="author", params={"exact": True}),
        lambda id_: half.search("docs", id=id_, cursor=""),
    ):
        problems = []
        for id_ in (hidden, nobody):
            with pytest.raises(ProblemError) as caught:
                ask(id_)
            problems.append({**caught.value.members, "instance": "", "detail": caught.value.detail.replace(id_, "")})
        assert problems[0] == problems[1]
        assert problems[0]["code"] == "document-not-found"
    batch = half.search_batch("docs", [{"id": hidden}, {"id": nobody}, {"id": name(0)}])
    assert [result.error and result.error["code"] for result in batch.results] == ["document-not-found"] * 2 + [None]
    assert half.document("docs", name(2)).payload["title"] == "Note 2"


def test_a_description_tells_of_the_visible_ones_alone(half: Client) -> None:
    [listed] = [index for index in half.indexes() if index.alias == "docs"]
    assert listed.count == half.index("docs").count == COUNT // 2
    assert listed.filterable["tier"] == FilterableField("keyword")
    assert listed.filterable["year"] == FilterableField("int")


def test_an_index_without_the_field_of_the_filter_answers_nothing(half: Client) -> None:
    for ask in (
        lambda: half.search("other", vector=[1.0] * 8),
        lambda: half.search("other", id=f"{WORD}1"),
        lambda: half.document("other", f"{WORD}1"),
    ):
        with pytest.raises(ProblemError, match="filter-field-not-indexed"):
            ask()
    assert half.index("other").count == 0


def test_a_recall_is_measured_over_the_visible_ones(server: Server, tokens: dict[str, str]) -> None:
    with Client(server.url, key=tokens["chief"]) as chief:
        measured = chief.recall("docs", queries=20, k=10, filter={"or": [VISIBLE, {"not": VISIBLE}]})
        assert measured.survivors == COUNT // 2
        with pytest.raises(ProblemError, match="No document survives"):
            chief.recall("docs", queries=20, filter={"not": VISIBLE})


def test_a_switch_describes_as_much_as_may_be_seen(server: Server, tokens: dict[str, str]) -> None:
    with Client(server.url, key=tokens["chief"]) as chief:
        switched = chief.switch("docs", chief.index("docs").generation)
        assert switched == chief.index("docs")
        assert switched.count == COUNT // 2
        assert switched.filterable["owner"] == FilterableField("keyword")
