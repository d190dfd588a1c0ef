"""What was put and deleted since a generation was built: a durable log, and a view that searches both as one.

It leaves to others how a generation is searched (index/search/generation.py) and how the answers of several parts
become one (index/shards/merge.py). It knows nothing of texts, models or HTTP: the caller brings vectors and
payloads.

    log.py       writes the log on disk: effects in one order, durable when `append` returns
    log_reader.py, log_file.py   follow it from any process, and what the database holds
    receipt.py   up to where the log was acknowledged, in memory that every process of the machine sees
    writer.py    group commit: many callers, one fsync
    delta.py     the changes in memory
    sieve.py     which of their rows a search need not look at
    columns.py   filters over the changes
    words.py     BM25 over the changes, by the generation's statistics
    view.py      a generation and its changes, searched as one
"""
