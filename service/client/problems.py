"""What the client raises.

ClientError            base
├── ProblemError       the server answered with a problem object (RFC 9457): `code`, `status`, `detail`, `pointer`
└── UnreachableError   no answer came, or one that no perwatt server would give
"""

from __future__ import annotations

from typing import Any

import msgspec


class ClientError(Exception):
    """`str(error)` is a sentence for a person."""


class UnreachableError(ClientError):
    """The server could not be asked."""


class ProblemError(ClientError):
    """A problem object of the API; `code` is one of a closed list, to switch over.

    Args:
        members: everything the problem object said.
    """

    def __init__(self, status: int, members: dict[str, Any], request_id: str | None) -> None:
        self.status = status
        self.members = members
        self.request_id = request_id
        self.code = str(members["code"])
        self.detail = str(members["detail"])
        self.pointer: str | None = members.get("pointer")
        super().__init__(f"{self.detail} ({self.code}, {status})")


def problem_of(status: int, body: bytes, request_id: str | None) -> ClientError:
    """The error that an answer other than 2xx stands for."""
    try:
        members = msgspec.json.decode(body, type=dict[str, Any])
        return ProblemError(status, members, request_id)
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        return UnreachableError(f"The answer was {status} and no problem object of perwatt; is that the right address?")
