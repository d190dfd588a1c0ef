"""A published claim: who made it, what they got and on what, and what it would take to judge it on another machine."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from deploy.errors import DeployError

CLAIMS = Path(__file__).with_name("claims.toml")


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """
    Args:
        who, when, source: the author, the date of publication as far as it is known, the address.
        says: the claim in a sentence.
        ratio: that was published; None: no number was.
        low, high: ratios measured in between confirm it.
        machines: microarchitectures that it is about; more than one where it compares machines.
        conditions: what else a repetition would have to have: corpus, index, recall, engine.
        trial: name of what measures the same ratio on one machine; empty where none does.
        given: arguments of the trial.
        differs: how the trial differs from what was published even on that machine; it is then tried and not judged.
    """

    id: str
    who: str
    when: str
    source: str
    says: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    machines: list[str] = []
    conditions: list[str] = []
    trial: str = ""
    given: dict[str, Any] = {}
    differs: str = ""


def read_claims(path: Path = CLAIMS) -> list[Claim]:
    """All of a file; DeployError says which is not fit to be judged."""
    try:
        claims = msgspec.convert(tomllib.loads(path.read_text("utf-8"))["claim"], list[Claim])
    except (OSError, tomllib.TOMLDecodeError, KeyError, msgspec.ValidationError) as error:
        raise DeployError(f"{path} has no list of claims that can be read: {error}") from error
    for claim in claims:
        if not claim.source.startswith(("https://", "deploy/figures/")):
            raise DeployError(f"claim {claim.id}: its source is {claim.source!r}, expected an address")
        if claim.ratio is not None and not (claim.low or 0) <= claim.ratio <= (claim.high or claim.ratio):
            raise DeployError(f"claim {claim.id}: {claim.ratio} is not between {claim.low} and {claim.high}")
        if claim.trial and (claim.low is None or claim.high is None):
            raise DeployError(f"claim {claim.id}: a trial needs low and high, between which it confirms")
    return claims
