"""An index of documents in chunks, asked over HTTP."""

from __future__ import annotations

from typing import Any

import httpx

DOCUMENTS, CHUNKS, DIM = 60, 12, 384
SEARCH = "/v1/indexes/chunks/search"
TOPICS = ["espresso coffee", "apple trees", "chess castling", "volcano lava", "glacier ice", "guitar strings"]


def rows() -> list[dict[str, Any]]:
    """Chunks of documents, each document about one topic; one chunk in ten belongs to no document."""
    made = []
    for chunk in range(DOCUMENTS * CHUNKS):
        document = chunk // CHUNKS
        row: dict[str, Any] = {
            "title": f"Part {chunk % CHUNKS} of {document}",
            "text": f"About {TOPICS[document % len(TOPICS)]}, word{chunk} " + "and so on " * (chunk % 5),
            "doc_id": f"d{document}",
            "number": document,
            "even": chunk % 2 == 0,
        }
        if chunk % 10 == 9:
            del row["doc_id"], row["number"]
        made.append(row)
    return made


def ask(client: httpx.Client, **query: Any) -> dict[str, Any]:
    answer = client.post(SEARCH, json=query)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content
