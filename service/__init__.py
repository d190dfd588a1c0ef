"""The query path over HTTP: admission → encode → search → payload → response.

Each line imports only what stands below it:

    judges/        perwatt in other people's benchmarks
    bench/         the service beside other servers, and under bad callers
    cli/           `perwatt serve`, `keys`, `search`, `mcp`, `eval`
    processes/     from settings to listening processes, and from a signal to their end
    http/          bytes to requests, the table of routes, what surrounds every request
    endpoints/     the nouns of the API
    compound/      requests that are several searches in one
    routing/       an index in shards: what each answers, and the router that asks them all
    query/         admit, resolve, search, fuse, page, answer; which generation answers
    rerank/        the best hits read anew by a cross-encoder
    rebuilds/      an index rebuilt beside the service that serves it
    access/        keys, callers, quotas: who may
    telemetry/     metrics, logs, spans, joules
    integrations/  a store and a retriever of LangChain, tools for agents
    moving/        what other engines hold as vectors or documents, an index as files
    client/        for programs that ask, sync and async
    tuned/         the search that an index is asked by default
    wire/          requests, answers, problems, limits and filters
    page/          the search page for people
    settings.py    what an operator decides
    versions.py    what is installed
    errors.py      what can go wrong outside of a request

What it is not: it builds nothing (`index` does), it trains and downloads nothing, and it terminates no TLS: a proxy in
front does that.
"""
