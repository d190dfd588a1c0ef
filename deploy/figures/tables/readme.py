"""Five rows for the README, one of which we lose; all within their own run."""

from __future__ import annotations

from deploy.figures.markdown import conditions, processor, table
from deploy.figures.store import kept
from deploy.figures.tables import http
from index.bench.ann.targets import RECALLS, reached

WALK = "speed, k = 10, 1 thread: queries/s × best peer's"
MEMORY = "speed: memory, of SymphonyQG's"


def block() -> str:
    encoded, scan = kept("encode"), kept("index")["figures"]["scan"]["queries_per_s"]
    graphs = kept("ann")["figures"]
    servers = {row["name"]: row["requests_per_s"] for row in kept("http")["figures"]["rows"]}
    found = reached(graphs["engines"])
    walked = [each for each in found if each["name"] == WALK and each["part"].removeprefix("recall ") in RECALLS]
    [resident] = [each for each in found if (each["name"], each["part"]) == (MEMORY, "all that is resident")]
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
            f"{' and '.join(dict.fromkeys(each['against'] for each in walked))}, best of {peers} peers",
        ],
        [
            "exact top 10",
            f"{scan['perwatt_int8_exact'] / scan['faiss_flat']:.1f} × as many",
            "FAISS IndexFlatIP",
        ],
        [
            "over HTTP, by vector, recall 0.95",
            f"{servers[http.VECTOR] / servers[http.CHROMA]:.1f} × as many",
            http.CHROMA,
        ],
        [
            "memory of that graph, all that is resident",
            f"**{resident['value']:.2f} ×, we lose**",
            resident["against"],
        ],
    ]
    graph, rest = (processor(each["machine"]) for each in (kept("ann"), encoded))
    other = f" All but graphs: {rest}." if graph != rest else ""
    return f"{table(['queries a second and core', 'perwatt', 'of'], rows)}\n\n{conditions(kept('ann'))}{other}"
