"""`perwatt search` and `perwatt eval`, in this process and against a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import write_jsonl
from indexing import clustered, write_vectors_folder
from serving import ARTICLES, HOSTILE, Server, build_docs

from index import VectorsFolder, build_generation
from index.build.sharded import build_sharded
from service.cli import searching
from service.cli.terminal import title_and_text
from service.errors import RemoteError, ServiceError, SettingsError
from service.processes.loading import load
from service.settings import Settings

pytest_plugins = ["serving_fixtures"]


def run(command: Any, *arguments: str | Path) -> Result:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_search_prints_score_id_title_and_text(root: Path) -> None:
    result = run(searching.search, "docs", "swapping an old secret token for a new one", "--k", "2", "--root", root)
    assert result.exit_code == 0
    first, *text = result.output.splitlines()
    score, id_, title = first.split(maxsplit=2)
    assert (id_, title) == ("a00", "Rotating an API key")
    assert 0 < float(score) <= 1
    assert text[0].strip() == ARTICLES[0][1]


def test_a_server_gives_what_the_files_give(root: Path, server: Server) -> None:
    for arguments in (("--k", "5"), ("--exact",), ("--effort", "3", "--k", "1000")):
        here = run(searching.search, "docs", "volcano", "--root", root, "--json", *arguments)
        there = run(searching.search, "docs", "volcano", "--url", server.url, "--json", *arguments)
        first, second = json.loads(here.output), json.loads(there.output)
        assert first["generation"] == second["generation"]
        assert [hit["id"] for hit in first["hits"]] == [hit["id"] for hit in second["hits"]]
        assert [hit["payload"] for hit in first["hits"]] == [hit["payload"] for hit in second["hits"]]
        np.testing.assert_allclose(
            [hit["score"] for hit in first["hits"]], [hit["score"] for hit in second["hits"]], atol=1e-5
        )


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
@pytest.mark.parametrize("there", [False, True], ids=["files", "server"])
def test_a_filter_keeps_what_it_says_in_every_mode(root: Path, server: Server, mode: str, there: bool) -> None:
    place = ("--url", server.url) if there else ("--root", str(root))
    asked = json.dumps({"field": "words", "gte": 12})
    result = run(
        searching.search, "docs", "rain in winter", "--mode", mode, "--filter", asked, "--k", "50", "--json", *place
    )
    hits = json.loads(result.output)["hits"]
    kept = {f"a{at:02}" for at, (_, text, _) in enumerate(ARTICLES) if len(text.split()) >= 12}
    found = {hit["id"] for hit in hits}
    assert found
    assert found == kept if mode == "dense" else found <= kept
    nothing = run(searching.search, "docs", "rain", "--mode", mode, "--filter", '{"field": "words", "lt": 0}', *place)
    assert nothing.stdout == ""
    assert nothing.stderr == "no hits\n"


@pytest.mark.parametrize("there", [False, True], ids=["files", "server"])
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("",), '/text is "": expected str of more than blanks'),
        (("  ",), '/text is "  ": expected str of more than blanks'),
        (("a" * 8193,), "of length 8,193: expected str of length <= 8192"),
        (("x", "--filter", '{"field": "words", "gte": 5, "lt": 4}'), "gte 5 is above lt 4"),
        (("x", "--filter", '{"field": "words", "eq": "5"}'), "compared with an integer of 64 bits"),
        (("x", "--filter", '{"field": "lang", "eq": "en"}'), r"ield 'lang' was not declared .*words \(int\)"),
        (("x", "--filter", '{"xor": []}'), "here is no 'xor' in a filter"),
        (("x", "--effort", "99999"), "/params/effort is 99999: expected int <= 65536"),
    ],
)
def test_what_the_api_refuses_is_refused_here_too(
    root: Path, server: Server, arguments: tuple[str, ...], complaint: str, there: bool
) -> None:
    place = ("--url", server.url) if there else ("--root", str(root))
    with pytest.raises(ServiceError, match=complaint):
        run(searching.search, "docs", *arguments, *place)


@pytest.mark.parametrize("there", [False, True], ids=["files", "server"])
def test_a_vector_is_searched_from_a_file(root: Path, server: Server, tmp_path: Path, there: bool) -> None:
    vectors = np.random.default_rng(3).standard_normal((500, 8), np.float32)
    np.save(tmp_path / "query.npy", vectors[[42]])
    place = ("--url", server.url) if there else ("--root", str(root))
    result = run(searching.search, "bare", "--vector", tmp_path / "query.npy", "--json", "--k", "1", *place)
    [hit] = json.loads(result.output)["hits"]
    assert hit["id"] == "42"
    assert hit["score"] == pytest.approx(0.0, abs=1e-4)


def test_a_terminal_is_not_steered_by_a_payload() -> None:
    title, text = title_and_text({"title": "a\x1b[31mb\r\nc", "text": "\x07 d\u202ee"})
    assert (title, text) == ("a[31mb c", "de")
    assert title_and_text({"title": HOSTILE})[0] == HOSTILE
    assert title_and_text({"notes": "long enough to be the text", "n": 3}) == ("", "long enough to be the text")


@pytest.mark.parametrize(
    ("arguments", "error", "complaint"),
    [
        (("nowhere", "x"), SettingsError, "no index 'nowhere'"),
        (("bare", "x"), ServiceError, "--vector FILE.npy"),
        (("docs", "x", "--url", "127.0.0.1:8000"), SettingsError, "expected an address like http://"),
        (("docs", "x", "--url", "http://127.0.0.1:9"), RemoteError, "is `perwatt serve` running there"),
    ],
)
def test_what_cannot_be_searched_is_said(
    root: Path, arguments: tuple[str, ...], error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        run(searching.search, *arguments, "--root", root)


def test_a_vector_of_another_dimension_is_said(root: Path, server: Server, tmp_path: Path) -> None:
    np.save(tmp_path / "query.npy", np.ones(9, np.float32))
    with pytest.raises(ServiceError, match=r"\(q, 8\)"):
        run(searching.search, "bare", "--vector", tmp_path / "query.npy", "--root", root)
    with pytest.raises(RemoteError, match="8 dimensions, the vector has 9"):
        run(searching.search, "bare", "--vector", tmp_path / "query.npy", "--url", server.url)


@pytest.mark.parametrize(
    "arguments",
    [
        ("docs",),
        ("docs", "x", "--vector", "pyproject.toml"),
        ("docs", "x", "--k", "0"),
        ("docs", "x", "--filter", "words > 3"),
        ("docs", "x", "--filter", "[]"),
        ("docs", "x", "--mode", "rare"),
    ],
)
def test_wrong_usage_is_shown_as_usage(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(searching.search, arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.output


def judged(folder: Path) -> tuple[str, Path, str, Path]:
    """Each article asked for by its title, with a second document judged relevant for one of them."""
    queries = [{"_id": f"q{at}", "text": title} for at, (title, _, _) in enumerate(ARTICLES)]
    write_jsonl(folder / "queries.jsonl", [*queries, {"_id": "unjudged", "text": "x"}])
    lines = [f"q{at}\ta{at:02}\t1" for at in range(len(ARTICLES))]
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines, "q0\tnobody\t1"]) + "\n")
    return "--queries", folder / "queries.jsonl", "--qrels", folder / "qrels.tsv"


@pytest.mark.parametrize("there", [False, True], ids=["files", "server"])
def test_eval_scores_an_index(root: Path, server: Server, tmp_path: Path, there: bool) -> None:
    place = ("--url", server.url) if there else ("--root", str(root))
    files = judged(tmp_path)
    report = json.loads(run(searching.evaluate, "docs", *files, *place, "--json").output)
    # Every article is found first by its title; the one judged document that is not there costs its share.
    ideal = 1 + 1 / np.log2(3)
    assert report["ndcg@10"] == pytest.approx((19 + 1 / ideal) / 20)
    assert report["recall@10"] == report["recall@100"] == pytest.approx(19.5 / 20)
    assert list(report["modes"]) == ["dense", "lexical", "hybrid"]
    assert all(figures["mrr@10"] == 1.0 for figures in report["modes"].values())
    only = json.loads(run(searching.evaluate, "docs", *files, *place, "--json", "--mode", "lexical").output)
    assert only["modes"] == {"lexical": report["modes"]["lexical"]}
    assert (report["mrr@10"], report["queries"], report["without_judgements"]) == (1.0, 20, 1)

    readable = run(searching.evaluate, "docs", *files, *place, "--k", "5", "--exact").output
    for line in (
        "20 judged queries",
        "ndcg@5",
        "mrr@5        1.00000  1.00000  1.00000",
        "recall@5",
        "1 queries have no judgement",
        "1 of 21 relevant documents are not in the index and count as not found: 'nobody'.",
    ):
        assert line in readable


@pytest.mark.parametrize("there", [False, True], ids=["files", "server"])
def test_eval_keeps_documents_that_are_numbered_as_the_queries_are(
    root: Path, server: Server, tmp_path: Path, there: bool
) -> None:
    place = ("--url", server.url) if there else ("--root", str(root))
    write_jsonl(tmp_path / "queries.jsonl", [{"_id": "a00", "text": ARTICLES[0][0]}])
    (tmp_path / "qrels.tsv").write_text("a00\ta00\t1\n")
    files = ("--queries", tmp_path / "queries.jsonl", "--qrels", tmp_path / "qrels.tsv")
    kept = run(searching.evaluate, "docs", *files, *place).output
    assert "ndcg@10      1.00000" in kept
    assert "1 queries found a document of their own id; it counts like any other." in kept
    dropped = run(searching.evaluate, "docs", *files, *place, "--drop-same-id").output
    assert "ndcg@10      0.00000" in dropped
    assert "Hits with the id of their query were dropped: 1 queries had one." in dropped


@pytest.mark.parametrize("there", [False, True], ids=["files", "server"])
def test_judgements_of_another_collection_are_refused_with_examples(
    root: Path, server: Server, tmp_path: Path, there: bool
) -> None:
    place = ("--url", server.url) if there else ("--root", str(root))
    write_jsonl(tmp_path / "queries.jsonl", [{"_id": "1", "text": "rain"}])
    (tmp_path / "qrels.tsv").write_text("".join(f"1\tMED-{at}/ü\t1\n" for at in range(5)) + "1\ta00\t0\n")
    files = ("--queries", tmp_path / "queries.jsonl", "--qrels", tmp_path / "qrels.tsv")
    result = run(searching.evaluate, "docs", *files, *place)
    assert result.exit_code == 2
    assert result.stdout == ""
    said = " ".join(result.stderr.split())
    assert "none of the 5 relevant documents of" in said
    assert "they are 'MED-0/ü', 'MED-1/ü', 'MED-2/ü' …, and it has 'a00', 'a01'" in said


def test_eval_folds_chunks_to_documents(own_root: Path, tmp_path: Path, served_encoder: Any) -> None:
    texts = [text for title, text, _ in ARTICLES for text in (title, text, f"{title} {text}")]
    ids = [f"a{at // 3:02}#{at % 3}" for at in range(len(texts))]
    payload = [
        {"doc_id": id_.split("#")[0], "chunk": int(id_[-1]), "text": text} for id_, text in zip(ids, texts, strict=True)
    ]
    build_generation(
        served_encoder.encode(texts),
        ids,
        root=own_root,
        name="chunks",
        payload=payload,
        model=served_encoder.fingerprint.as_dict(),
    )
    report = json.loads(
        run(
            searching.evaluate, "chunks", *judged(tmp_path), "--root", own_root, "--k", "1", "--k", "19", "--json"
        ).output
    )
    assert (report["ndcg@1"], report["recall@19"]) == (1.0, 19.5 / 20)
    assert (report["relevant_documents"], report["absent_documents"]) == (21, 1)


def test_scifact_gives_the_published_figure(data_folder: Path, tmp_path: Path, served_encoder: Any) -> None:
    """nDCG@10 0.64508 and recall@100 0.92500: MTEB's results for all-MiniLM-L6-v2, exact, title + text."""
    corpus = [json.loads(line) for line in (data_folder / "scifact" / "corpus.jsonl").read_text().splitlines()]
    texts = [f"{row['title']} {row['text']}".strip() for row in corpus]
    build_generation(
        served_encoder.encode(texts),
        [row["_id"] for row in corpus],
        root=tmp_path,
        name="scifact",
        family="graph",
        model=served_encoder.fingerprint.as_dict(),
    )
    qrels = next((data_folder / "scifact").rglob("*.tsv"))
    files = ("--queries", data_folder / "scifact" / "queries.jsonl", "--qrels", qrels)
    exact = json.loads(run(searching.evaluate, "scifact", *files, "--root", tmp_path, "--exact", "--json").output)
    assert exact["queries"] == 300
    assert exact["ndcg@10"] == pytest.approx(0.64508, abs=0.0005)
    assert exact["recall@100"] == pytest.approx(0.92500, abs=0.0005)
    walked = json.loads(run(searching.evaluate, "scifact", *files, "--root", tmp_path, "--json").output)
    assert walked["ndcg@10"] == pytest.approx(exact["ndcg@10"], abs=0.003)


def test_a_model_that_does_not_fit_is_refused_here_as_by_a_server(own_root: Path, served_encoder: Any) -> None:
    model = {**served_encoder.fingerprint.as_dict(), "id": "sha256:" + "1" * 64}
    build_docs(own_root, served_encoder, model=model)
    with pytest.raises(ServiceError, match="holds vectors of all-MiniLM-L6-v2"):
        run(searching.search, "docs", "x", "--root", own_root)


def test_a_local_model_has_to_be_named(own_root: Path, served_encoder: Any) -> None:
    build_docs(own_root, served_encoder, model={**served_encoder.fingerprint.as_dict(), "name": "my-model"})
    with pytest.raises(SettingsError, match="--model FOLDER"):
        run(searching.search, "docs", "x", "--root", own_root)


def test_a_key_that_cannot_be_sent_is_wrong_usage() -> None:
    for command in (searching.search, searching.evaluate):
        result = CliRunner().invoke(command, ["docs", "--url", "http://127.0.0.1:1", "--key", "schlüssel"])
        assert result.exit_code == 2
        assert "characters that no key has" in result.output


def test_an_index_in_shards_is_searched_and_scored_as_one_and_a_server_says_how_it_is_served(tmp_path: Path) -> None:
    ids = [f"d{row:02}" for row in range(60)]
    payload = [{"text": f"water {('bread', 'sun', 'moon')[row % 3]} {row}"} for row in range(60)]
    folder = write_vectors_folder(tmp_path / "v", ids, clustered(60, 8), payload, bare=True)
    build_sharded(VectorsFolder(folder), 3, root=tmp_path / "many", name="docs")
    build_generation(VectorsFolder(folder), root=tmp_path / "one", name="docs")
    np.save(tmp_path / "query.npy", clustered(1, 8, seed=4)[0])
    (tmp_path / "qrels.tsv").write_text("q\td\ts\na\td00\t1\na\td03\t2\n")
    queries = write_jsonl(tmp_path / "queries.jsonl", [{"_id": "a", "text": "bread"}])
    found = []
    for root in (tmp_path / "many", tmp_path / "one"):
        asked = ("docs", "--vector", tmp_path / "query.npy", "--root", root, "--exact", "--json", "--k", "20")
        judged = ("docs", "--queries", queries, "--qrels", tmp_path / "qrels.tsv", "--root", root, "--mode", "lexical")
        hits = json.loads(run(searching.search, *asked).output)["hits"]
        found.append(
            (hits, json.loads(run(searching.evaluate, *judged, "--json").output)["modes"]["lexical"]["recall@100"])
        )
    assert found[0] == found[1]
    assert (len(found[0][0]), found[0][1]) == (20, 1.0)
    for names in ((), ("docs",)):
        with pytest.raises(SettingsError, match=r"has 3 shards, and a server answers for one of them.*perwatt route"):
            load(Settings(root=tmp_path / "many", names=names))
