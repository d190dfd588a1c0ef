"""The query path over HTTP: admission → encode → search → payload → response.

    server.py · settings.py      from settings to a listening process, and from a signal to its end
    workers.py · supervisor.py   several processes behind one port: accepting.py the parent's end, channel.py a worker's
    connection.py · watch.py     how long a connection may take, how many there may be, and how each of them ends
    protocol.py · lane.py        bytes to requests with a head.py in order; the short way for a plain search, refusal.py
    gate.py · caller.py          who asks, before a body is read: keys.py, keyring.py, keys_cli.py, quota.py
    app.py · routes.py           the FastAPI application; one table of routes and their documentation (schema.py)
    envelope.py · metrics.py     what surrounds every request: its id, a catch-all, a number; energy.py reads joules
    tracing.py · spans.py        OpenTelemetry, where it is wanted
    limits.py · admission.py     how much may be asked, how much at once, and until when
    requests.py · answers.py     what a caller may ask and what comes back; problems.py says why it did not
    search.py · batch.py         one query, resolve → find → answer; and many in one request
    filters.py                   what may be a hit: the request's filter and the one of the caller's key
    ranking.py · fusion.py       by meaning, by words or both; one hit a group; cursor.py: page by page
    batcher.py                   texts that wait together are encoded together
    served.py · loaded.py        which generation answers now, its exchange, its leases; loading.py checks it before
    documents.py · embeddings.py · indexes.py · aliases.py · operations.py      the other nouns of the API
    measuring.py                 recall of what is served, on demand
    page.py · page/              the search page for people
    client/                      for programs that ask, sync and async
    cli.py                       `perwatt serve`, `search`, `eval` (asking.py, evaluate.py, terminal.py)

What it is not: it builds nothing (`index` does), it trains and downloads nothing, and it terminates no TLS: a proxy in
front does that.
"""
