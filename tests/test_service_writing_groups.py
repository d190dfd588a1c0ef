"""Documents go in requests that a service takes, however long they are."""

from __future__ import annotations

from embed.documents.document import Document, DocumentSource
from service.cli import writes
from service.integrations.documents import parts


def test_a_request_holds_so_many_documents_and_so_many_bytes() -> None:
    source = DocumentSource("docs", "jsonl")
    long = [Document(str(row), "", "x" * 50_000, {"text": "x" * 50_000}, source, row) for row in range(300)]
    groups = list(writes._groups(iter(long)))
    assert [one["id"] for group in groups for one in group] == [str(row) for row in range(300)]
    assert 80 <= max(map(len, groups)) <= writes.AT_ONCE_BYTES // 50_000
    short = [Document(str(row), "", "x", {"text": "x"}, source, row) for row in range(450)]
    assert [len(group) for group in writes._groups(iter(short))] == [200, 200, 50]


def test_stores_of_frameworks_split_by_bytes_too() -> None:
    assert [len(some) for some in parts(["x" * 98] * 7, 100, 250)] == [2, 2, 2, 1]
    assert [len(some) for some in parts(["x" * 998] * 3, 100, 250)] == [1, 1, 1]  # one that is too long goes alone
    assert [len(some) for some in parts(range(5), 2)] == [2, 2, 1]
