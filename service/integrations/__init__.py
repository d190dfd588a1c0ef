"""The shapes of other people's frameworks around `service.client`, one a module.

    haystack.py      a document store and retrievers
    langchain.py     a vector store and a retriever
    llama_index.py   a vector store and an embedding model
    mcp.py           tools for agents
    documents.py     what the stores have in common

Each is an extra of its own, because none of these frameworks is needed to serve. What they share with any other caller
is the HTTP API; nothing in the service knows about them.
"""
