"""A thin client, for programs that ask: `from service.client import Client, AsyncClient`.

    with Client("http://127.0.0.1:8000", key="pw_…") as client:
        answer = client.search("docs", text="rotate an api key", k=5)
        for hit in answer.hits:
            print(hit.score, hit.id, hit.payload["title"])

It knows the paths, the types and the errors. It waits and retries where the server said that waiting helps (503, 504,
and a connection that could not be made), and raises a problem as `ProblemError` with its code. It needs httpx, msgspec
and the structs of the answers (`service/wire/answer/`), so the load generator uses it too, for all that it does not
time.

    calls.py       each call once, as a request and the type of its answer
    problems.py    what is raised                     retries.py     when to retry
    methods.py     calls as methods of a client       sync.py · asynchronous.py     the two clients
"""

from service.client.asynchronous import AsyncClient
from service.client.problems import ClientError, ProblemError, UnreachableError
from service.client.retries import Retries
from service.client.sync import Client

__all__ = ["AsyncClient", "Client", "ClientError", "ProblemError", "Retries", "UnreachableError"]
