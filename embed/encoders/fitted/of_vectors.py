"""The fitter of a build, with the model that made its vectors; `perwatt build` is handed it, as it knows no models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from embed.encoders.fitted.fit import FitSettings, QueryFitter, QueryLossError, Wanted
from embed.encoders.load import load_encoder
from embed.errors import ModelError


def query_fitter(
    vectors_model: dict[str, Any] | None,
    *,
    wanted: Wanted,
    loss: float,
    steps: int,
    model: str | None = None,
    threads: int = 1,
    before: Path | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> Callable[..., dict[str, Any] | None]:
    """A fitter for vectors of `vectors_model`, the fingerprint that they carry.

    Args:
        model: Folder or name, where the name of the vectors' model does not say where it is.

    Raises:
        QueryLossError: One was wanted whatever it takes, and the model is not to be had here.
    """
    try:
        if vectors_model is None:
            raise ModelError("the vectors name no model")
        encoder = load_encoder(
            model or vectors_model["name"],
            precision=vectors_model["precision"],
            threads=threads,
            query_prefix=vectors_model["query_prefix"],
            document_prefix=vectors_model["document_prefix"],
            dim=vectors_model["dim"],
        )
        if encoder.fingerprint.id != vectors_model["id"]:
            encoder.close()
            raise ModelError(
                f"the vectors were made with {vectors_model['name']} ({vectors_model['id'][:19]}…), and --model is "
                f"{encoder.fingerprint.name} ({encoder.fingerprint.id[:19]}…)"
            )
    except ModelError as error:
        if wanted == "fitted":
            raise QueryLossError(f"No query encoder was fitted: {error}") from None
        said = str(error)

        def none_fitted(*_: object) -> None:
            say(f"queries go through the whole model: {said}")

        return none_fitted
    return QueryFitter(encoder, FitSettings(wanted, loss, steps), threads, before, say)
