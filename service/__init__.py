"""The query path: admission → encode → search → payload → response, over HTTP.

    app.py        the FastAPI application: routes in, problem+json out      envelope.py   what surrounds every request
    requests.py   what a caller may ask            answers.py   what comes back       problems.py  why it did not
    limits.py     how much may be asked            admission.py how much at once
    search.py     one query: resolve → find → answer           batch.py     many of them in one request
    batcher.py    texts that wait together are encoded together
    served.py     which generations answer now, and how they are exchanged     loading.py   what is checked before
    documents.py · embeddings.py · indexes.py · aliases.py · operations.py     the other nouns of the API
    server.py     uvicorn, signals, a graceful end          page.py      the search page for people
    cli.py        `perwatt serve`, `search`, `eval`         evaluate.py  nDCG, MRR and recall against judgements

What it is not: it builds nothing (`index` does), it trains and downloads nothing, and it terminates
no TLS: a proxy in front does that. Filters, lexical search, keys and quotas are not there yet and
are refused by name instead of ignored.
"""
