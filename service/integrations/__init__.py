"""The shapes of other people's frameworks around `service.client`, one a module.

    langchain.py   a vector store and a retriever
    mcp.py         tools for agents

Each is an extra of its own, because none of these frameworks is needed to serve. What they share with any other caller
is the HTTP API; nothing in the service knows about them.
"""
