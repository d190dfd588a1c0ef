"""What engines that do not run here are sent and answer, as their own documentation writes it down.

Requests are those of the pages named, with their values in our places; answers are those of the pages, or have the
shape that they describe where they show none. Read in November 2026.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from loadtest.workload.queries import Query


class Exchange(NamedTuple):
    """One request and its answer.

    Args:
        source: where it is written down, with the version.
        asked: the options of the plan, and effort and exact of the request.
        request: method and path, and the body that is documented.
        added: members of our body that the page describes but its example leaves out.
        ids: those of the answer, best first.
    """

    target: str
    source: str
    asked: dict[str, Any]
    query: Query
    request: tuple[str, dict[str, Any]]
    added: dict[str, Any]
    answer: dict[str, Any]
    ids: list[str]


def hits(*found: tuple[str, float], took: int = 3) -> dict[str, Any]:
    """An answer of OpenSearch's and Elasticsearch's search API."""
    listed = [{"_index": "i", "_id": id_, "_score": score} for id_, score in found]
    shards = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
    total = {"value": len(found), "relation": "eq"}
    return {
        "took": took, "timed_out": False, "_shards": shards,
        "hits": {"total": total, "max_score": found[0][1] if found else None, "hits": listed},
    }  # fmt: skip


OPENSEARCH = "https://docs.opensearch.org/latest (3.x)"
ELASTIC = "https://www.elastic.co/docs (9.x)"
QDRANT = "https://qdrant.tech/documentation/search and https://api.qdrant.tech/v-1-17-x (1.17)"
WEAVIATE = "https://docs.weaviate.io/weaviate/api/graphql (1.3x)"
MILVUS = "https://milvus.io/docs/v2.5.x/single-vector-search.md (2.5)"
VESPA = "https://docs.vespa.ai/en/querying/nearest-neighbor-search-guide.html (8.x)"

LONDON = {"must": [{"key": "city", "match": {"value": "London"}}]}
VECTOR5 = [0.3580376395471989, -0.6023495712049978, 0.18414012509913835, -0.26286205330961354, 0.9029438446296592]
ECLIPSE = "Total Eclipse Of The Heart"

EXCHANGES = [
    Exchange(
        "opensearch", f"{OPENSEARCH}/vector-search/getting-started, step 3",
        {"index": "hotels-index", "k": 3, "set": {"field": "location"}}, Query(vector=[5.0, 4.0]),
        ("POST /hotels-index/_search", {"size": 3, "query": {"knn": {"location": {"vector": [5, 4], "k": 3}}}}),
        {"_source": False}, hits(("2", 0.952381), ("1", 0.8333333), ("3", 0.72992706), took=1093), ["2", "1", "3"],
    ),
    Exchange(
        "opensearch", f"{OPENSEARCH}/query-dsl/specialized/k-nn/index, specifying method parameters",
        {"index": "my-vector-index", "k": 2, "effort": 100, "set": {"field": "target-field"}},
        Query(vector=[2.0, 3.0, 5.0, 6.0]),
        ("POST /my-vector-index/_search", {
            "size": 2,
            "query": {"knn": {"target-field": {
                "vector": [2, 3, 5, 6], "k": 2, "method_parameters": {"ef_search": 100},
            }}},
        }),
        {"_source": False}, hits(("7", 1.0), ("9", 0.5)), ["7", "9"],
    ),
    Exchange(
        "opensearch", f"{OPENSEARCH}/vector-search/filter-search-knn/scoring-script-filter",
        {"index": "hotels-index", "k": 3, "exact": True, "set": {"field": "location", "space": "l2"}},
        Query(vector=[5.0, 4.0], filter={"bool": {"must": [{"term": {"parking": "true"}}]}}),
        ("POST /hotels-index/_search", {
            "size": 3,
            "query": {"script_score": {
                "query": {"bool": {"filter": {"bool": {"must": [{"term": {"parking": "true"}}]}}}},
                "script": {"source": "knn_score", "lang": "knn", "params": {
                    "field": "location", "query_value": [5.0, 4.0], "space_type": "l2",
                }},
            }},
        }),
        {"_source": False}, hits(("3", 0.72992706)), ["3"],
    ),
    Exchange(
        "opensearch", f"{OPENSEARCH}/vector-search/ai-search/hybrid-search/index, step 5",
        {"index": "my-nlp-index", "k": 5, "mode": "hybrid", "set": {
            "field": "passage_embedding", "text_field": "passage_text", "model": "aVeif4oB5Vm0Tdw8zYO2",
            "pipeline": "nlp-search-pipeline",
        }},
        Query(text="Hi world"),
        ("POST /my-nlp-index/_search?search_pipeline=nlp-search-pipeline", {
            "query": {"hybrid": {"queries": [
                {"match": {"passage_text": {"query": "Hi world"}}},
                {"neural": {"passage_embedding": {
                    "query_text": "Hi world", "model_id": "aVeif4oB5Vm0Tdw8zYO2", "k": 5,
                }}},
            ]}},
        }),
        {"_source": False, "size": 5}, hits(("1", 1.2251667), took=36), ["1"],
    ),
    Exchange(
        "elasticsearch", f"{ELASTIC}/solutions/search/vector/knn/approximate-knn; filter: query-dsl-knn-query",
        {"index": "image-index", "k": 10, "effort": 100, "set": {"field": "image-vector"}},
        Query(vector=[-5.0, 9.0, -12.0], filter={"term": {"file-type": "png"}}),
        ("POST /image-index/_search", {"knn": {"field": "image-vector", "query_vector": [-5, 9, -12], "k": 10,
                                               "num_candidates": 100, "filter": {"term": {"file-type": "png"}}}}),
        {"_source": False, "size": 10}, hits(("2", 0.008961825), ("1", 0.0069)), ["2", "1"],
    ),
    Exchange(
        "elasticsearch", f"{ELASTIC}/solutions/search/vector/knn/exact-knn, script_score",
        {"index": "product-index", "k": 10, "exact": True, "set": {"field": "product-vector"}},
        Query(vector=[-0.5, 90.0, -10.0, 14.8, -156.0], filter={"range": {"price": {"gte": 1000}}}),
        ("POST /product-index/_search", {
            "query": {"script_score": {
                "query": {"bool": {"filter": {"range": {"price": {"gte": 1000}}}}},
                "script": {
                    "source": "cosineSimilarity(params.queryVector, 'product-vector') + 1.0",
                    "params": {"queryVector": [-0.5, 90.0, -10, 14.8, -156.0]},
                },
            }},
        }),
        {"_source": False, "size": 10}, hits(("3", 1.99)), ["3"],
    ),
    Exchange(
        "elasticsearch", f"{ELASTIC}/reference/query-languages/query-dsl/query-dsl-knn-query, hybrid search",
        {"index": "my-image-index", "k": 3, "mode": "hybrid", "set": {"field": "image-vector", "text_field": "title"}},
        Query(text="mountain lake", vector=[-5.0, 9.0, -12.0]),
        ("POST /my-image-index/_search", {"size": 3, "query": {"bool": {"should": [
            {"match": {"title": {"query": "mountain lake"}}},
            {"knn": {"field": "image-vector", "query_vector": [-5, 9, -12], "k": 3}},
        ]}}}),
        {"_source": False}, hits(("1", 3.1), ("3", 2.0)), ["1", "3"],
    ),
    Exchange(
        "qdrant", f"{QDRANT}: search with filter and params, QueryResponse",
        {"index": "collection", "k": 3, "effort": 128}, Query(vector=[0.2, 0.1, 0.9, 0.79], filter=LONDON),
        ("POST /collections/collection/points/query", {
            "query": [0.2, 0.1, 0.9, 0.79], "filter": LONDON, "params": {"hnsw_ef": 128, "exact": False}, "limit": 3,
        }),
        {}, {"usage": None, "time": 0.001, "status": "ok", "result": {"points": [
            {"id": 10, "version": 0, "score": 0.81}, {"id": 14, "version": 0, "score": 0.75},
            {"id": 11, "version": 0, "score": 0.73},
        ]}}, ["10", "14", "11"],
    ),
    Exchange(
        "weaviate", f"{WEAVIATE}/search-operators, nearVector; /additional-properties, usage example",
        {"index": "Article", "k": 2}, Query(vector=[0.1, -0.15, 0.3]),
        ("POST /v1/graphql", {
            "query": "{ Get { Article(limit: 2, nearVector: {vector: [0.1,-0.15,0.3]}) "
                     "{ _additional { id distance } } } }",
        }),
        {}, {"data": {"Get": {"Article": [
            {"_additional": {"distance": 0.15422738, "id": "e76ec9ae-1b84-3995-939a-1365b2215312"}},
            {"_additional": {"distance": 0.15683109, "id": "a2d51619-dd22-337a-8950-e1a407dab3d2"}},
        ]}}}, ["e76ec9ae-1b84-3995-939a-1365b2215312", "a2d51619-dd22-337a-8950-e1a407dab3d2"],
    ),
    Exchange(
        "milvus", MILVUS, {"index": "quick_setup", "k": 3}, Query(vector=VECTOR5),
        ("POST /v2/vectordb/entities/search", {
            "collectionName": "quick_setup", "data": [VECTOR5], "annsField": "vector", "limit": 3,
        }),
        {}, {"code": 0, "data": [
            {"distance": 0.08821295201778412, "id": 551}, {"distance": 0.0800950899720192, "id": 296},
            {"distance": 0.07794742286205292, "id": 43},
        ], "topks": [3]}, ["551", "296", "43"],
    ),
    Exchange(
        "vespa", f"{VESPA}, approximate",
        {"index": "track", "k": 10, "effort": 20, "set": {"id_field": "track_id", "ranking": "closeness"}},
        Query(vector=[0.5, 0.25]),
        ("POST /search/", {
            "yql": "select track_id from track where "
                   "{targetHits:10,hnsw.exploreAdditionalHits:20}nearestNeighbor(embedding,q)",
            "ranking": "closeness", "input.query(q)": [0.5, 0.25],
        }),
        {"hits": 10}, {"timing": {"querytime": 0.004}, "root": {
            "id": "toplevel", "relevance": 1.0, "fields": {"totalCount": 10},
            "coverage": {"coverage": 100, "documents": 95666, "full": True},
            "children": [{"id": "index:tracks/0/f13697952a0d5eaeb2c43ffc", "relevance": 0.5992897837210658,
                          "source": "tracks", "fields": {"track_id": "TRKLIXH128F42766B6"}}],
        }}, ["TRKLIXH128F42766B6"],
    ),
    Exchange(
        "vespa", f"{VESPA}, exact",
        {"index": "track", "k": 10, "exact": True, "set": {"id_field": "track_id", "ranking": "closeness"}},
        Query(vector=[0.5, 0.25]),
        ("POST /search/", {
            "yql": "select track_id from track where {approximate:false,targetHits:10}nearestNeighbor(embedding,q)",
            "ranking": "closeness", "input.query(q)": [0.5, 0.25],
        }),
        {"hits": 10}, {"root": {"id": "toplevel", "relevance": 1.0, "fields": {"totalCount": 0}}}, [],
    ),
    Exchange(
        "vespa", f"{VESPA}, free-text search using weakAnd",
        {"index": "track", "k": 1, "mode": "lexical", "set": {"id_field": "track_id"}}, Query(text=ECLIPSE),
        ("POST /search/", {
            "yql": "select track_id from track where userQuery()", "query": ECLIPSE, "hits": 1, "ranking": "bm25",
            "type": "weakAnd",
        }),
        {}, {"root": {"id": "toplevel", "fields": {"totalCount": 1}, "children": [
            {"id": "index:tracks/0/f1", "relevance": 22.59, "fields": {"track_id": "TRKLIXH128F42766B6"}},
        ]}}, ["TRKLIXH128F42766B6"],
    ),
]  # fmt: skip
