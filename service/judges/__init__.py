"""Adapters to other people's benchmarks: one for each, in the shape that it asks for.

    beir.py                 BEIR's retriever
    mteb.py                 MTEB's SearchProtocol
    collection.py           the documents that those two hand over, as an index
    run.py                  BEIR and MTEB on a collection, beside BM25
    ann_benchmarks/         the module of ann-benchmarks, and of VIBE, which took it over
    vector_db_benchmark.py  the engine of qdrant's vector-db-benchmark
    vectordb_bench.py       the database of VectorDBBench
    served.py               what those two fill and search: an index of a server

The benchmark measures; nothing here does. None of them is needed to import this package; each adapter to a benchmark of
servers imports its benchmark. `deploy/judges` runs them all, beside another engine each.
"""
