"""`load_reranker`: by a folder, a hub name, or an address."""

from __future__ import annotations

from embed.encoders.backends import usable_cores
from embed.encoders.remote.endpoint import OF_A_RUN, Patience
from embed.models.folder import find_model
from embed.rerankers.contract import Reranker


def load_reranker(
    place: str, *, precision: str | None = None, threads: int | None = None, patience: Patience = OF_A_RUN
) -> Reranker:
    """The reranker at `place`: a folder or hub name, an address, or MODEL@ADDRESS for a server with several models.

    Raises:
        ModelError: There is none, or it cannot be run as asked.
        EncoderError: Its server does not answer.
    """
    model, _, address = place.rpartition("@") if "@http" in place else ("", "", place)
    if address.startswith(("http://", "https://")):
        from embed.rerankers.remote import RemoteReranker

        return RemoteReranker(address, model or None, patience)
    from embed.rerankers.native import NativeReranker

    return NativeReranker(find_model(place), precision, threads or usable_cores())
