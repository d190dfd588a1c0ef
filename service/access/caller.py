"""The caller of a request: what its key allows, as the rest of the service sees it.

The layer around the application (`auth.py`) makes a Caller for every request before its body is read, and decides
whether the call is allowed. Endpoints find it in the scope. Without keys everyone is `ANYONE`. An endpoint must honour
three things: `may_see` for the names it lists, `filter` (added to the request's own, also for single documents), and
`charge` for what a request costs beyond the one that auth has already charged. What the work took is counted under
`account` by `AppState.count`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

if TYPE_CHECKING:
    from service.access.ledger import Account
    from service.access.quota import Quota


def _free(_cost: float) -> None:
    """Without a quota nothing is charged."""


@dataclass(frozen=True, slots=True)
class Caller:
    """
    Args:
        scope: metrics, search or admin.
        name: of the key, None without one.
        indexes: the only names it may use; None: all.
        filter: JSON of a filter that holds for all it asks, None: none.
        charge: takes that many more requests from the key's quota; it never refuses, the debt delays the next request.
        quota: from which auth takes, None: unlimited.
        account: where what it uses is counted, None without a key.
    """

    scope: str
    name: str | None = None
    indexes: frozenset[str] | None = None
    filter: dict[str, Any] | None = None
    charge: Callable[[float], None] = _free
    quota: Quota | None = None
    account: Account | None = field(default=None, compare=False)

    @property
    def may_see_all(self) -> bool:
        """Whether it may know what every key uses: without keys anyone, else a key for the whole service."""
        return self is ANYONE or (self.scope in ("admin", "metrics") and self.indexes is None and self.filter is None)

    def may_see(self, index: str) -> bool:
        return self.indexes is None or index in self.indexes


ANYONE = Caller("search")  # where there are no keys
NOBODY = Caller("open")  # where there are, and none was sent, or one that is not known


def caller_of(scope: Scope) -> Caller:
    caller: Caller = scope["state"]["caller"]
    return caller
