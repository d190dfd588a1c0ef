"""An index as tools of an agent, over the Model Context Protocol: search, similar, document.

Over stdio the one caller is whoever started the process, and the key is the process's own. Over HTTP each request's own
`Authorization` goes on to the server, which decides as for any other caller: there is no second list of keys, and no
key is lent to strangers. Requests stand alone, so no session can be taken over.
"""

from __future__ import annotations

import socket
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from service.client import AsyncClient, ClientError, calls
from service.client.calls import Call
from service.wire.answer.search import SearchAnswer

HOST = "127.0.0.1"
T = TypeVar("T")
Hits = Annotated[int, Field(ge=1, le=50, description="How many documents, best first.")]
Names = Annotated[
    list[str] | None, Field(description="Fields of the documents to give; all when null. Fewer are shorter to read.")
]
Condition = Annotated[
    dict[str, Any] | None,
    Field(
        description='Only documents that it keeps, as {"field": "lang", "eq": "en"} or {"and": [{"field": "year", '
        '"gte": 2020}, {"not": {"field": "tier", "in": ["draft"]}}]}. A wrong field is answered with what there is.'
    ),
]


def tools(client: AsyncClient, index: str) -> MCPServer:
    """The tools over index `index` of the server that `client` talks to."""
    server = MCPServer(
        "perwatt", instructions=f"Searches the documents of the index {index!r} by meaning and by words."
    )
    reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)

    async def ask(context: Context[Any, Any], call: Call[T]) -> T:
        sent = (context.headers or {}).get("authorization")
        if sent is not None:
            call = msgspec.structs.replace(call, headers={**call.headers, "authorization": sent})
        try:
            return await client.call(call)
        except ClientError as error:
            raise ToolError(str(error)) from error

    @server.tool(annotations=reads)
    async def search(
        context: Context[Any, Any],
        text: Annotated[str, Field(description="What to look for: a question, a sentence or a few words.")],
        k: Hits = 5,
        mode: Annotated[
            Literal["dense", "lexical", "hybrid"],
            Field(description="By meaning (dense), by words such as names and codes (lexical), or both (hybrid)."),
        ] = "dense",
        filter: Condition = None,
        fields: Names = None,
    ) -> dict[str, Any]:
        """Searches the documents by text. A higher score is better."""
        asked = calls.search(index, text=text, k=k, mode=mode, filter=filter, fields=fields)
        return _hits(await ask(context, asked))

    @server.tool(annotations=reads)
    async def similar(
        context: Context[Any, Any],
        id: Annotated[str, Field(description="The id of a document, as hits have it.")],
        k: Hits = 5,
        filter: Condition = None,
        fields: Names = None,
    ) -> dict[str, Any]:
        """Finds the documents that are most like one that is known by its id, without that one."""
        return _hits(await ask(context, calls.search(index, id=id, k=k, filter=filter, fields=fields)))

    @server.tool(annotations=reads)
    async def document(
        context: Context[Any, Any],
        id: Annotated[str, Field(description="The id of a document, as hits have it.")],
        fields: Names = None,
    ) -> dict[str, Any]:
        """Gives one document by its id."""
        found = await ask(context, calls.document(index, id, fields=fields))
        return {"id": found.id, "payload": found.payload}

    return server


def _hits(answer: SearchAnswer) -> dict[str, Any]:
    return {"hits": [{"id": hit.id, "score": hit.score, "payload": hit.payload} for hit in answer.hits]}


async def over_stdio(url: str, index: str, key: str | None) -> None:
    async with AsyncClient(url, key=key) as client:
        await tools(client, index).run_stdio_async()


async def over_http(url: str, index: str, listening: socket.socket) -> None:
    """Serves POST /mcp on `listening`, a socket of HOST; requests that name another host are refused."""
    async with AsyncClient(url) as client:
        app = tools(client, index).streamable_http_app(stateless_http=True, json_response=True, host=HOST)
        await uvicorn.Server(uvicorn.Config(app, log_level="warning")).serve(sockets=[listening])
