"""Writes through a router: each document goes to the shard that its id belongs to, and one answer tells of all.

A shard answers once a write is on its disk. What one shard cannot take is told document by document, and what the
others wrote stays written; sending all of it again is safe. The seqs of different shards do not compare, so a search
with any `min_seq` has every shard read its log to the end first, and the seq of an answer is the largest of them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import Raw

from index.shards.plan import shard_of
from service.access.caller import Caller
from service.query.admission import Deadline
from service.routing.asking import ShardSilent
from service.routing.whole import RoutedIndex
from service.wire import limits
from service.wire.answer.documents import DeleteAnswer, PutAnswer, WriteFailure
from service.wire.problems import Problem
from service.wire.request.documents import PUT_DOCUMENT, DeleteRequest, PutRequest, id_in

AnswerT = TypeVar("AnswerT", PutAnswer, DeleteAnswer)


class RoutedWrite(NamedTuple):
    """What holds for every shard that one request writes to.

    Args:
        key: of the request, `Idempotency-Key`.
        body: all that it asks.
    """

    to: RoutedIndex
    caller: Caller
    deadline: Deadline
    key: str | None = None
    body: bytes = b""

    def within(self, given: Raw) -> dict[str, object]:
        """The filter that documents have to pass, of the request and of the caller's key, as a member of a body."""
        asked = None if bytes(given) in (b"null", b"") else given
        both = [each for each in (asked, self.caller.filter) if each is not None]
        return {} if not both else {"within": both[0] if len(both) == 1 else {"and": both}}

    async def ask(
        self, method: str, path: str, bodies: Mapping[int, bytes], kind: type[AnswerT]
    ) -> dict[int, AnswerT | Problem]:
        """What each shard answers to its body, or why it does not."""
        index, headers = self.to, ""
        if self.key is not None:  # callers of the router have one key to its shards, and must not meet each other's
            named = hashlib.sha256(f"{self.caller.name or ''}\0{self.key}".encode()).hexdigest()
            whole = hashlib.sha256(self.body).hexdigest()
            headers = f"idempotency-key: {named}\r\nidempotency-digest: {whole}\r\n"

        async def one(number: int, body: bytes) -> AnswerT | Problem:
            shard = index.shards[number]
            try:
                content = await shard.write(
                    index.name, method, f"/v1/indexes/{index.name}/{path}", body, headers, self.deadline.at_s
                )
                return msgspec.json.decode(content, type=kind)
            except ShardSilent as silent:
                index.look_soon()
                return Problem(
                    "deadline-exceeded" if silent.late else "not-ready",
                    f"Shard {number} of {len(index.shards)} did not say that this is written ({silent}), and it may be "
                    "or not. Sending it again is safe.",
                    shard=number,
                )
            except Problem as problem:
                problem.members.setdefault("shard", number)
                return problem

        answers = await asyncio.gather(*(one(number, body) for number, body in bodies.items()))
        return dict(zip(bodies, answers, strict=True))


async def put(write: RoutedWrite, asked: PutRequest) -> PutAnswer:
    """The answer without its time. Raises Problem where no shard takes any of the documents."""
    failed: list[WriteFailure] = []
    places: defaultdict[int, list[int]] = defaultdict(list)
    for place, raw in enumerate(asked.documents):
        try:
            document = limits.decode(PUT_DOCUMENT, bytes(raw))
            places[shard_of(document.id, len(write.to.shards))].append(place)
        except Problem as problem:
            failed.append(WriteFailure(place, id_in(bytes(raw)), problem.as_dict()))
    common = write.within(asked.within) | ({} if asked.timeout_ms is None else {"timeout_ms": asked.timeout_ms})
    bodies = {
        number: msgspec.json.encode({"documents": [asked.documents[place] for place in mine], **common})
        for number, mine in places.items()
    }
    answers = await write.ask("PUT", "documents", bodies, PutAnswer)
    _require_one(answers)
    written = seq = unweighed = 0
    for number, answer in answers.items():
        mine = places[number]
        if isinstance(answer, Problem):
            told = answer.as_dict()
            failed += [WriteFailure(place, id_in(bytes(asked.documents[place])), told) for place in mine]
        else:
            written, seq = written + answer.written, max(seq, answer.seq)
            unweighed += answer.unweighed
            failed += [msgspec.structs.replace(each, place=mine[each.place]) for each in answer.failed]
    return PutAnswer(write.to.name, seq, written, 0.0, sorted(failed, key=lambda one: one.place), unweighed)


async def delete(write: RoutedWrite, asked: DeleteRequest) -> DeleteAnswer:
    """The answer without its time. Raises Problem where a shard does not answer, which says how many the others
    deleted."""
    common = write.within(asked.within) | ({} if asked.timeout_ms is None else {"timeout_ms": asked.timeout_ms})
    if asked.ids is not None:
        mine: defaultdict[int, list[str]] = defaultdict(list)
        for id_ in dict.fromkeys(asked.ids):
            mine[shard_of(id_, len(write.to.shards))].append(id_)
        named = {number: {"ids": ids, **common} for number, ids in mine.items()}
        return await _deleted(write, named, asked.dry_run)
    every = {number: {"filter": asked.filter, **common} for number in range(len(write.to.shards))}
    counted = await _deleted(write._replace(key=None), every, True)
    if counted.deleted > limits.DELETE_DOCUMENTS:
        raise too_many(counted.deleted)
    return counted if asked.dry_run else await _deleted(write, every, False)


def too_many(survivors: int) -> Problem:
    """Of a filter to delete by."""
    return Problem(
        "invalid-value",
        f"The filter keeps {survivors:,} documents, and one request deletes at most {limits.DELETE_DOCUMENTS:,}: "
        "narrow it, or build the index anew without them.",
        pointer="/filter",
        survivors=survivors,
    )


async def _deleted(write: RoutedWrite, bodies: Mapping[int, Mapping[str, object]], dry_run: bool) -> DeleteAnswer:
    encoded = {number: msgspec.json.encode({**body, "dry_run": dry_run}) for number, body in bodies.items()}
    answers = await write.ask("POST", "documents/delete", encoded, DeleteAnswer)
    _require_one(answers)
    done = [answer for answer in answers.values() if isinstance(answer, DeleteAnswer)]
    deleted = sum(answer.deleted for answer in done)
    for answer in answers.values():
        if isinstance(answer, Problem):
            answer.members |= {"deleted": 0 if dry_run else deleted}
            raise answer
    return DeleteAnswer(write.to.name, max((answer.seq for answer in done), default=0), deleted, dry_run, 0.0)


def _require_one(answers: Mapping[int, PutAnswer | Problem] | Mapping[int, DeleteAnswer | Problem]) -> None:
    """Raises the problem of the first shard where none of those that were asked answers."""
    problems = [answer for answer in answers.values() if isinstance(answer, Problem)]
    if problems and len(problems) == len(answers):
        raise problems[0]
