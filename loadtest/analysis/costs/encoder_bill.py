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
    """None where no price was given, and where the answers do not say how many tokens they took."""
    given, trial = reading.record.encoder, reading.trial
    server = None if trial is None else trial.server
    if given is None or server is None or server.tokens_mean is None or reading.invalid:
        return None
    tokens = server.tokens_mean
    usd, joules = given.usd_per_million_tokens, given.joules_per_million_tokens
    return EncoderBill(tokens, None if usd is None else tokens * usd, None if joules is None else tokens * joules)
