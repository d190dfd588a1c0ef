"""What a hybrid search costs beside the two searches it is made of, and what words cost beside bare tantivy.

By HTTP, one server on one core is asked in turns for the same texts by vector, by words, and by both, through filters
that keep a share of the rows. Texts were all seen before, so that no time goes into encoding them, which the three
would share. What counts is the kernel's count of processor time.

Words are also searched without HTTP, beside an index of tantivy's own: the same words of the same texts, one integer
for the filter, one segment, and the query as tantivy's documentation builds it.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from index import open_generation
from index.disk.root import Root
from index.search.filtering import parse
from index.search.generation import Generation
from index.search.lexical.text import analyser
from service.bench import contenders, load
from service.bench.process import Server
from service.bench.texts.corpus import NAME, PARTS, PATH, Corpus, build, read

K = 10
SHARES = (1.0, 0.6, 0.2, 0.01)
MODES = ("dense", "lexical", "hybrid")
TARGETS = {"hybrid": 1.3, "words": 1.2}


def measure(
    texts: Path | None = None, rows: int = 50_000, rounds: int = 5, seconds: int = 2, work: Path | None = None
) -> dict[str, Any]:
    """{"shares": one of each share that survives, …}; microseconds of processor time a search, and their ratios.

    Args:
        texts: JSON Lines of documents; by default docstrings of what is installed here.
        work: keeps what was built.
    """
    load.wrk_version()
    busy = os.getloadavg()[0]
    with ExitStack() as stack:
        place = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perwatt-bench-")))
        corpus = read(texts, rows)
        build(corpus, place)
        cores = sorted(os.sched_getaffinity(0))
        words = ["serve", "--root", place / "indexes"]
        server, port = contenders.command(stack, "perwatt", words, str(cores[0]), query_cache=True)
        asked = {
            share: by_http(place, server, port, corpus, share, rounds, seconds, str(cores[-1])) for share in SHARES
        }
        server.stop()
        with open_generation(Root(place / "indexes").path(NAME), threads=1) as opened:
            bare = BareTantivy(corpus, place)
            bare_us = {share: by_words(opened, bare, corpus.queries, share, rounds) for share in SHARES}
        return {
            "texts": corpus.name,
            "rows": len(corpus.documents),
            "queries": len(corpus.queries),
            "k": K,
            "rounds": rounds,
            "machine": {"load_average": round(busy, 1)},
            "shares": [{"share": share, **asked[share], **bare_us[share]} for share in SHARES],
        }


def kept_by(share: float) -> dict[str, Any] | None:
    """The filter that keeps such a share."""
    return None if share == 1.0 else {"field": "part", "lt": round(share * PARTS)}


def by_http(
    place: Path, server: Server, port: int, corpus: Corpus, share: float, rounds: int, seconds: int, load_core: str
) -> dict[str, float]:
    filter_ = kept_by(share)
    more = {"k": K} if filter_ is None else {"k": K, "filter": filter_}
    bodies = {mode: [json.dumps({"text": text, "mode": mode, **more}) for text in corpus.queries] for mode in MODES}

    def round_() -> dict[str, load.Round]:
        return {mode: load.wrk(place, server, port, PATH, bodies[mode], seconds, 1, load_core) for mode in MODES}

    for body in bodies["dense"]:  # so every text is encoded, and the filter's rows are known
        contenders.call(port, "POST", PATH, body)
    round_()
    found = [round_() for _ in range(rounds)]
    spent = {mode: statistics.median(each[mode]["cpu_us"] for each in found) for mode in MODES}
    ratios = [each["hybrid"]["cpu_us"] / (each["dense"]["cpu_us"] + each["lexical"]["cpu_us"]) for each in found]
    click.echo(f"{share:.0%} survive: " + ", ".join(f"{mode} {us:,.0f} µs" for mode, us in spent.items()), err=True)
    return {f"{mode}_us": round(us, 1) for mode, us in spent.items()} | {"hybrid": round(statistics.median(ratios), 3)}


class BareTantivy:
    """An index of the same words and parts, as tantivy's own documentation makes and asks one."""

    def __init__(self, corpus: Corpus, place: Path) -> None:
        import tantivy

        folder, self._tantivy = place / "tantivy", tantivy
        made = not folder.exists()
        folder.mkdir(exist_ok=True)
        schema = tantivy.SchemaBuilder()
        schema.add_text_field("words", tokenizer_name="stemmed", index_option="freq")
        schema.add_integer_field("part", indexed=True, fast=True)
        self._schema = schema.build()
        index = tantivy.Index(self._schema, str(folder))
        self._analyser = analyser("english")
        index.register_tokenizer("stemmed", self._analyser)
        if made:
            writer = index.writer(heap_size=512 << 20, num_threads=1)
            for document in map(json.loads, corpus.documents):
                text = f"{document.get('title') or ''}\n{document['text']}"
                writer.add_document(tantivy.Document(words=text, part=document["part"]))
            writer.commit()
            writer.wait_merging_threads()
        index.reload()
        self._searcher = index.searcher()

    def search(self, text: str, share: float) -> list[Any]:
        tantivy = self._tantivy
        terms = [
            tantivy.Query.boost_query(tantivy.Query.term_query(self._schema, "words", word, "freq"), float(times))
            for word, times in Counter(self._analyser.analyze(text)).items()
        ]
        query = tantivy.Query.boolean_query([(tantivy.Occur.Should, term) for term in terms])
        if share < 1.0:
            integer, most = tantivy.FieldType.Integer, round(share * PARTS)
            there = tantivy.Query.range_query(self._schema, "part", integer, None, most, True, False)
            silent = tantivy.Query.const_score_query(there, 0.0)
            query = tantivy.Query.boolean_query([(tantivy.Occur.Must, query), (tantivy.Occur.Must, silent)])
        return list(self._searcher.search(query, K, count=False).hits)


def by_words(
    opened: Generation, bare: BareTantivy, queries: Sequence[str], share: float, rounds: int
) -> dict[str, float]:
    filter_ = parse(kept_by(share)) if share < 1.0 else None

    def ours(text: str) -> None:
        opened.search_words(text, K, filter_)

    def theirs(text: str) -> None:
        bare.search(text, share)

    both = [(spent_us(ours, queries), spent_us(theirs, queries)) for _ in range(rounds + 1)][1:]
    ratio = statistics.median(mine / other for mine, other in both)
    return {
        "words_us": round(statistics.median(mine for mine, _ in both), 1),
        "tantivy_us": round(statistics.median(other for _, other in both), 1),
        "words": round(ratio, 3),
    }


def spent_us(search: Callable[[str], None], queries: Sequence[str]) -> float:
    """Of this process, a query on average."""
    start_s = time.process_time()
    for text in queries:
        search(text)
    return (time.process_time() - start_s) / len(queries) * 1e6


@click.command("hybrid")
@click.option(
    "--texts", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON Lines.  [default: docstrings]"
)
@click.option("--rows", type=click.IntRange(min=1000), default=50_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--seconds", type=click.IntRange(min=1), default=2, show_default=True, help="Of each part of a round.")
@click.option("--work", type=click.Path(path_type=Path), help="Keep what was built here.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def bench_hybrid(as_json: bool, **options: Any) -> None:
    """What a hybrid search costs beside its two parts, and what words cost beside bare tantivy."""
    figures = measure(**options)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
        return
    for row in figures["shares"]:
        click.echo(
            f"{row['share']:>4.0%} survive  hybrid {row['hybrid_us']:>7,.0f} µs, {row['hybrid']:.2f} × its parts "
            f"({row['dense_us']:,.0f} + {row['lexical_us']:,.0f});  words {row['words_us']:>7,.0f} µs, "
            f"{row['words']:.2f} × tantivy"
        )
