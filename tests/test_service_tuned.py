"""The default search of an index: what it changes of a request, what of it a rebuild keeps, and how it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from index import Root
from index.errors import GenerationError
from service.tuned.kept import FILE, read_default, write_default
from service.wire.default_search import DefaultSearch, settled
from service.wire.request.search import SearchRequest

FOUND: dict[str, Any] = {
    "mode": "hybrid",
    "generation": "docs-1",
    "params": {"effort": 40, "depth": 20, "weights": {"dense": 1.0, "lexical": 0.5}},
    "rerank": {"top": 20},
}


def default(**changes: Any) -> DefaultSearch:
    return msgspec.convert(FOUND | changes, DefaultSearch)


def asked(by: DefaultSearch, reranker: bool = True, **fields: Any) -> dict[str, Any]:
    """What of the request the default decides, as it is searched."""
    query = by.asked(msgspec.convert(fields, SearchRequest), reranker=reranker)
    assert query.mode in ("dense", "lexical", "hybrid")
    found = {"mode": query.mode, "params": query.params, "rerank": query.rerank}
    return {name: msgspec.to_builtins(value) for name, value in found.items() if value is not None}


def test_a_request_that_says_how_is_asked_as_it_stands() -> None:
    assert asked(default(), text="a", mode="dense") == {"mode": "dense"}
    assert asked(default(), text="a", mode="lexical") == {"mode": "lexical"}
    exact = asked(default(), text="a", params={"exact": True})
    assert (exact["mode"], exact["params"]["exact"], exact["params"]["depth"]) == ("dense", True, None)


def test_a_request_that_does_not_is_the_default_one_where_that_is_possible() -> None:
    by_default = asked(default(), text="a")
    assert by_default["mode"] == "hybrid"
    assert by_default["rerank"]["top"] == 20
    assert by_default["params"] == msgspec.to_builtins(default().params)
    assert "rerank" not in asked(default(), text="a", reranker=False)
    assert "rerank" not in asked(default(), text="a", cursor="")
    assert "rerank" not in asked(default(), text="a", k=21), "it would read fewer than are asked for"
    assert asked(default(), text="a", rerank={"top": 30})["rerank"]["top"] == 30
    for wordless in ({"vector": [1.0]}, {"id": "a"}, {"ids": ["a"]}, {"text": "a", "not_ids": ["b"]}):
        assert asked(default(), **wordless) == {"mode": "dense"}
        assert asked(default(mode="dense", rerank=None), **wordless)["params"]["effort"] == 40


def test_without_a_default_a_search_is_by_meaning() -> None:
    assert settled(SearchRequest(text="a")) == SearchRequest(text="a", mode="dense")
    assert settled(SearchRequest(text="a", mode="hybrid")).mode == "hybrid"


def test_an_effort_is_of_the_generation_that_it_was_measured_on() -> None:
    by = default()
    assert by.of("docs-1") is by
    later = by.of("docs-2").params
    assert later is not None
    assert (later.effort, later.depth) == (None, 20)
    assert default(params={"effort": 9}).of("docs-2").params is None


def test_it_is_kept_whole_or_not_at_all_and_damage_is_told(tmp_path: Path) -> None:
    root = Root(tmp_path)
    (tmp_path / "docs").mkdir()
    assert read_default(root, "docs") is None
    path = write_default(root, "docs", default())
    assert read_default(root, "docs") == default()
    path.write_bytes(path.read_bytes().replace(b"hybrid", b"dense"))
    with pytest.raises(GenerationError, match=rf"{FILE}.* is damaged"):
        read_default(root, "docs")
    write_default(root, "docs", None)
    assert read_default(root, "docs") is None
