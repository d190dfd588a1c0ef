"""Adapters to other people's benchmarks: one for each, in the shape that it asks for.

    beir.py             BEIR's retriever
    mteb.py             MTEB's SearchProtocol
    run.py              BEIR and MTEB on a collection, beside BM25
    ann_benchmarks.py   the module of ann-benchmarks, and of VIBE, which took it over

The benchmark measures; nothing here does. None of them is needed to import these modules.
"""
