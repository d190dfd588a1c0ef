"""What the commands that embed open before their first text: a model here or elsewhere, and what cuts texts for it."""

from embed.documents.chunks import Chunker
from embed.encoders.contract import Backend, Encoder


def open_encoder(
    model: str | None,
    *,
    encoder: str | None = None,
    query_prefix: str | None = None,
    document_prefix: str | None = None,
    precision: str | None = None,
    dim: int | None = None,
    backend: Backend = "auto",
    threads: int,
) -> Encoder:
    """As the options of the same names say it. To be closed."""
    from embed import load_encoder, open_remote

    if encoder is None:
        return load_encoder(model, precision=precision, backend=backend, threads=threads, dim=dim)
    return open_remote(encoder, model, query_prefix=query_prefix, document_prefix=document_prefix, at_once=threads)


def chunker_for(encoder: Encoder, tokens: int | None, overlap: int) -> Chunker | None:
    """None where texts are not cut."""
    if not tokens:
        return None
    prefix = encoder.fingerprint.document_prefix
    prefix_tokens = len(encoder.token_offsets(prefix)) if prefix else 0
    return Chunker(encoder.token_offsets, tokens, overlap, encoder.fingerprint.max_length or tokens, prefix_tokens)
