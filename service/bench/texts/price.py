"""What a text costs beside its vector, over HTTP: by the whole model, by what the build chose, and where texts repeat.

One server on one core is asked for the same queries as vectors and as texts, in turns with servers of the same index
that encode otherwise, over as many connections as `perwatt bench http` has. What counts is the kernel's count of a
server's processor time. No query cache is there but in the row that says so, where texts are drawn by a Zipf law: its
share of hits is beside it, and each round draws anew. Units of weaker processors run on this one, which says what they
execute and not how fast another machine does it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from embed.encoders.contract import Encoder
from embed.kernels import unit_in_use, units
from embed.models.folder import DEFAULT_MODEL
from index.disk.manifest import read_manifest
from index.disk.root import Root
from loadtest.workload.requests import popularity
from service.bench import contenders
from service.bench.load import wire_of
from service.bench.process import Server
from service.bench.texts import corpus as texts_of
from service.bench.texts.corpus import NAME, PATH, Corpus

K, CONNECTIONS, EXPONENT, DRAWN, DISTINCT = 10, 16, 1.0, 20_000, 5_000
# Times the processor time of the same query as a vector in JSON, for a processor without AMX.
TARGETS = {"model": 4.0, "auto": 2.0, "fitted": 1.2}


class ServedWay(NamedTuple):
    """
    Args:
        options: Of `perwatt serve`.
        cached: Whether it keeps vectors of texts seen before.
    """

    name: str
    options: tuple[str, ...]
    cached: bool = False


MODEL = ServedWay("model", ("--query-encoder", "model"))
AUTO = ServedWay("auto", ())
REPEATED = ServedWay("repeated", (), True)


# Whose figures are published: the best of this processor, and of others without its tiles.
PUBLISHED = ("avx512amx", "avx512vnni", "avx2", "i8mm", "neondot")


def measure_both(work: Path) -> list[dict[str, Any]]:
    """Of docstrings, and of questions to a collection in $PERWATT_DATA that `auto` does not leave to the model."""
    judged = Path(os.environ.get("PERWATT_DATA", "")) / "xquad_en"
    asked = [unit for unit in units() if unit in PUBLISHED]
    both: list[tuple[Path | None, Path | None]] = [(None, None)]
    if judged.is_dir():
        both.append((judged / "corpus.jsonl", judged / "queries.jsonl"))
    return [
        measure(*files, units_asked=asked, work=work / ("docstrings" if files[0] is None else judged.name))
        for files in both
    ]


def measure(
    texts: Path | None = None,
    queries: Path | None = None,
    rows: int = 20_000,
    rounds: int = 5,
    seconds: float = 2.0,
    units_asked: Sequence[str] = (),
    build: Sequence[str] = ("--query-encoder", "auto"),
    model: str = DEFAULT_MODEL,
    work: Path | None = None,
) -> dict[str, Any]:
    """{"units": one of each unit, …}; microseconds of processor time a request, and times those of the vector.

    Args:
        texts: JSON Lines of documents; by default docstrings of what is installed here.
        queries: JSON Lines of what is asked; by default the first words of texts that are left out.
        units_asked: Of the kernels; by default the best of this processor.
        build: Options of `perwatt build`.
        work: Keeps what was built.
    """
    if unknown := set(units_asked) - set(units()):
        raise click.ClickException(f"{', '.join(sorted(unknown))}: this processor has {', '.join(units())}.")
    busy = os.getloadavg()[0]
    with ExitStack() as stack:
        place = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perwatt-bench-")))
        corpus = texts_of.read(texts, rows, queries)
        texts_of.build(corpus, place, *("--model", model, *build), model=model)
        manifest = read_manifest(Root(place / "indexes").path(NAME))
        return {
            "texts": texts.parent.name if texts and queries else corpus.name,
            "rows": len(corpus.documents),
            "queries": len(corpus.queries),
            "dim": manifest["dim"],
            "k": K,
            "rounds": rounds,
            "popularity": f"zipf:{EXPONENT:g}",
            "machine": {"load_average": round(busy, 1)},
            "query_encoder": manifest.get("query_encoder"),
            "units": [_of_unit(unit, place, corpus, rounds, seconds, model) for unit in units_asked or [unit_in_use()]],
        }


def _of_unit(unit: str, place: Path, corpus: Corpus, rounds: int, seconds: float, model: str) -> dict[str, Any]:
    from embed import load_encoder

    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        encoder = load_encoder(model)
        stack.callback(encoder.close)
        vectors, base64s = _as_vectors(encoder, corpus.queries)
        asked: dict[str, _AskedServer] = {}
        for way in (MODEL, AUTO, REPEATED):
            words = ["serve", "--root", place / "indexes", "--model", model, *way.options]
            server, port = contenders.command(
                stack, f"perwatt, {way.name}", words, str(cores[0]), way.cached, {"PERWATT_ISA": unit}
            )
            asked[way.name] = _AskedServer(server, port)
        said = [_body({"text": text}) for text in corpus.queries]
        fitted = [body for body in said if asked["auto"].answer(body)["usage"]["encoder"] == "fitted"]
        bodies = {
            "vector": ("model", vectors),
            "base64": ("model", base64s),
            "model": ("model", said),
            "auto": ("auto", said),
        }
        if fitted:
            bodies["fitted"] = ("auto", fitted)
        found: list[dict[str, float]] = []
        for round_ in range(rounds + 1):  # the first one warms up
            one = {name: asked[way].cpu_us(each, seconds) for name, (way, each) in bodies.items()}
            one["repeated"] = asked["repeated"].cpu_us(drawn(corpus, round_), seconds)
            found.append(one)
        found = found[1:]
        spent = {name: round(statistics.median(one[name] for one in found), 1) for name in found[0]}
        click.echo(f"{unit}: " + ", ".join(f"{name} {us:,.0f} µs" for name, us in spent.items()), err=True)
        return {
            "unit": unit,
            "us": spent,
            "times": {name: round(statistics.median(one[name] / one["vector"] for one in found), 3) for name in spent},
            "fitted_share": round(len(fitted) / len(said), 3),
            "hit_share": round(asked["repeated"].hit_share(), 3),
        }


def _body(query: dict[str, Any]) -> str:
    return json.dumps(query | {"k": K, "mode": "dense", "params": {"effort": "target"}})


def _as_vectors(encoder: Encoder, queries: Sequence[str]) -> tuple[list[str], list[str]]:
    """Bodies of the same searches by vector, as JSON and as base64."""
    vectors = encoder.encode(list(queries), "query").astype(np.float64).round(8).tolist()
    as_json = [_body({"vector": vector}) for vector in vectors]
    return as_json, [_body({"vector": contenders.packed(vector)}) for vector in vectors]


def drawn(corpus: Corpus, seed: int) -> list[str]:
    """Bodies of searches for spans of documents, of which the one of rank r is asked as often as r to the −EXPONENT."""
    random = np.random.default_rng(7)
    spans = []
    for number in random.permutation(len(corpus.documents))[:DISTINCT].tolist():
        words = json.loads(corpus.documents[number])["text"].split()
        start = int(random.integers(max(1, len(words) - texts_of.WORDS + 1)))
        spans.append(_body({"text": " ".join(words[start : start + texts_of.WORDS]) or "nothing"}))
    places = popularity(f"zipf:{EXPONENT:g}", len(spans))
    chosen = np.searchsorted(places, np.random.default_rng(seed).random(DRAWN), side="right")
    return [spans[at] for at in chosen.tolist()]


class _AskedServer:
    """A server, asked over CONNECTIONS at once, each of which sends when its last answer is there."""

    def __init__(self, server: Server, port: int) -> None:
        self._server, self._port = server, port

    def answer(self, body: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(contenders.call(self._port, "POST", PATH, body))
        return found

    def cpu_us(self, bodies: Sequence[str], seconds: float) -> float:
        """Processor time of a request, of as many as fit: in their order, round and round."""
        asked = itertools.cycle([wire_of(self._port, PATH, body).encode() for body in bodies])
        before_s, count, spent_s = self._server.cpu_s(), 0, 0.0
        while not count or spent_s <= 0:  # it is counted in hundredths of a second
            count += asyncio.run(self._asked(asked, time.monotonic() + seconds))
            spent_s = self._server.cpu_s() - before_s
        return spent_s / count * 1e6

    async def _asked(self, wires: Iterator[bytes], end_s: float) -> int:
        async def connection() -> int:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            done = 0
            while time.monotonic() < end_s:
                writer.write(next(wires))
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length:")[2].split(None, 1)[0])
                said = await reader.readexactly(size)
                if not head.startswith(b"HTTP/1.1 200"):
                    raise click.ClickException(f"{self._server.name} answered {said.decode()}")
                done += 1
            writer.close()
            await writer.wait_closed()
            return done

        return sum(await asyncio.gather(*(connection() for _ in range(CONNECTIONS))))

    def hit_share(self) -> float:
        """Of the texts that were looked up so far."""
        lines = contenders.call(self._port, "GET", "/metrics").splitlines()
        hits, misses = (
            sum(float(line.split()[-1]) for line in lines if line.startswith(f"perwatt_query_cache_{name}_total"))
            for name in ("hits", "misses")
        )
        return hits / (hits + misses) if hits + misses else 0.0


@click.command("text")
@click.option(
    "--texts", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON Lines.  [default: docstrings]"
)
@click.option(
    "--queries", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON Lines of what is asked.  [default: first words of other texts]",
)  # fmt: skip
@click.option("--rows", type=click.IntRange(min=100), default=20_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(min=0.05), default=2.0, show_default=True, help="Of each part of a round."
)
@click.option("--unit", "units_asked", multiple=True, help="Of the kernels; repeat.  [default: this processor's best]")
@click.option("--model", default=DEFAULT_MODEL, metavar="FOLDER|NAME", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), help="Keep what was built here.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def bench_text(as_json: bool, **options: Any) -> None:
    """What a text costs beside its vector, by each encoder of queries and where texts repeat."""
    figures = measure(**options)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
        return
    for unit in figures["units"]:
        click.echo(
            f"{unit['unit']}: {unit['fitted_share']:.0%} of the texts by the fitted encoder; where they repeat, "
            f"{unit['hit_share']:.0%} were seen before"
        )
        for name, us in unit["us"].items():
            click.echo(f"  {name:<10}{us:>9,.0f} µs  {unit['times'][name]:>6.2f} × the vector")
