"""LlamaIndex over a real server. It ships no suite of stores, so this is its documented contract: add, get, delete,
every mode of a query, every operator of a filter held against LlamaIndex's own reading of it, and the asynchronous
methods.

`make test-integrations` runs this file; its name keeps it out of `make test`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import ImageNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn
from serving import serving

from index import build_generation
from service.client import ProblemError
from service.integrations.llama_index import PerwattEmbedding, PerwattNodeStore

TEXTS = {
    "rye": ("Bake rye bread in a hot oven with steam.", {"lang": "en", "year": 2020, "tags": ["bread", "oven"]}),
    "mine": ("A mine is dug for coal and ore.", {"lang": "en", "year": 2021, "tags": ["coal"]}),
    "brot": ("Roggenbrot wird im heissen Ofen gebacken.", {"lang": "de", "year": 2022, "tags": ["bread"]}),
    "bare": ("Magma rises, and lava and ash leave the crater.", {}),
}
FILTERABLE = ["lang:keyword", "year:int", "tags:keyword[]", "ref_doc_id:keyword"]


@pytest.fixture(scope="module")
def url(served_encoder: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server with the index `nodes`, of one document as `perwatt embed` and `build` make them."""
    folder = tmp_path_factory.mktemp("root")
    build_generation(
        served_encoder.encode(["Built from a file."], kind="document"),
        ["file"],
        root=folder,
        name="nodes",
        payload=[{"text": "Built from a file.", "lang": "xx", "year": 1, "tags": [], "ref_doc_id": "file.md"}],
        filterable=FILTERABLE,
        model=served_encoder.fingerprint.as_dict(),
    )
    with serving(folder, tmp_path_factory.mktemp("server")) as server:
        yield server.url


@pytest.fixture(scope="module")
def empty(url: str) -> Iterator[PerwattNodeStore]:
    store = PerwattNodeStore(url, "nodes")
    assert store.get_nodes(["file"]) == [
        TextNode(
            id_="file",
            text="Built from a file.",
            metadata={"lang": "xx", "year": 1, "tags": [], "ref_doc_id": "file.md"},
        )
    ]
    yield store
    store.close()


@pytest.fixture
def store(empty: PerwattNodeStore) -> Iterator[PerwattNodeStore]:
    """Holds the nodes of TEXTS; two of them are parts of one document."""
    nodes = [TextNode(id_=id, text=text, metadata=metadata) for id, (text, metadata) in TEXTS.items()]
    for node in nodes[:2]:
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id="doc-1")
    empty.clear()
    assert empty.add(PerwattEmbedding(empty)(nodes)) == list(TEXTS)
    yield empty
    empty.clear()


def where(key: str, operator: FilterOperator, value: Any = None) -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, operator=operator, value=value)])


def asked(store: PerwattNodeStore, mode: str = "default", **more: Any) -> VectorStoreQuery:
    text = more.pop("text", "how is rye bread baked")
    vector = PerwattEmbedding(store).get_query_embedding(text)
    given = {"query_embedding": vector, "query_str": text, "mode": VectorStoreQueryMode(mode), "similarity_top_k": 4}
    return VectorStoreQuery(**{**given, **more})


def test_nodes_come_back_as_they_were_but_for_their_embeddings(store: PerwattNodeStore) -> None:
    (rye, bare) = store.get_nodes(["rye", "nobody", "bare"])
    assert (rye.get_content(), rye.metadata, rye.ref_doc_id) == (*TEXTS["rye"], "doc-1")
    assert (bare.get_content(), bare.metadata, bare.ref_doc_id) == (*TEXTS["bare"], None)
    picture = ImageNode(id_="picture", text="A crater.", image_url="https://example.org/crater.png")
    picture.embedding = PerwattEmbedding(store).get_text_embedding("A crater.")
    store.add([picture])
    (found,) = store.get_nodes(["picture"])
    assert isinstance(found, ImageNode)
    assert (found.image_url, found.text) == ("https://example.org/crater.png", "A crater.")


def test_an_index_of_llama_index_searches_inserts_and_deletes_documents(store: PerwattNodeStore) -> None:
    index = VectorStoreIndex.from_vector_store(store, embed_model=PerwattEmbedding(store))
    (best,) = index.as_retriever(similarity_top_k=1).retrieve("how is rye bread baked")
    assert best.node.node_id == "rye"
    assert 0 < best.score < 1
    index.insert(Document(id_="guide", text="Tune a guitar by its pegs.", metadata={"lang": "en"}))
    (best,) = index.as_retriever(similarity_top_k=1).retrieve("tuning a string instrument")
    assert (best.node.ref_doc_id, best.node.get_content()) == ("guide", "Tune a guitar by its pegs.")
    index.delete_ref_doc("guide")
    assert len(store.get_nodes()) == 4
    both = [index.as_retriever(vector_store_query_mode=mode, similarity_top_k=1) for mode in ("default", "text_search")]
    fused = QueryFusionRetriever(both, num_queries=1, use_async=False, similarity_top_k=2, llm=MockLLM())
    assert {each.node.node_id for each in fused.retrieve("coal")} == {"mine"}


@pytest.mark.parametrize(("mode", "best"), [("default", "rye"), ("sparse", "mine"), ("text_search", "mine")])
def test_modes_search_by_meaning_and_by_words(store: PerwattNodeStore, mode: str, best: str) -> None:
    text = "how is a loaf of rye made" if mode == "default" else "coal"
    found = store.query(asked(store, mode, text=text))
    assert found.ids is not None
    assert found.ids[0] == best
    assert found.similarities == sorted(found.similarities or [], reverse=True)


def test_alpha_moves_a_hybrid_query_from_words_to_meaning(store: PerwattNodeStore) -> None:
    text = "lava coal"  # by meaning it is a volcano, and its rarer word is the mine's
    for alpha, mode in ((0.0, "text_search"), (1.0, "default")):
        alone = store.query(asked(store, mode, text=text, similarity_top_k=1))
        assert store.query(asked(store, "hybrid", text=text, alpha=alpha, hybrid_top_k=1)).ids == alone.ids
    assert len(store.query(asked(store, "semantic_hybrid", text=text)).ids or ()) == 4


@pytest.mark.parametrize("mode", ["svm", "logistic_regression", "linear_regression", "mmr"])
def test_modes_that_need_vectors_in_answers_are_refused(store: PerwattNodeStore, mode: str) -> None:
    with pytest.raises(ValueError, match="needs vectors in answers; there are default, sparse"):
        store.query(asked(store, mode))


def test_a_query_can_be_restricted_to_nodes_and_to_documents(store: PerwattNodeStore) -> None:
    every = store.query(asked(store)).ids or []
    some = [every[3], "nobody", every[1]]
    assert store.query(asked(store, node_ids=some)).ids == [every[1], every[3]]
    assert store.query(asked(store, node_ids=some, similarity_top_k=1)).ids == [every[1]]
    assert store.query(asked(store, "hybrid", node_ids=["brot"])).ids == ["brot"]
    assert store.query(asked(store, node_ids=["rye", "brot"], doc_ids=["doc-1"])).ids == ["rye"]


CONDITIONS: list[tuple[str, FilterOperator, Any]] = [
    ("lang", FilterOperator.EQ, "en"),
    ("lang", FilterOperator.NE, "en"),
    ("year", FilterOperator.GT, 2020),
    ("year", FilterOperator.GTE, 2021),
    ("year", FilterOperator.LT, 2021),
    ("year", FilterOperator.LTE, 2020),
    ("lang", FilterOperator.IN, ["de", "fr"]),
    ("year", FilterOperator.NIN, [2020]),
    ("tags", FilterOperator.ANY, ["oven", "coal"]),
    ("tags", FilterOperator.ALL, ["bread", "oven"]),
    ("tags", FilterOperator.CONTAINS, "bread"),
    ("lang", FilterOperator.IS_EMPTY, None),
]


@pytest.mark.parametrize(("key", "operator", "value"), CONDITIONS)
@pytest.mark.parametrize("condition", list(FilterCondition))
def test_filters_keep_what_llama_index_itself_would_keep(
    store: PerwattNodeStore, key: str, operator: FilterOperator, value: Any, condition: FilterCondition
) -> None:
    filters = where(key, operator, value)
    filters.filters.append(MetadataFilter(key="year", operator=FilterOperator.GTE, value=2021))
    filters.condition = condition
    keeps = build_metadata_filter_fn(lambda id: TEXTS[id][1], filters)
    expected = {id for id in TEXTS if keeps(id)}
    assert set(store.query(asked(store, filters=filters)).ids or ()) == expected
    assert {node.node_id for node in store.get_nodes(filters=filters)} == expected


def test_filters_nest_and_what_they_cannot_do_is_said(store: PerwattNodeStore) -> None:
    nested = MetadataFilters(
        filters=[where("lang", FilterOperator.EQ, "de"), where("tags", FilterOperator.CONTAINS, "coal")],
        condition=FilterCondition.OR,
    )
    assert {node.node_id for node in store.get_nodes(filters=nested)} == {"mine", "brot"}
    with pytest.raises(ValueError, match="a query of mode text_search finds words"):
        store.get_nodes(filters=where("lang", FilterOperator.TEXT_MATCH, "e"))
    with pytest.raises(ProblemError, match="not declared filterable"):
        store.get_nodes(filters=where("nowhere", FilterOperator.EQ, 1))


def test_nodes_are_deleted_by_document_by_id_and_by_filter(store: PerwattNodeStore) -> None:
    store.delete_nodes(["rye", "brot", "nobody"], filters=where("lang", FilterOperator.EQ, "de"))
    assert {node.node_id for node in store.get_nodes()} == {"rye", "mine", "bare"}
    assert store.query(asked(store, doc_ids=["doc-1"], filters=where("year", FilterOperator.EQ, 2021))).ids == ["mine"]
    store.delete("doc-1")
    assert [node.node_id for node in store.get_nodes()] == ["bare"]
    store.delete_nodes(["bare"])
    assert store.get_nodes() == []
    with pytest.raises(ValueError, match="clear deletes all"):
        store.delete_nodes()


async def test_the_asynchronous_methods_do_the_same(store: PerwattNodeStore) -> None:
    index = VectorStoreIndex.from_vector_store(store, embed_model=PerwattEmbedding(store))
    (best,) = await index.as_retriever(similarity_top_k=1).aretrieve("how is rye bread baked")
    assert best.node.node_id == "rye"
    node = TextNode(id_="new", text="A new one.", embedding=await PerwattEmbedding(store).aget_text_embedding("new"))
    assert await store.async_add([node]) == ["new"]
    assert (await store.aquery(asked(store, text="new", similarity_top_k=1))).ids == ["new"]
    await store.adelete_nodes(["new"])
    await store.adelete("doc-1")
    assert {node.node_id for node in await store.aget_nodes()} == {"brot", "bare"}
    await store.aclear()
    assert await store.aget_nodes() == []


def test_what_the_server_refuses_is_named_and_the_others_are_written(store: PerwattNodeStore) -> None:
    vector = PerwattEmbedding(store).get_text_embedding("any")
    nodes = [TextNode(id_=f"n{year}", text="any", metadata={"year": year}, embedding=vector) for year in (1, "many")]
    with pytest.raises(ValueError, match=r"1 of 2 documents were refused, as nmany: .*year"):
        store.add(nodes)
    assert [node.node_id for node in store.get_nodes(["n1", "nmany"])] == ["n1"]
    with pytest.raises(ValueError, match="embedding not set"):
        store.add([TextNode(text="any")])
