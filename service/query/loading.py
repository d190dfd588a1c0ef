"""The checks that a generation must pass before it answers: its hashes, its model, and sixteen texts.

The index checks every byte of the files. It cannot know whether a query that is encoded here lies in the same space as
the vectors there; a mismatch raises no error, it only makes every result nonsense. So the fingerprint of the encoder
must be the generation's. Then the canaries, texts that were stored with their vectors when the documents were embedded,
are encoded again and compared. A fingerprint names the weights; the canaries also detect a runtime, a processor or a
quantisation that computes something else with them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from index import Generation, IndexingError, Root, open_generation
from index.disk.manifest import QUERY_ENCODER, read_manifest
from service.errors import LoadError, SettingsError
from service.settings import TRIES, Settings

if TYPE_CHECKING:
    from embed import Encoder
    from embed.encoders.fitted.encoder import FittedEncoder

log = logging.getLogger("perwatt.service")


def open_checked(path: Path, encoder: Encoder | None, threads: int) -> Generation:
    """The generation at `path`, every check passed; raises LoadError that says which one did not
    and what to do."""
    try:
        generation = open_generation(path, threads=threads)
    except IndexingError as error:
        raise LoadError(f"Generation {path.name} was refused: {error}") from error
    except MemoryError:
        raise LoadError(
            f"Generation {path.name} does not fit into the memory there is.", "insufficient-memory"
        ) from None
    try:
        check_model(generation, encoder)
    except BaseException:
        generation.close()
        raise
    return generation


def fitted_of(generation: Generation, encoder: Encoder | None, wanted: str) -> FittedEncoder | None:
    """The generation's fitted query encoder, None where it has none or `wanted` is "model".

    Raises LoadError for a section that is not one for the generation's model. A model that runs on another runtime than
    our kernels answers for itself, as it would without the section.
    """
    entry = generation.manifest.get(QUERY_ENCODER)
    if entry is None or encoder is None or wanted == "model":
        return None
    from embed.encoders.fitted.encoder import open_fitted
    from embed.encoders.native import NativeEncoder
    from embed.errors import EmbedError

    if not isinstance(encoder, NativeEncoder):
        log.warning("the fitted query encoder of %s runs on perwatt's kernels alone: the model answers", generation.id)
        return None
    try:
        return open_fitted(generation.path, entry, encoder)
    except EmbedError as error:
        raise LoadError(f"Generation {generation.id} was refused: {error}") from error


def check_model(generation: Generation, encoder: Encoder | None) -> None:
    """Raises LoadError when text queries would be encoded by anything but the model of the
    generation's vectors.

    A generation of bare vectors (no model known) passes: it answers vectors and ids, and refuses
    texts.
    """
    model: Mapping[str, Any] | None = generation.manifest["model"]
    if model is None:
        return
    if encoder is None or encoder.fingerprint.id != model["id"]:
        loaded = describe(encoder.fingerprint.as_dict()) if encoder else "no model"
        raise LoadError(
            f"Generation {generation.id} holds vectors of {describe(model)}, and this service has "
            f"{loaded}. Start it with --model and --precision, or --encoder, of the vectors, or embed and build "
            "again with the model you want; indexes of different models need a service each.",
            "model-mismatch",
        )
    _check_canaries(generation, encoder)


def encoder_for(settings: Settings, root: Root, names: Iterable[str]) -> Encoder | None:
    """The encoder of the served generations, or None when all were built from bare vectors and none
    was asked for.

    Precision and prefixes follow the vectors unless the operator named another; so does the model,
    as far as a name says where it is: the folder of a local model has to be given. Whether it fits
    is checked for each generation at its load.
    """
    made_with = [model for name in names if (model := _model_of(root, name)) is not None]
    if made_with:
        return encoder_of(made_with[0], settings)
    if settings.encoder is not None:
        return _elsewhere(settings.encoder, settings, settings.model)
    if settings.model is None:
        return None
    from embed import load_encoder

    return load_encoder(settings.model, precision=settings.precision, threads=settings.threads)


def encoder_of(model: Mapping[str, Any], settings: Settings) -> Encoder:
    """The encoder of vectors whose fingerprint is `model`. Raises SettingsError where nobody says where it is."""
    from embed import load_encoder
    from embed.models.fingerprint import REMOTE
    from embed.models.folder import DEFAULT_MODEL

    if settings.encoder is not None:
        prefixes = model["query_prefix"], model["document_prefix"]
        return _elsewhere(settings.encoder, settings, settings.model or model["name"], *prefixes)
    if model["precision"] == REMOTE:
        raise SettingsError(
            f"The vectors were made by a server elsewhere that calls its model {model['name']!r}; say where it is with "
            "--encoder URL."
        )
    where = settings.model
    if where is None and model["name"] != DEFAULT_MODEL:
        if "/" not in model["name"]:
            raise SettingsError(
                f"The vectors were made with {describe(model)}; say where that model is with --model FOLDER."
            )
        where = model["name"]
    return load_encoder(
        where,
        precision=settings.precision or model["precision"],
        threads=settings.threads,
        query_prefix=model["query_prefix"],
        document_prefix=model["document_prefix"],
        dim=model["dim"],
    )


def _elsewhere(address: str, settings: Settings, model: str | None, *prefixes: str) -> Encoder:
    """Callers wait for its answers, so one that fails is asked again once."""
    from embed import open_remote
    from embed.encoders.remote.endpoint import Patience

    if settings.precision is not None:
        raise SettingsError("--precision is of a model that runs here, and --encoder runs it elsewhere.")
    query, document = prefixes or (None, None)
    patience = Patience(settings.timeout_s, TRIES)
    return open_remote(address, model, query_prefix=query, document_prefix=document, patience=patience)


def _model_of(root: Root, name: str) -> Mapping[str, Any] | None:
    try:
        model: Mapping[str, Any] | None = read_manifest(root.path(name))["model"]
    except IndexingError as error:
        raise LoadError(f"Index {name} cannot be served: {error}") from error
    return model


def describe(model: Mapping[str, Any]) -> str:
    return f"{model['name']} ({model['precision']}, {str(model['id'])[:19]}…)"


def _check_canaries(generation: Generation, encoder: Encoder) -> None:
    canaries = generation.manifest["canaries"]
    if not canaries:
        return
    stored = _unit(np.array([canary["vector"] for canary in canaries], dtype=np.float32))
    encoded = _unit(encoder.encode([canary["text"] for canary in canaries], kind="document"))
    cosines = np.einsum("ij,ij->i", stored, encoded)
    least = float(cosines.min())
    tolerance = encoder.fingerprint.tolerance
    if not least >= tolerance:  # also when it is not a number
        raise LoadError(
            f"Generation {generation.id} was refused: the model encodes canary "
            f"{int(cosines.argmin())} differently than when the vectors were made (cosine {least:.5f}, at least "
            f"{tolerance} is expected at {encoder.fingerprint.precision}). The name of the model is right and its "
            "numbers are not: compare versions and the processor with `perwatt info`, or embed again.",
            "model-mismatch",
        )


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
