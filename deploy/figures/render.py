"""The published figures: measured here, kept as JSON, written into BENCHMARKS.md, and a few into the README, by this
script, and checked by the tests.

    python -m deploy.figures measure [NAME …]     run the benchmarks, all by default: encode, quality, fusion,
                                                  index, kernels, ann, ann-others, filtered,
                                                  generator, http, http-workers, open, changes,
                                                  writes, experiment, instructions, judges
    python -m deploy.figures render               write the tables from the kept JSON
    python -m deploy.figures pictures [RUN]       photograph the page and a report (screenshots.py)
    python -m deploy.figures check                exit 1 if a document says anything else

A measurement is one JSON file in deploy/figures/ with the machine, versions and date it was made with. Ratios are shown
where absolute figures would only describe the machine; rows in which perwatt loses stay.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

TOP = Path(__file__).parents[2]
KEPT = TOP / "deploy" / "figures"
README, BENCHMARKS = TOP / "README.md", KEPT / "BENCHMARKS.md"
MEASURED = (
    "encode",
    "quality",
    "fusion",
    "index",
    "kernels",
    "ann",
    "ann-others",
    "filtered",
    "generator",
    "http",
    "http-workers",
    "open",
    "changes",
    "writes",
    "experiment",
    "instructions",
    "judges",
)
VERSIONS = ("perwatt", "numpy", "faiss-cpu", "onnxruntime", "torch", "sentence-transformers")


def measure(name: str) -> None:
    from deploy.figures import ann_tables as bench_ann
    from deploy.instructions import measure as bench_instructions
    from deploy.judges import measure as bench_judges
    from embed.bench import encode as bench_encode
    from index.bench import build as bench_index
    from index.bench import changes as bench_changes
    from index.bench import filtered as bench_filtered
    from index.bench import kernels as bench_kernels
    from index.bench import open
    from loadtest.bench import experiment as versus
    from loadtest.bench import generator as bench_generator
    from service.bench import changes as http_changes
    from service.bench import race, writes
    from service.bench.judged import fusion as bench_fusion
    from service.bench.judged import quality as bench_quality

    KEPT.mkdir(exist_ok=True)
    benches: dict[str, Callable[[], Any]] = {
        "encode": bench_encode.measure,
        "index": lambda: bench_index.measure(TOP / ".perwatt" / "vectors" / "python-stdlib"),
        "quality": bench_quality.measure,
        "fusion": bench_fusion.measure,
        "kernels": bench_kernels.measure,
        "open": open.measure,
        "ann": lambda: bench_ann.main_run(KEPT / "ann.svg"),
        "ann-others": bench_ann.other_runs,
        "filtered": lambda: {profile: bench_filtered.measure(profile=profile) for profile in ("compact", "speed")},
        "generator": lambda: bench_generator.measure(
            TOP / ".perwatt" / "vectors" / "python-stdlib", TOP / ".perwatt" / "indexes", "python-stdlib"
        ),
        # The peers' environments and what they have built are kept, so that the next run takes minutes.
        "http": lambda: race.measure(
            folder=Path(os.environ.get("PERWATT_PEERS", TOP / ".perwatt" / "peers")), work=TOP / ".perwatt" / "http"
        ),
        # Grown to the size of the target, and as large as the real vectors are.
        "changes": lambda: {
            "large": bench_changes.measure(),
            "real": bench_changes.measure(rows=50_000),
            "http": http_changes.measure(),
        },
        "writes": lambda: writes.measure(
            folder=Path(os.environ.get("PERWATT_PEERS", TOP / ".perwatt" / "peers")), work=TOP / ".perwatt" / "http"
        ),
        "experiment": lambda: versus.measure(
            "pgvector",
            TOP / ".perwatt" / "vectors" / "python-stdlib",
            TOP / ".perwatt" / "indexes",
            "python-stdlib",
            Path(os.environ.get("PERWATT_PEERS", TOP / ".perwatt" / "peers")),
            TOP / ".perwatt" / "experiment",
            sample=KEPT,
            **versus.asked(os.environ),
        ),
        "instructions": bench_instructions.measure,
        "judges": lambda: bench_judges.measure(TOP / ".perwatt" / "judges"),
        "http-workers": lambda: race.measure_workers(work=TOP / ".perwatt" / "http"),
    }
    if name not in benches:
        raise SystemExit(f"No measurement is called {name!r}, expected some of: {', '.join(benches)}.")
    try:
        figures = benches[name]()
    except click.ClickException as error:
        raise SystemExit(f"{name} was not measured: {error.message}") from None
    kept = {
        "measured_on": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": {package: version(package) for package in VERSIONS},
        "figures": figures,
    }
    (KEPT / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


def machine() -> dict[str, Any]:
    from loky import cpu_count

    from index import kernels

    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return {"arch": platform.machine(), "cpu": cpu, "cores": cpu_count(), "isa": kernels.info()["isa"]}


def kept(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((KEPT / f"{name}.json").read_text())
    return content


def table(header: list[str], rows: list[list[object]]) -> str:
    cells = [header, ["---"] + ["---:"] * (len(header) - 1), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def conditions(measured: dict[str, Any]) -> str:
    host, versions = measured["machine"], measured["versions"]
    return (
        f"Measured {measured['measured_on']} on {host['cores']} cores of a shared virtual machine "
        f"({host['arch']}, {host['cpu']}, {host['isa']} kernels) with "
        + ", ".join(f"{name} {number}" for name, number in versions.items() if name != "perwatt")
        + "."
    )


def encode() -> str:
    from embed.bench.encode import CASES, LABELS

    measured = kept("encode")
    figures = measured["figures"]
    cases, ratio, cold = figures["cases"], figures["ratios"], figures.get("cold_start")
    cosines, documents = figures["mean_cosine_to_fp32"], cases["documents"]
    first = ""
    if cold:
        first = f"A fresh process has the vector of its first query after {cold['perwatt']['process_s']:.2f} s. "
    rows: list[list[object]] = []
    for name in sorted(documents, key=lambda name: float(documents[name]["ms_per_call"])):
        label = f"**{LABELS[name]}**" if name == "perwatt_int8" else LABELS[name]
        rates = [f"{cases[case.name][name][f'{case.unit}_per_s']:,.0f}" for case in CASES]
        rows.append([label, f"{cases['query1'][name]['ms_per_call']:.2f}", *rates, f"{cosines[name]:.4f}"])
    header = ["one encoder, text to vector", "ms a query", "queries/s", "… 32 at once", "texts/s of 32 tokens"]
    header += ["documents/s of 256", "cosine to fp32"]
    return (
        f"![Queries and documents a second of each encoder](encode.svg)\n\n{table(header, rows)}\n\n"
        f"{figures['model']}; queries of 8 tokens on one core, the rest on {figures['cores']}, tokenising included. "
        f"Against the faster int8 of ONNX Runtime: {ratio['query1_vs_ort_int8']:.1f} × on one query, "
        f"{ratio['query8_vs_ort_int8']:.1f} × on 32 at once, {ratio['documents_vs_ort_int8']:.1f} × on documents, at "
        f"{documents['perwatt_int8']['share_of_int8_peak']:.0%} of the int8 peak of {figures['unit']}. {first}"
        f"`perwatt bench encode` measures it anywhere, on every unit of the processor. {conditions(measured)}"
    )


def quality() -> str:
    from deploy.figures import quality_tables as show

    measured = kept("quality")
    return f"{show.quality(measured['figures'], table)}\n\n{conditions(measured)}"


def fusion() -> str:
    from deploy.figures import quality_tables as show

    measured = kept("fusion")
    said = (
        "In bold what loses more than 0.01 to the better ranking. Vectors are int8's. stdlib-code is made by the "
        "benchmark: functions of Python's standard library, to be found by their docstrings. Spans of documents share "
        "their words, so they ask for the largest weight that is tried, on every collection. Weights that are learnt "
        "so, or from how the rankings agree, gain 0.002 on average, lose to a ranking where the default does not, and "
        "follow wrong words further."
    )
    return f"{show.fusion(measured['figures'], table)}\n\n{said} {conditions(measured)}"


def index() -> str:
    measured = kept("index")
    build, scan = measured["figures"]["build"], measured["figures"]["scan"]
    rate = scan["queries_per_s"]
    names = {
        "numpy": "NumPy (OpenBLAS)",
        "faiss_flat": "FAISS IndexFlatIP",
        "perwatt_float32": "perwatt, float32",
        "perwatt_int8_exact": "**perwatt, int8 scan with float32 rescoring** (same answer, proven bound)",
    }
    rows: list[list[object]] = [
        [label, f"{rate[name]:.0f}", f"{rate[name] / rate['faiss_flat']:.1f} ×"] for name, label in names.items()
    ]
    header = [f"exact top 10 of {scan['rows']:,} × {measured['figures']['dim']}, one thread", "queries/s", "ratio"]
    return (
        table(header, rows)
        + f"\n\nBuilding a graph over {build['rows']:,} × {measured['figures']['dim']} takes {build['seconds']:.0f} s "
        f"on {build['threads']} threads and {build['peak_rss_mib']:,} MiB at most (recall@10 "
        f"{build['recall']:.3f} at its default effort). {_from_changes(measured['figures'])}"
        f"{opening()}{conditions(measured)}"
    )


def _from_changes(figures: dict[str, Any]) -> str:
    if "from_changes" not in figures:
        return ""
    changed = figures["from_changes"]
    grown, anew = changed["grown"], changed["anew"]
    cheaper, found = grown["cpu_s"] / anew["cpu_s"], "recall_at_effort_100"
    return (
        f"With {changed['changed']:,} of {changed['rows']:,} rows new, replaced or deleted, a build that goes on from "
        f"the graph before takes {cheaper:.2f} of the processor time of one from nothing, and finds {grown[found]:.4f} "
        f"of the best 10 at an effort of 100, against {anew[found]:.4f}. "
    )


def opening() -> str:
    figures = kept("open")["figures"]
    large, small = figures["large"], figures["small"]
    return (
        f"Opening {large['rows']:,} × {figures['dim']} takes {1000 * large['open_s']:.0f} ms beyond the hashes "
        f"({large['verify_s']:.1f} s for {large['bytes'] / 2**30:.1f} GiB), {small['rows']:,} rows "
        f"{1000 * small['open_s']:.0f} ms; the first search after it takes {1000 * large['first_search_s']:.1f} ms. "
    )


def ann() -> str:
    from deploy.figures import ann_tables as show

    measured = kept("ann")
    figures = measured["figures"]
    vectors = figures["vectors"]
    peers = ", ".join(
        f"{name} {number}" for name, number in figures["versions"].items() if number and name != "perwatt"
    )
    return "\n\n".join(
        [
            "![Queries a second over recall, one line an engine](ann.svg)",
            f"{vectors['name']}: {vectors['rows']:,} × {vectors['dim']}, {vectors['metric']}, {vectors['queries']:,} "
            f"held-out queries in one call, {figures['rounds']} interleaved rounds of which the fastest counts. Ratios "
            "are within the run, at the cheapest setting of each engine that reaches the recall.",
            show.targets_table(figures, kept("kernels")["figures"], table),
            "Every engine; perwatt's queries a second, and the others' as multiples of them:",
            show.engines_table(figures, table),
            show.others_table(kept("ann-others")["figures"], table),
            f"{conditions(measured)} Peers: {peers}.{show.left_out(figures)}{show.noise(figures)}",
        ]
    )


def filtered() -> str:
    from deploy.figures import filtered_tables as show
    from deploy.figures.ann_tables import noise

    measured = kept("filtered")
    parts = [f"{show.costs(each, table)}\n\n{show.remarks(each)}" for each in measured["figures"].values()]
    return "\n\n".join([*parts, conditions(measured) + noise(measured["figures"]["compact"])])


def kernels() -> str:
    from deploy.figures.ann_tables import noise

    measured = kept("kernels")
    figures = measured["figures"]
    rows: list[list[object]] = []
    here = [each for each in figures["kernels"] if each["dim"] == 384]
    for name in dict.fromkeys(each["by"] for each in here):
        cells: list[object] = []
        for type_, place in (("int8", "cached"), ("int8", "memory"), ("float32", "cached"), ("float32", "memory")):
            found = [each for each in here if (each["by"], each["type"], each["place"]) == (name, type_, place)]
            cells.append(f"{found[0]['ns_per_distance']:.1f} ({found[0]['share_of_read']:.0%})" if found else "–")
        rows.append([name, *cells])
    sizes = figures["sets_bytes"]
    cached, memory = f"{sizes['cached'] >> 20:,} MiB, in L2", f"{sizes['memory'] >> 20:,} MiB, in memory"
    header = ["ns a distance, 384-d (share of read bandwidth)"]
    header += [f"{type_}, {place}" for type_ in ("int8", "float32") for place in (cached, memory)]
    read = figures["read_gb_per_s"]
    return (
        table(header, rows)
        + f"\n\nOne thread; the same thread only adding the words up reads {read['cached']:.0f} GB/s from L2 and "
        f"{read['memory']:.1f} GB/s from memory. `perwatt bench kernels` has 128 and 768 dimensions too. "
        f"{conditions(measured)}{noise(figures)}"
    )


def generator() -> str:
    measured = kept("generator")
    figures = measured["figures"]
    ceiling = figures["ceiling"]
    served = figures["service_queries_per_s"]
    size = f"{figures['answer_bytes'] / 1000:.1f} kB"
    rows: list[list[object]] = [
        [f"the load generator, against a server that does nothing but answer {size}", f"{ceiling['queries_per_s']:,}"],
        [f"the service, by text, answers of {size}", f"{served['text']:,}"],
        [f"the service, by vector, answers of {size}", f"{served['vector']:,}"],
    ]
    ratio = ceiling["queries_per_s"] / max(served.values())
    return (
        table(["one core of …", "queries/s"], rows)
        + f"\n\nOne core of the load generator keeps {ratio:.0f} cores of the service busy (6,040 × 384, k = 10), with "
        f"p99 at {ceiling['p99_ms']:.1f} ms. {conditions(measured)}"
    )


def http() -> str:
    from deploy.figures import http_tables as show

    measured = kept("http")
    figures = measured["figures"] | kept("http-workers")["figures"]
    return "\n\n".join(
        [show.targets(figures, table), show.servers(figures, table), f"{show.remarks(figures)} {conditions(measured)}"]
    )


def experiment() -> str:
    from deploy.figures import experiment_tables as show

    if not (KEPT / "experiment.json").exists():
        return show.UNMEASURED
    measured = kept("experiment")
    figures = measured["figures"]
    same = "What a report says of one machine twice: [same.md](same.md)."
    return "\n\n".join([show.verdict(figures), show.arms(figures, table), f"{same} {conditions(measured)}"])


def changes() -> str:
    from deploy.figures import changes_tables as show
    from deploy.figures.ann_tables import noise

    measured = kept("changes")
    large, real, http_ = (measured["figures"][name] for name in ("large", "real", "http"))
    return "\n\n".join(
        [
            show.searches(large, table),
            show.searches(real, table),
            f"{show.remarks(large, real, http_)} {conditions(measured)}{noise(large)}",
        ]
    )


def written() -> str:
    from deploy.figures import writes_tables as show

    measured = kept("writes")
    figures = measured["figures"]
    return f"{show.targets(figures, table)}\n\n{show.remarks(figures)} {conditions(measured)}"


def instructions() -> str:
    from deploy.figures import instructions_table as show

    measured = kept("instructions")
    figures = measured["figures"]
    return f"{show.counted(figures, table)}\n\n{show.remarks(figures)} {conditions(measured)}"


def judges() -> str:
    from deploy.figures import judges_tables as show

    measured = kept("judges")
    figures = measured["figures"]
    return "\n\n".join(
        [
            show.retrieval(figures, table),
            show.search(figures, table),
            f"{show.remarks(figures)} {conditions(measured)}",
        ]
    )


def short() -> str:
    """Five rows for the README, one of which we lose; all within their own run."""
    from deploy.figures import http_tables
    from index.bench.ann.targets import reached

    encoded, scan = kept("encode"), kept("index")["figures"]["scan"]["queries_per_s"]
    graphs = kept("ann")["figures"]
    servers = {row["name"]: row["requests_per_s"] for row in kept("http")["figures"]["rows"]}
    walked = [each for each in reached(graphs["engines"]) if each["name"] == SHORT_WALK]
    [resident] = [
        each
        for each in reached(graphs["engines"])
        if (each["name"], each["part"]) == (SHORT_MEMORY, "all that is resident")
    ]
    peers = sum(not each["ours"] for each in graphs["engines"])
    rows: list[list[object]] = [
        [
            "text to vector, 32 queries at once",
            f"{encoded['figures']['ratios']['query8_vs_ort_int8']:.1f} × as many",
            "ONNX Runtime, int8",
        ],
        [
            "top 10 of a graph, recall 0.95 and 0.99",
            " and ".join(f"{each['value']:.2f}" for each in walked) + " × as many",
            f"{walked[0]['against']}, the best of {peers} peers",
        ],
        [
            "exact top 10",
            f"{scan['perwatt_int8_exact'] / scan['faiss_flat']:.1f} × as many",
            "FAISS IndexFlatIP",
        ],
        [
            "over HTTP, by vector, recall 0.95",
            f"{servers[http_tables.VECTOR] / servers[http_tables.CHROMA]:.1f} × as many",
            http_tables.CHROMA,
        ],
        [
            "memory of that graph, all that is resident",
            f"**{resident['value']:.2f} ×, we lose**",
            resident["against"],
        ],
    ]
    return f"{table(['queries a second and core', 'perwatt', 'of'], rows)}\n\n{conditions(kept('ann'))}"


SHORT_WALK = "speed, k = 10, 1 thread: queries/s × best peer's"
SHORT_MEMORY = "speed: memory, of SymphonyQG's"

DOCUMENTS: dict[Path, dict[str, Callable[[], str]]] = {
    README: {"short": short},
    BENCHMARKS: {
        "encode": encode,
        "quality": quality,
        "fusion": fusion,
        "index": index,
        "ann": ann,
        "filtered": filtered,
        "kernels": kernels,
        "changes": changes,
        "writes": written,
        "generator": generator,
        "http": http,
        "experiment": experiment,
        "instructions": instructions,
        "judges": judges,
    },
}
BLOCKS = DOCUMENTS[BENCHMARKS]


def rendered(path: Path, text: str) -> str:
    """The text of a document with what stands between each pair of markers replaced by what the kept figures say."""
    for name, block in DOCUMENTS[path].items():
        start, end = f"<!-- figures: {name} -->", f"<!-- end: {name} -->"
        if text.count(start) != 1 or text.count(end) != 1:
            raise SystemExit(f"{path.name} has not exactly one pair of {start} and {end}.")
        before, rest = text.split(start)
        after = rest.split(end)[1]
        text = f"{before}{start}\n{block()}\n{end}{after}"
    return text


def pictures() -> dict[Path, str]:
    """The drawings that BENCHMARKS.md shows, by their path: each says what the kept figures say."""
    from deploy.figures.encode_picture import picture

    return {KEPT / "encode.svg": picture(kept("encode"))}


def main(arguments: list[str]) -> None:
    step, names = (arguments[0], arguments[1:]) if arguments else ("", [])
    if step == "measure":
        for name in names or MEASURED:
            measure(name)
    elif step == "render":
        for path in DOCUMENTS:
            path.write_text(rendered(path, path.read_text()))
        for path, text in pictures().items():
            path.write_text(text)
    elif step == "pictures":
        from deploy.figures import screenshots

        data = TOP / ".perwatt"
        run = Path(names[0]) if names else data / "report" / "run.json"
        screenshots.take(data / "indexes", "python-stdlib", run, KEPT)
    elif step == "check":
        stale = [path.name for path, text in pictures().items() if not path.is_file() or path.read_text() != text]
        stale = [path.name for path in DOCUMENTS if rendered(path, path.read_text()) != path.read_text()] + stale
        if stale:
            raise SystemExit(
                f"{' and '.join(stale)} differ from deploy/figures/*.json. Run: python -m deploy.figures render"
            )
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
