"""One shard: the replicas that serve it, of which `asking.py` chooses who is asked, and which of them is written to.

A write goes to the replica that took the last one, and else to each in turn: one of them writes the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from service.routing.asking import DENIED, Asking, Hedges, ShardSilent, problem_in
from service.routing.connection import Unanswered
from service.routing.replica import Replica, ShardRequest
from service.routing.together import Together
from service.telemetry.tracing import PASSED_ON
from service.wire.problems import Problem


class RoutedShard:
    """
    Args:
        count_hedge, count_retry: told of each.
    """

    def __init__(
        self, replicas: Sequence[Replica], count_hedge: Callable[[], None], count_retry: Callable[[], None]
    ) -> None:
        self.replicas = tuple(replicas)
        self._hedges = Hedges(count_hedge, count_retry)
        self._writer: Replica | None = None  # that took the last write

    def serving(self, name: str, generation: str) -> list[Replica]:
        """The replicas that answer for a generation."""
        return [replica for replica in self.replicas if replica.answers(name, generation)]

    def ask(
        self, name: str, generation: str, request: ShardRequest, now_s: float, until_s: float, together: Together
    ) -> Asking:
        """Asks for a part; parameters and answer are those of `Asking`."""
        return Asking(self.serving(name, generation), self._hedges, request, now_s, until_s, together)

    async def write(self, name: str, method: str, path: str, content: bytes, headers: str, until_s: float) -> bytes:
        """The content of the answer to a write of an index, of the replica that writes the log they all share.

        Args:
            until_s: `time.perf_counter` at which it is too late.

        Raises:
            ShardSilent: none has taken it, or one may have and did not say so.
            Problem: the shard refuses it.
        """
        known = [replica for replica in self.replicas if name in replica.serving]
        folders = {replica.serving[name].folder for replica in known}
        if len(known) < len(self.replicas):
            never = next(replica for replica in self.replicas if replica not in known)
            raise ShardSilent(f"{never.address} was never seen to serve {name}, and it has to have what is written")
        if len(folders) > 1:
            raise Problem(
                "forbidden",
                f"The replicas of a shard of {name} have folders of their own, and what one writes the others would "
                "lack. Writes take replicas that serve one folder, or one replica a shard.",
            )
        why = "it serves no replica"
        for replica in sorted(known, key=lambda replica: (replica is not self._writer, not replica.up)):
            try:
                asked = replica.ask(method, path, content, headers + PASSED_ON.get())
                reply = await asyncio.wait_for(asked, max(0.0, until_s - time.perf_counter()))
            except TimeoutError:
                raise ShardSilent(f"{replica.address} did not answer in time", late=True) from None
            except Unanswered as error:
                replica.down(str(error))
                why = f"{replica.address}: {error}"
                continue
            if reply.status == 200:
                self._writer = replica
                return reply.content
            problem = problem_in(reply)
            if reply.status in DENIED:
                raise Problem("forbidden", f"{replica.address} does not let the router write: {problem.detail}")
            if problem.code != "not-ready":  # which says that another one writes this log, or that this one ends
                raise problem
            why = f"{replica.address}: {problem.detail}"
        raise ShardSilent(why)
