"""What queries cost at an encoder that runs on another machine, from their tokens and what a million of those cost."""

from __future__ import annotations

from typing import NamedTuple

from loadtest.analysis.reading import Reading


class EncoderBill(NamedTuple):
    """Of a million queries; None: not given. tokens: of one query, the mean of the sampled answers."""

    tokens: float
    usd: float | None
    joules: float | None


def encoder_bill(reading: Reading) -> EncoderBill | None:
    """None where no price was given, and where the answers do not say how many tokens they took. A query's tokens do
    not depend on the rate, so where none was confirmed the last trial tells them."""
    given = reading.record.encoder
    trials = [reading.trial] if reading.trial else [t for t in reading.record.trials if t.role != "voided"]
    told = [t.server.tokens_mean for t in trials if t.server is not None and t.server.tokens_mean is not None]
    if given is None or not told or reading.invalid:
        return None
    tokens = told[-1]
    usd, joules = given.usd_per_million_tokens, given.joules_per_million_tokens
    return EncoderBill(tokens, None if usd is None else tokens * usd, None if joules is None else tokens * joules)
