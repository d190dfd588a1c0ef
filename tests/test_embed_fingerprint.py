"""The fingerprint changes with everything that changes vectors, and with nothing else."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from embed.errors import ModelError
from embed.models.fingerprint import TOLERANCE, Fingerprint
from embed.models.folder import DEFAULT_WEIGHTS_SHA256

ONE = Fingerprint("m", "a" * 64, "b" * 64, "mean", True, "", "", 256, "fp32", 384)

OTHER = {
    "weights_sha256": "c" * 64,
    "tokenizer_sha256": "c" * 64,
    "pooling": "cls",
    "normalize": False,
    "query_prefix": "query: ",
    "document_prefix": "passage: ",
    "max_length": 128,
    "precision": "int8",
    "dim": 768,
}


def test_every_field_but_the_name_is_covered() -> None:
    assert set(OTHER) | {"name"} == {field.name for field in fields(Fingerprint)}
    ids = {replace(ONE, **{name: value}).id for name, value in OTHER.items()}  # type: ignore[arg-type]
    assert len(ids | {ONE.id}) == len(OTHER) + 1
    assert replace(ONE, name="renamed").id == ONE.id


def test_it_survives_being_written_down() -> None:
    assert Fingerprint.from_dict(ONE.as_dict()) == ONE


def test_an_altered_one_is_refused() -> None:
    altered = ONE.as_dict() | {"max_length": 512}
    with pytest.raises(ModelError, match="was changed after it was written"):
        Fingerprint.from_dict(altered)


def test_missing_fields_are_named() -> None:
    incomplete = ONE.as_dict()
    del incomplete["pooling"]
    with pytest.raises(ModelError, match="pooling"):
        Fingerprint.from_dict(incomplete)


def test_each_precision_has_a_tolerance() -> None:
    assert all(0.9 < replace(ONE, precision=name).tolerance < 1 for name in TOLERANCE)


@pytest.mark.parametrize(
    ("name", "weights", "names"),
    [
        ("all-MiniLM-L6-v2", DEFAULT_WEIGHTS_SHA256, ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"]),
        ("a-folder", DEFAULT_WEIGHTS_SHA256, ["a-folder", "sentence-transformers/all-MiniLM-L6-v2"]),
        ("all-MiniLM-L6-v2", "d" * 64, ["all-MiniLM-L6-v2"]),  # somebody's own under that name
        ("intfloat/e5-small-v2", "d" * 64, ["intfloat/e5-small-v2", "e5-small-v2"]),
    ],
)
def test_it_goes_by_the_names_that_are_known_to_be_its_own(name: str, weights: str, names: list[str]) -> None:
    one = replace(ONE, name=name, weights_sha256=weights)
    assert one.names == (*names, one.id)
