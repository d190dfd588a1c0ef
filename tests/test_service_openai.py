"""OpenAI's own client and LangChain's, as service/OPENAI.md tells to use them."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from late import Late
from patience import burden
from serving import Server, serving

from service.access import keys
from service.wire import limits

if TYPE_CHECKING:
    import openai
    from langchain_openai import OpenAIEmbeddings

if not TYPE_CHECKING:
    openai = Late("openai")
pytest_plugins = ["serving_fixtures"]

PAGE = (Path(__file__).parent.parent / "service" / "OPENAI.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SAYS = ["0 384\n1 384\n['all-MiniLM-L6-v2'] 13\n", "2 384\n"]
HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"


def client_of(url: str, key: str = "unused") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


@pytest.fixture
def ours(server: Server) -> Iterator[openai.OpenAI]:
    with client_of(server.url) as client:
        yield client


@pytest.fixture
def unclosed() -> Iterator[None]:
    """LangChain leaves its connections to the collector, which would come in another test and be its fault."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_the_page_has_a_program_for_each_client() -> None:
    assert re.findall(r"^from (\w+) import", PAGE, re.MULTILINE) == ["openai", "langchain_openai"]


@pytest.mark.usefixtures("unclosed")
@pytest.mark.parametrize(("program", "says"), list(zip(PROGRAMS, SAYS, strict=True)), ids=["openai", "langchain"])
def test_the_programs_of_the_page_run(
    server: Server, capsys: pytest.CaptureFixture[str], program: str, says: str
) -> None:
    exec(program.replace("http://127.0.0.1:8000", server.url).replace("pw_…", "pw_0"), {})
    assert capsys.readouterr().out == says


BODIES = {"Open WebUI": "query", "n8n": "document"}  # and what they mean


@pytest.mark.parametrize("application", BODIES)
def test_what_applications_send_is_answered_as_they_read_it(
    client: httpx.Client, served_encoder: Any, application: str
) -> None:
    """Each with the headers that come along."""
    section = PAGE.partition(f"## {application}\n")[2].partition("\n## ")[0]
    (body,) = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    headers = {
        "Open WebUI": {
            "authorization": "Bearer",  # as it arrives where no key was set
            "x-openwebui-user-name": "Ann%20Lee",
            "user-agent": "python-requests",
        },
        "n8n": {
            "authorization": "Bearer pw_0",
            "user-agent": "OpenAI/JS 6.1.0",
            "x-stainless-lang": "js",
            "accept": "*/*",
        },
    }[application]
    answer = client.post("/v1/embeddings", content=body, headers={"content-type": "application/json", **headers})
    assert answer.status_code == 200, answer.text
    found = [one["embedding"] for one in answer.json()["data"]]
    if json.loads(body).get("encoding_format") == "base64":
        found = [np.frombuffer(base64.b64decode(each), "<f4").tolist() for each in found]
    expected = served_encoder.encode(json.loads(body)["input"], kind=BODIES[application])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_n8n_reads_the_list_of_models_and_may_send_one_text_alone(client: httpx.Client) -> None:
    """The first is also how it tries credentials."""
    assert [each["id"] for each in client.get("/v1/models").json()["data"]] == ["all-MiniLM-L6-v2"]
    answer = client.post("/v1/embeddings", json={"model": "all-MiniLM-L6-v2", "input": "how is bread baked"})
    assert len(answer.json()["data"]) == 1


def test_a_prefix_under_a_name_that_is_not_ours_is_refused_by_that_name(client: httpx.Client) -> None:
    answer = client.post("/v1/embeddings", json={"input": ["noise"], "prefix": "query: "})
    assert (answer.status_code, answer.json()["code"], answer.json()["error"]["param"]) == (
        422,
        "unknown-field",
        "prefix",
    )


def test_the_limits_of_the_page_are_the_limits() -> None:
    assert f"up to {limits.EMBEDDINGS_INPUTS:,} of them, {limits.TEXT_CHARACTERS:,} characters each" in PAGE
    assert f"{limits.BATCH_BODY_BYTES >> 20} MiB in all" in PAGE


@pytest.mark.parametrize("encoding_format", [None, "float", "base64"])
def test_openai_reads_the_encoders_vectors(ours: openai.OpenAI, served_encoder: Any, encoding_format: Any) -> None:
    """Without a format it asks for base64 and decodes that itself."""
    named = {} if encoding_format is None else {"encoding_format": encoding_format}
    answer = ours.embeddings.create(model=HUB_NAME, input=["noise", "chess"], dimensions=384, user="u", **named)
    vectors = [one.embedding for one in answer.data]
    if encoding_format == "base64":
        vectors = [np.frombuffer(base64.b64decode(str(each)), "<f4").tolist() for each in vectors]
    np.testing.assert_allclose(vectors, served_encoder.encode(["noise", "chess"]), atol=1e-5)
    assert (answer.model, answer.usage.prompt_tokens) == ("all-MiniLM-L6-v2", 6)


def test_openai_finds_the_model_by_all_its_names(ours: openai.OpenAI, served_encoder: Any) -> None:
    [listed] = ours.models.list().data
    assert (listed.id, listed.object, listed.owned_by) == ("all-MiniLM-L6-v2", "model", "sentence-transformers")
    names = listed.model_dump()["names"]
    assert names == ["all-MiniLM-L6-v2", HUB_NAME, served_encoder.fingerprint.id]
    for name in names:
        assert ours.models.retrieve(name) == listed
        assert ours.embeddings.create(model=name, input="noise").model == listed.id
    with pytest.raises(openai.NotFoundError, match=r"no model 'gpt-7' here; the one that is loaded is all-MiniLM"):
        ours.models.retrieve("gpt-7")


@pytest.mark.parametrize(
    ("asked", "reason", "param"),
    [
        ({"model": "text-embedding-3-small"}, "The model here is all-MiniLM-L6-v2", "model"),
        ({"dimensions": 64}, "has 384 dimensions and cannot be asked for 64", "dimensions"),
        ({"input": ""}, '/input is "": expected str of more than blanks', "input"),
        ({"input": ["a", "b" * 9000]}, "of length 9,000: expected str of length <= 8192", "input[1]"),
        ({"input": [[100, 257], [7]]}, "tokens of OpenAI's tokenizer.*check_embedding_ctx_length=False", "input"),
        ({"input": [100, 257]}, "tokens of OpenAI's tokenizer", "input"),
        ({"input": ["a"] * 2049}, "expected array of length <= 2048", "input"),
        ({"encoding_format": "hex"}, '/encoding_format is "hex": expected "float" or "base64"', "encoding_format"),
        ({"extra_body": {"stream": True}}, "no field 'stream'", "stream"),
    ],
)
def test_openai_says_why_it_was_refused(ours: openai.OpenAI, asked: dict[str, Any], reason: str, param: str) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match=f"Error code: 422 - .*{reason}") as caught:
        ours.embeddings.create(**{"model": HUB_NAME, "input": "a", **asked})
    assert (caught.value.type, caught.value.param) == ("invalid_request_error", param)
    problem = caught.value.response.json()
    assert caught.value.response.headers["content-type"] == "application/problem+json"
    assert problem["error"]["code"] == problem["code"] == caught.value.code
    assert problem["error"]["message"] == problem["detail"]


def test_a_base_url_without_its_end_is_told_so(server: Server) -> None:
    with (
        openai.OpenAI(base_url=server.url, api_key="unused") as client,
        pytest.raises(openai.NotFoundError, match="There is nothing at this path"),
    ):
        client.embeddings.create(model=HUB_NAME, input="a")


def test_a_key_of_ours_is_openais_key(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with keys.changing(path) as held:
        token = keys.add(held, keys.Key("app", 0, "search", []), None)
    with serving(root, tmp_path, "--keys", str(path)) as server:
        with client_of(server.url, token) as client:
            assert len(client.embeddings.create(model=HUB_NAME, input="a").data) == 1
            assert len(client.models.list().data) == 1
        with client_of(server.url, "sk-of-openai") as client:
            with pytest.raises(openai.AuthenticationError, match="This key is not known here") as caught:
                client.embeddings.create(model=HUB_NAME, input="a")
            assert caught.value.type == "authentication_error"
            with server.client(headers={"authorization": "Bearer sk-of-openai"}) as plain:
                known, unknown = plain.get("/v1/indexes").json(), plain.get("/v1/nothing").json()
            assert known.keys() == unknown.keys()  # nobody learns from it which paths there are


def langchain_of(url: str, **changes: Any) -> OpenAIEmbeddings:
    from langchain_openai import OpenAIEmbeddings  # two seconds that only these tests should take

    return OpenAIEmbeddings(
        base_url=f"{url}/v1", api_key="unused", model=HUB_NAME, check_embedding_ctx_length=False, **changes
    )


@pytest.mark.usefixtures("unclosed")
def test_langchain_embeds_thousands_of_texts_in_a_request(server: Server, served_encoder: Any) -> None:
    texts = [f"text {number}" for number in range(burden(limits.EMBEDDINGS_INPUTS))]
    vectors = langchain_of(server.url, chunk_size=limits.EMBEDDINGS_INPUTS).embed_documents(texts)
    assert len(vectors) == len(texts)
    np.testing.assert_allclose(vectors[::256], served_encoder.encode(texts[::256]), atol=1e-5)


@pytest.mark.usefixtures("unclosed")
def test_langchain_embeds_with_await(server: Server, served_encoder: Any) -> None:
    async def embed() -> list[float]:
        async with openai.DefaultAsyncHttpxClient() as transport:
            return await langchain_of(server.url, http_async_client=transport).aembed_query("noise")

    vector = asyncio.run(embed())
    np.testing.assert_allclose(vector, served_encoder.encode(["noise"], kind="query")[0], atol=1e-5)


@pytest.mark.usefixtures("unclosed")
def test_langchain_says_why_it_was_refused(server: Server) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="expected str of more than blanks"):
        langchain_of(server.url).embed_documents(["a", " "])
