"""A job weighs documents by a sparse model as a build does, and says at once where that is not to be had."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from encoder_server import EncoderServer, encoder_server
from running_jobs import documents, made, planned, ran_here
from sparse_models import tiny_masked_model

from deploy.command import perwatt
from deploy.jobs.work import work
from embed.errors import ModelError
from index.build.rows.remembered import RememberedSparse

OPTIONS = ("--shards", 2, "--filterable", "year:int")
WORDS = {"bread": 5.5, "rye": 4.25, "search": 3.0, "key": 2.5, "cost": 2.0, "index": 1.5}


@pytest.fixture(scope="module")
def server() -> Iterator[EncoderServer]:
    with encoder_server() as running:
        yield running


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return documents(tmp_path_factory.mktemp("docs") / "docs.jsonl", 120)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_masked_model(tmp_path_factory.mktemp("model") / "tiny", WORDS)


@pytest.fixture(scope="module")
def weighed(docs: Path, server: EncoderServer, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a job with weights that has run."""
    folder = tmp_path_factory.mktemp("weighed")
    assert len(ran_here(planned(docs, folder, server.url, *OPTIONS, "--sparse", model))) > 4
    return folder


def perwatt_says(*words: object) -> Any:
    ran = CliRunner().invoke(perwatt, [*map(str, words), "--json"], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def test_shards_of_a_job_are_those_of_a_build_and_rank_as_one_index(
    docs: Path, server: EncoderServer, model: Path, weighed: Path, tmp_path: Path
) -> None:
    CliRunner().invoke(perwatt, ["embed", str(docs), "--out", str(tmp_path / "v"), "--encoder", server.url])
    build = ("build", tmp_path / "v", "--index", "docs", "--filterable", "year:int", "--sparse", model)
    perwatt_says(*build, "--root", tmp_path / "i", "--shards", 2)
    perwatt_says(*build, "--root", tmp_path / "one")
    ours = made(weighed)
    assert ours == made(tmp_path)
    assert len(ours) == 2
    assert all("sparse/postings.u16" in each["files"] for each in ours.values())
    asked = ("search", "docs", "rye bread and a key", "--mode", "sparse", "--k", 50, "--encoder", server.url)
    kept = ("--filter", '{"field": "year", "gte": 1993}')
    for more in ((), kept):
        hits = [perwatt_says(*asked, *more, "--root", root)["hits"] for root in (weighed / "i", tmp_path / "one")]
        assert hits[0] == hits[1]
        assert len(hits[0]) > 30


def test_the_next_job_goes_on_with_the_model_and_weighs_only_what_is_new(
    docs: Path, server: EncoderServer, model: Path, weighed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(weighed, tmp_path, dirs_exist_ok=True)
    longer = tmp_path / "docs.jsonl"
    longer.write_text(docs.read_text() + '{"id": "new", "text": "a key of rye"}\n')
    fresh: list[tuple[str, str]] = []
    weigh = RememberedSparse.impacts

    def watched(self: RememberedSparse, given: Any) -> Any:
        real = self._model.impacts
        self._model.impacts = lambda new: fresh.extend(new) or real(new)  # type: ignore[method-assign, func-returns-value]
        try:
            return weigh(self, given)
        finally:
            self._model.impacts = real  # type: ignore[method-assign]

    monkeypatch.setattr(RememberedSparse, "impacts", watched)
    job = planned(longer, tmp_path, server.url, *OPTIONS)
    ran_here(job)
    assert fresh == [("", "a key of rye")]
    assert all(each["sparse"]["from"] == str(model) for each in made(tmp_path).values())
    ran_here(planned(longer, tmp_path, server.url, *OPTIONS, "--sparse", "none"))
    assert job.index.generation().content["count"] == 121
    current = job.index.alias().generation
    paths = (tmp_path / "i").glob(f"docs.shards/*-of-*/docs/{current}/manifest.json")
    assert ["sparse" in json.loads(path.read_bytes()) for path in paths] == [False, False]


def test_a_model_that_is_gone_is_told_when_the_job_is_planned_and_another_one_by_who_builds(
    docs: Path, server: EncoderServer, model: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(model, tmp_path / "model"))
    with pytest.raises(ModelError, match="no-such-model"):
        planned(docs, tmp_path, server.url, *OPTIONS, "--sparse", tmp_path / "no-such-model")
    job = planned(docs, tmp_path, server.url, *OPTIONS, "--sparse", own)
    for task in range(job.tasks("embed")):
        work(job.folder, "embed", task, 1)
    (own / "idf.json").write_text(json.dumps(WORDS | {"rye": 1.0}))
    with pytest.raises(ModelError, match="is not the sparse model that it was"):
        work(job.folder, "build", 0, 1)
    (own / "idf.json").write_text(json.dumps(WORDS))
    ran_here(job)
    own.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=r"served generation has sparse weights of .*--sparse none"):
        planned(docs, tmp_path, server.url, *OPTIONS)
