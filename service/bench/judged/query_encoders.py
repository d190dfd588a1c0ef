"""What a fitted query encoder loses and saves on judged collections: nDCG@10 of both, and processor time of both.

Every collection in BEIR's shape under a folder is embedded and built once, by the commands a user would type. It is
judged twice over the same generation: by its fitted encoder with the way back to the model, and by the model alone.
Each judged query is then encoded alone by both, in turn, so that noise of the machine meets both. Where the build
left queries to the model, that is the figure: nothing lost, nothing saved.

Then `perwatt tune` tries all ways to search that the index has: those that nothing beats, from the cheapest on.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from embed.models.folder import DEFAULT_MODEL
from service.bench.judged.quality import perwatt

ROUNDS = 5
TARGETS = {"ndcg": 0.98, "cpu": 0.3, "fit": 0.25}


@click.command("queries")
@click.argument("data", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--only", multiple=True, help="These collections; default: every one with a qrels.tsv.")
@click.option("--query-loss", "loss", type=click.FloatRange(0, 1), default=0.02, show_default=True)
@click.option("--query-steps", "steps", type=click.IntRange(0), default=800, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), help="Keep what was built here.")
@click.option("--model", default=DEFAULT_MODEL, metavar="FOLDER|NAME", show_default=True, help="The whole model.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def bench_queries(
    data: Path, only: tuple[str, ...], loss: float, steps: int, work: Path | None, model: str, as_json: bool
) -> None:
    """What a fitted query encoder loses and saves on judged collections in DIR."""
    collections = [each for each in collections_in(data) if not only or each.name in only]
    if not collections:
        raise click.UsageError(f"no */qrels.tsv in {data}; expected collections in BEIR's shape")
    with tempfile.TemporaryDirectory() as scratch:
        for collection in collections:
            found = measured(collection, work or Path(scratch), loss, steps, model)
            if as_json:
                click.echo(json.dumps(found))
            else:
                click.echo(
                    f"{found['collection']:<12} nDCG@10 {found['ndcg_model']:.4f} → {found['ndcg_fitted']:.4f} "
                    f"({found['ndcg_ratio']:.3f})  {found['sent']:.0%} through the model  encoding CPU "
                    f"× {found['cpu']:.2f}  fit {found['fit_cpu_s']:.0f} s of CPU, corpus {found['corpus_cpu_s']:.0f} s"
                )


def collections_in(data: Path) -> list[Path]:
    return [path.parent for path in sorted(data.glob("*/qrels.tsv"))]


def measure() -> list[dict[str, Any]]:
    """One row a collection in $PERWATT_DATA, as `measured` has it."""
    collections = collections_in(Path(os.environ.get("PERWATT_DATA", "")))
    if not collections:
        raise SystemExit("No */qrels.tsv in $PERWATT_DATA; expected a folder of collections in BEIR's shape.")
    with tempfile.TemporaryDirectory() as scratch:
        return [measured(each, Path(scratch), 1 - TARGETS["ndcg"], 800) for each in collections]


def measured(collection: Path, work: Path, loss: float, steps: int, model: str = DEFAULT_MODEL) -> dict[str, Any]:
    """One row: nDCG@10 and processor time of the model and of what the generation uses, what the fit took, and the
    searches that no other one beats."""
    name, root = collection.name.replace("_", "-"), work / "indexes"
    vectors = work / collection.name
    started_s = _children_s()
    perwatt("embed", collection / "corpus.jsonl", "--out", vectors, "--model", model, "--quiet")
    corpus_cpu_s = _children_s() - started_s
    how = ("--query-encoder", "auto", "--query-loss", loss, "--query-steps", steps, "--family", "flat", "--json")
    built = json.loads(perwatt("build", vectors, "--index", name, "--root", root, "--model", model, *how))
    asked: tuple[object, ...] = (name, "--root", root, "--model", model, "--json")
    asked += ("--queries", collection / "queries.jsonl", "--qrels", collection / "qrels.tsv")
    judged: dict[str, float] = {}
    for encoder in ("model", "auto"):
        said = perwatt("eval", *asked, "--mode", "dense", "--query-encoder", encoder)
        judged[encoder] = json.loads(said)["modes"]["dense"]["ndcg@10"]
    entry = built["manifest"].get("query_encoder")
    cost = {"sent": 1.0, "cpu": 1.0}
    if entry is not None:
        cost = _cost(Path(built["path"]), built["manifest"], collection, model)
    return {
        "collection": collection.name,
        "ndcg_model": judged["model"],
        "ndcg_fitted": judged["auto"],
        "ndcg_ratio": judged["auto"] / judged["model"],
        **cost,
        "fit_cpu_s": 0.0 if entry is None else entry["fit_cpu_s"],
        "corpus_cpu_s": corpus_cpu_s,
        "query_encoder": entry,
        **_front(json.loads(perwatt("tune", *asked))),
    }


def _front(tuned: dict[str, Any]) -> dict[str, Any]:
    """Of the searches that were tried those that no other one beats, and which one is recommended."""
    return {
        "queries": tuned["queries"],
        "tried": len(tuned["corners"]),
        "front": [
            {
                "name": corner["name"],
                "ndcg": corner["ndcg"]["mean"],
                "loss": corner["loss"],
                "cpu_us": corner["cpu_us"]["mean"],
                "recommended": corner["name"] == tuned["recommended"]["name"],
            }
            for corner in tuned["corners"]
            if corner["front"]
        ],
    }


def _cost(generation: Path, manifest: dict[str, Any], collection: Path, name: str) -> dict[str, float]:
    """Share of the judged queries that went through the model, and processor time of all of them beside the model's."""
    from embed import load_encoder
    from embed.encoders.fitted.encoder import open_fitted

    judged = {line.split("\t")[0] for line in (collection / "qrels.tsv").read_text().splitlines()}
    queries = map(json.loads, (collection / "queries.jsonl").read_text().splitlines())
    texts = [query["text"] for query in queries if query["_id"] in judged]
    model = load_encoder(name, precision=manifest["model"]["precision"], threads=1)
    fitted = open_fitted(generation, manifest["query_encoder"], model)
    spent = {"model": 0.0, "fitted": 0.0}
    sent = 0
    for round_ in range(ROUNDS + 1):  # the first one warms up
        for text in texts:
            start_s = time.thread_time()
            model.encode([text], "query")
            between_s = time.thread_time()
            if fitted.encode(text) is None:
                sent += round_ > 0
                model.encode([text], "query")
            end_s = time.thread_time()
            if round_:
                spent["model"] += between_s - start_s
                spent["fitted"] += end_s - between_s
    model.close()
    return {"sent": sent / (ROUNDS * len(texts)), "cpu": spent["fitted"] / spent["model"]}


def _children_s() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
