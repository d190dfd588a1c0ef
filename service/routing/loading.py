"""From addresses to a router that is ready: all shards found, and the model of their vectors loaded here."""

from __future__ import annotations

import asyncio
import binascii
import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from embed.models.canaries import FIXED_CANARIES, least_cosine
from service.errors import LoadError, SettingsError
from service.query.loading import describe, encoder_of
from service.routing.connection import Reply, Unanswered
from service.routing.indexes import LOOK_EVERY_S, RoutedIndexes
from service.routing.replica import Replica
from service.routing.shard import RoutedShard
from service.settings import Settings
from service.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from embed import Encoder

ENCODE_S = 30.0


def routed(settings: Settings, metrics: Metrics) -> tuple[RoutedIndexes, Encoder | None]:
    """The indexes of the shards, every one of them complete, and the encoder of their vectors; None for bare vectors.

    Raises SettingsError when they are not complete in time, LoadError when the model here is not theirs.
    """
    shards = [
        RoutedShard(
            [Replica(address, settings.shard_key) for address in replicas], metrics.hedges.inc, metrics.retries.inc
        )
        for replicas in settings.shards
    ]
    indexes = RoutedIndexes(shards, settings.names, metrics.partials.inc)
    return indexes, asyncio.run(_found(indexes, settings))


async def _found(indexes: RoutedIndexes, settings: Settings) -> Encoder | None:
    end_s = time.monotonic() + settings.wait_s
    await indexes.look()
    while indexes.missing is not None:
        if time.monotonic() >= end_s:
            raise SettingsError(
                f"The shards were not complete within {settings.wait_s:g} s (--wait): {indexes.missing}."
            )
        await asyncio.sleep(LOOK_EVERY_S)
        await indexes.look()
    encoder = None
    models = {index.model for index in indexes.all().values()} - {None}
    if models:
        replica = next(replica for shard in indexes.shards for replica in shard.replicas if replica.up)
        try:
            encoder = await _encoder(replica, models, settings)
        except Unanswered as error:
            raise LoadError(f"{replica.address} was asked for its model: {error}.") from error
    indexes.close()  # the connections belong to this event loop; requests are answered by another
    return encoder


async def _encoder(replica: Replica, models: set[str | None], settings: Settings) -> Encoder:
    model = msgspec.json.decode(_good(await replica.ask("GET", "/version")), type=dict[str, Any])["model"]
    if model is None:
        raise LoadError(f"{replica.address} has vectors of a model and says nothing of it.", "model-mismatch")
    encoder = encoder_of(model, settings)
    if models != {encoder.fingerprint.id}:
        raise LoadError(
            f"The shards hold vectors of {describe(model)}, and this router has "
            f"{describe(encoder.fingerprint.as_dict())}. Start it with --model and --precision of the vectors.",
            "model-mismatch",
        )
    body = msgspec.json.encode({"input": FIXED_CANARIES, "encoding_format": "base64"})
    asked = replica.ask("POST", "/v1/embeddings", body)
    said = msgspec.json.decode(_good(await asyncio.wait_for(asked, ENCODE_S)), type=dict[str, Any])
    theirs = np.stack([np.frombuffer(binascii.a2b_base64(one["embedding"]), "<f4") for one in said["data"]])
    least = least_cosine(theirs, encoder.encode(list(FIXED_CANARIES), kind="document"))
    if not least >= encoder.fingerprint.tolerance:  # also when it is not a number
        raise LoadError(
            f"The model encodes a text differently here than at {replica.address} (cosine {least:.5f}, at least "
            f"{encoder.fingerprint.tolerance} is expected). Its name is right and its numbers are not: compare "
            "versions and processors with `perwatt info`.",
            "model-mismatch",
        )
    return encoder


def _good(reply: Reply) -> bytes:
    if reply.status != 200:
        raise Unanswered(f"it answered with {reply.status}")
    return reply.content
