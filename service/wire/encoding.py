"""Answers to bytes."""

import msgspec

encode = msgspec.json.Encoder().encode
