"""The README's figures: measured here, kept as JSON, written into the README by this script and checked by the tests.

    python -m deploy.figures measure [embedding] [index] [quality]     run the benchmarks (all by default)
    python -m deploy.figures render                                    write the README's tables from the kept JSON
    python -m deploy.figures check                                     exit 1 if the README says anything else

A measurement is one JSON file in deploy/figures/ with the machine, versions and date it was made with. Ratios are shown
where absolute figures would only describe the machine; rows in which perwatt loses stay.
"""

from __future__ import annotations

import datetime
import json
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[1]
README = TOP / "README.md"
KEPT = TOP / "deploy" / "figures"
VERSIONS = ("perwatt", "numpy", "faiss-cpu", "onnxruntime", "torch", "sentence-transformers")


def measure(name: str) -> None:
    from deploy import bench_embedding, bench_index, bench_quality

    benches: dict[str, Callable[[], Any]] = {
        "embedding": bench_embedding.measure,
        "index": lambda: bench_index.measure(TOP / ".perwatt" / "vectors" / "python-stdlib"),
        "quality": bench_quality.measure,
    }
    if name not in benches:
        raise SystemExit(f"No measurement is called {name!r}, expected some of: {', '.join(benches)}.")
    figures = benches[name]()
    kept = {
        "measured_on": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": {package: version(package) for package in VERSIONS},
        "figures": figures,
    }
    KEPT.mkdir(exist_ok=True)
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


def embedding() -> str:
    measured = kept("embedding")
    figures = measured["figures"]
    rate, query = figures["documents_per_s"], figures["query_ms"]
    base = rate["sentence_transformers"]
    names = {
        "sentence_transformers": "sentence-transformers, fp32 (PyTorch)",
        "perwatt_fp32": "perwatt, fp32 (ONNX Runtime)",
        "onnx_runtime_int8": "perwatt, int8 (ONNX Runtime)",
        "perwatt_int8": "**perwatt, int8** (its own kernels, the default)",
    }
    rows: list[list[object]] = [
        [label, f"{rate[name]:.0f}", f"{rate[name] / base:.1f} ×", f"{query[name]:.1f}"]
        for name, label in names.items()
    ]
    return (
        table(["encoder, all-MiniLM-L6-v2", "documents/s", "ratio", "ms a short query"], rows)
        + f"\n\n{figures['texts']} texts of {figures['tokens_per_text']:.0f} tokens, {figures['cores']} cores, best of "
        f"interleaved rounds; the kernels ran as {figures['int8_backend']}. int8 against fp32: mean cosine "
        f"{figures['int8_cosine_mean']:.4f}, least {figures['int8_cosine_min']:.4f}. {conditions(measured)}"
    )


def quality() -> str:
    measured = kept("quality")
    rows: list[list[object]] = [
        [
            f"{row['collection']}, {row['precision']}",
            f"{row['ndcg_10_flat']:.4f}",
            f"{row['ndcg_10_graph']:.4f}",
            f"{row['ndcg_10_lexical']:.4f}",
            f"{row['ndcg_10_hybrid']:.4f}",
            f"{row['recall_100']:.4f}",
            row["published_ndcg_10"] if row["precision"] == "fp32" and row["published_ndcg_10"] else "–",
        ]
        for row in measured["figures"]
    ]
    header = ["nDCG@10", "dense, exact", "dense, graph", "lexical", "hybrid", "recall@100", "published (fp32, exact)"]
    return table(header, rows) + f"\n\n{conditions(measured)}"


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
        f"{build['recall']:.3f} at its default effort). {conditions(measured)}"
    )


BLOCKS: dict[str, Callable[[], str]] = {"embedding": embedding, "quality": quality, "index": index}


def rendered(readme: str) -> str:
    """`readme` with the text between each pair of markers replaced by what the kept figures say."""
    for name, block in BLOCKS.items():
        start, end = f"<!-- figures: {name} -->", f"<!-- end: {name} -->"
        if readme.count(start) != 1 or readme.count(end) != 1:
            raise SystemExit(f"README.md has not exactly one pair of {start} and {end}.")
        before, rest = readme.split(start)
        after = rest.split(end)[1]
        readme = f"{before}{start}\n{block()}\n{end}{after}"
    return readme


def main(arguments: list[str]) -> None:
    step, names = (arguments[0], arguments[1:]) if arguments else ("", [])
    if step == "measure":
        for name in names or list(BLOCKS):
            measure(name)
    elif step == "render":
        README.write_text(rendered(README.read_text()))
    elif step == "check":
        if rendered(README.read_text()) != README.read_text():
            raise SystemExit("README.md differs from deploy/figures/*.json. Run: python -m deploy.figures render")
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
