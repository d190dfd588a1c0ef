"""One record becomes one document, or one clear refusal."""

from __future__ import annotations

import json

import pytest

from embed.documents.document import (
    Document,
    DocumentError,
    DocumentSource,
    Faults,
    FieldNames,
    embedded_text,
    payload_json,
    shape,
)

SOURCE = DocumentSource("corpus.jsonl", "jsonl")


def shaped(record: dict[str, object], **names: object) -> Document:
    return shape(record, FieldNames(**names), SOURCE, 7)  # type: ignore[arg-type]


def test_beir_shape_needs_no_flag() -> None:
    document = shaped({"_id": "4983", "title": "Cells", "text": "They divide.", "metadata": {"year": 2001}})
    assert (document.id, document.title, document.text) == ("4983", "Cells", "They divide.")
    assert document.payload == {"title": "Cells", "text": "They divide.", "metadata": {"year": 2001}}


def test_id_is_preferred_to_underscore_id_and_the_other_stays_payload() -> None:
    document = shaped({"_id": "inner", "id": "outer", "text": "t"})
    assert document.id == "outer"
    assert document.payload == {"_id": "inner", "text": "t"}


def test_named_fields_keep_their_names_in_the_payload() -> None:
    record: dict[str, object] = {"key": "k", "body": "long", "head": "short", "text": "other", "title": "unused"}
    document = shaped(record, id="key", text="body", title="head")
    assert (document.id, document.title, document.text, document.text_field) == ("k", "short", "long", "body")
    assert document.payload == {"body": "long", "head": "short", "text": "other", "title": "unused"}


def test_an_empty_title_field_name_means_no_title() -> None:
    assert shaped({"id": "1", "title": "T", "text": "x"}, title="").title == ""


def test_numbered_rows_take_their_place_as_id_and_keep_an_id_field() -> None:
    document = shaped({"id": "kept", "text": "x"}, number_rows=True)
    assert document.id == "corpus.jsonl:7"
    assert document.payload == {"id": "kept", "text": "x"}


@pytest.mark.parametrize(("given", "expected"), [(0, "0"), (-3, "-3"), (10**30, "1" + "0" * 30), ("ä", "ä")])
def test_integer_ids_become_decimal_strings(given: object, expected: str) -> None:
    assert shaped({"id": given, "text": "x"}).id == expected


@pytest.mark.parametrize("given", [True, 1.5, None, "", [], {}, "\ud83d"])
def test_an_id_that_is_no_string_or_integer_is_refused(given: object) -> None:
    with pytest.raises(DocumentError, match=r"corpus\.jsonl:7: .*id"):
        shaped({"id": given, "text": "x"})


def test_a_missing_id_names_the_fields_and_both_ways_out() -> None:
    with pytest.raises(DocumentError) as caught:
        shaped({"name": "x", "body": "y"})
    message = str(caught.value)
    assert message.startswith("corpus.jsonl:7: ")
    for part in ("'id' or '_id'", "'name', 'body'", "--id-field", "--number-rows"):
        assert part in message


def test_a_missing_text_names_the_fields_and_the_flag() -> None:
    with pytest.raises(DocumentError, match=r"no field 'text' .*'id', 'body'.*--text-field"):
        shaped({"id": "1", "body": "y"})


def test_a_named_title_that_is_missing_is_refused_while_the_default_one_may_be() -> None:
    assert shaped({"id": "1", "text": "x"}).title == ""
    with pytest.raises(DocumentError, match="no field 'head'"):
        shaped({"id": "1", "text": "x"}, title="head")


@pytest.mark.parametrize("given", [1, 1.0, True, [], {}])
def test_text_and_title_must_be_strings(given: object) -> None:
    with pytest.raises(DocumentError, match=r"field 'text' is .*a string was expected"):
        shaped({"id": "1", "text": given})
    with pytest.raises(DocumentError, match=r"field 'title' is .*a string was expected"):
        shaped({"id": "1", "text": "x", "title": given})


@pytest.mark.parametrize("title", ["", None, "  "])
@pytest.mark.parametrize("text", ["", None, " \n\t"])
def test_nothing_to_embed_is_refused_with_the_id(title: object, text: object) -> None:
    with pytest.raises(DocumentError, match=r"nothing to embed.*'n1'"):
        shaped({"id": "n1", "title": title, "text": text})


def test_a_title_alone_is_a_document() -> None:
    document = shaped({"id": "1", "title": "Only a title", "text": ""})
    assert embedded_text(document.title, document.text) == "Only a title"


def test_what_is_embedded_is_title_space_text() -> None:
    assert embedded_text("Title.", "Text") == "Title. Text"
    assert embedded_text("", " Text\n") == "Text"


def test_half_a_surrogate_pair_is_refused_wherever_it_stands() -> None:
    with pytest.raises(DocumentError, match="field 'text' is not valid Unicode at character 2"):
        shaped({"id": "1", "text": "ok\ud83d"})
    document = shaped({"id": "1", "text": "ok", "tags": ["\udc00"]})
    with pytest.raises(DocumentError, match=r"corpus\.jsonl:7: .*surrogate"):
        payload_json(document, document.payload)


def test_payload_is_compact_utf8_json_that_gives_everything_back() -> None:
    payload: dict[str, object] = {"a": [1, 2.5, None, True, {"é": "東"}], "big": 2**70, "text": "x"}
    data = payload_json(shaped({"id": "1", "text": "x"}), payload)
    assert json.loads(data) == payload
    assert "東".encode() in data
    assert b": " not in data


def test_a_number_beyond_float64_is_refused() -> None:
    document = shaped({"id": "1", "text": "x", "n": float("inf")})
    with pytest.raises(DocumentError, match="cannot be kept as JSON"):
        payload_json(document, document.payload)


def test_faults_raise_under_fail_and_count_under_skip() -> None:
    with pytest.raises(DocumentError, match="one"):
        Faults("fail").meet(DocumentError("one"))
    faults = Faults("skip")
    for number in range(9):
        faults.meet(DocumentError(str(number)))
    assert faults.skipped == 9
    assert faults.first == ["0", "1", "2", "3", "4"]


def test_a_place_reads_as_line_or_as_row() -> None:
    assert DocumentSource("a.csv", "csv").at(3) == "a.csv:3"
    assert DocumentSource("a.parquet", "parquet").at(3) == "a.parquet, row 3"
