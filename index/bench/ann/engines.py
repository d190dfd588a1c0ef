"""The engines of a run, ours first. Peers are set up as their own documentation advises for graphs of this size:
degree 16 (32 links on level 0) or 32, construction effort 200, and 2·√n lists where there are lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from index.bench.ann.engine import Entry, Ladder
from index.bench.errors import BenchError

_EF = Ladder(1, 60, per_k=True)  # candidates kept, from k to 60 k
_LISTS = Ladder(1, 2000)  # lists visited; the climb ends when recall does

_RANGE = Ladder(15, 2400)  # vertices visited
_OURS = "index.bench.ann.ours:Perwatt"
_GRAPHS, _FAISS, _HNSW = "index.bench.peers.graphs", "index.bench.peers.faiss", "index.bench.peers.hnsw"

ENGINES: tuple[Entry, ...] = (
    Entry("perwatt", "perwatt, speed", "perwatt", _OURS, _RANGE, {"profile": "speed", "huge_pages": True},
          "vertex blocks, copied into huge pages", ours=True),
    Entry("perwatt-mapped", "perwatt, speed, mapped", "perwatt", _OURS, _RANGE, {"profile": "speed"},
          "vertex blocks, mapped and shared by all processes", ours=True, built_as="perwatt"),
    Entry("perwatt-compact", "perwatt, compact", "perwatt", _OURS, _RANGE, {"profile": "compact", "huge_pages": True},
          "int8 codes, links, and 2-bit codes of the rows, copied into huge pages", ours=True),
    Entry("perwatt-quick", "perwatt, quick", "perwatt", _OURS, _RANGE,
          {"profile": "compact", "huge_pages": True, "builder": "quick"}, "compact, built in fewer parts", ours=True),
    Entry("perwatt-auto", "perwatt, auto", "perwatt", _OURS, _RANGE, {"profile": "auto", "huge_pages": True},
          "the profile that the build found quicker, copied into huge pages", ours=True),
    Entry("perwatt-dropped", "perwatt, quick, originals dropped", "perwatt", _OURS, _RANGE,
          {"profile": "compact", "originals": "drop", "builder": "quick"},
          "quick, scored from 12 bits a dimension", ours=True),
    Entry("perwatt-refined", "perwatt, FAISS's graph", "perwatt", _OURS, _RANGE,
          {"profile": "compact", "huge_pages": True, "builder": "faiss"}, "compact, by that builder", ours=True),
    Entry("perwatt-ivf", "perwatt, ivf", "perwatt", _OURS, _LISTS, {"family": "ivf"},
          "4-bit codes in lists, for sets larger than memory", ours=True),
    Entry("perwatt-exact", "perwatt, exact", "perwatt", _OURS, Ladder(1, 1), {"family": "flat", "exact": True},
          "every row in int8, what may belong to the answer in float32", ours=True),
    Entry("rabitqlib", "SymphonyQG (rabitqlib)", "rabitqlib", f"{_GRAPHS}:Symqg", _EF, {"degree": 32},
          "degree 32, float32 vectors in the blocks"),
    Entry("rabitqlib-8bit", "SymphonyQG, 8-bit", "rabitqlib", f"{_GRAPHS}:Symqg", _EF, {"degree": 32, "bits": 8},
          "degree 32, 8-bit codes instead of the vectors"),
    Entry("alayalite", "AlayaLite, RaBitQ graph", "alayalite", "index.bench.peers.alaya:Alaya", _EF, {},
          "degree 32, efConstruction 200, codes of the neighbours in the vertex"),
    Entry("svs", "SVS Vamana LVQ4x8", "scalable-vs", f"{_GRAPHS}:Svs", _EF, {}, "degree 32, window 200"),
    Entry("vsag", "VSAG HGraph", "pyvsag", f"{_GRAPHS}:Vsag", _EF, {}, "degree 32, 8-bit codes, rescored",
          parallel=False),
    Entry("zvec", "Zvec HNSW int8 + refine", "zvec", "index.bench.peers.zvec:Zvec", _EF, {},
          "m 32, ef_construction 200, 8-bit codes, rescored", parallel=False),
    Entry("ngt", "NGT ONNG", "ngt", f"{_GRAPHS}:Ngt", Ladder(10, 400, 1.35), {}, "ANNG of 50 edges, 10 out and 50 in"),
    Entry("faiss-hnsw16", "faiss HNSW16", "faiss-cpu", f"{_FAISS}:Hnsw", _EF, {"degree": 16}, "efConstruction 200"),
    Entry("faiss-hnsw32", "faiss HNSW32", "faiss-cpu", f"{_FAISS}:Hnsw", _EF, {"degree": 32}, "efConstruction 200"),
    Entry("faiss-hnsw32-sq8", "faiss HNSW32 SQ8 + refine", "faiss-cpu", f"{_FAISS}:HnswSq8",
          Ladder(1, 60, per_k=True, seconds=(2,)), {"degree": 32}, "efConstruction 200, 8-bit codes, rescored"),
    Entry("faiss-ivf-pq", "faiss IVF PQ fast scan + refine", "faiss-cpu", f"{_FAISS}:Ivf",
          Ladder(1, 2000, seconds=(4, 12)), {"codes": "PQ{half}x4fs"}, "4 bits for two dimensions, rescored"),
    Entry("faiss-ivf-rabitq", "faiss IVF RaBitQ fast scan + refine", "faiss-cpu", f"{_FAISS}:Ivf",
          Ladder(1, 2000, seconds=(8, 24)), {"codes": "RaBitQfs"}, "1 bit a dimension, rescored"),
    Entry("scann", "ScaNN", "scann", "index.bench.peers.scann:Scann", Ladder(1, 2000, seconds=(4, 12)), {},
          "tree, 4-bit codes, reordered"),
    Entry("turbovec", "turbovec, 4 bits + refine", "turbovec", "index.bench.peers.turbovec:Turbovec", Ladder(1, 64), {},
          "4-bit codes of all rows, calibrated; rescored", metrics=("cosine",), parallel=False),
    Entry("hnswlib", "hnswlib", "hnswlib", f"{_HNSW}:Hnswlib", _EF, {}, "M 16, efConstruction 200"),
    Entry("usearch", "usearch f32", "usearch", f"{_HNSW}:Usearch", _EF, {"dtype": "f32"},
          "connectivity 16, expansion 200"),
    Entry("usearch-i8", "usearch i8", "usearch", f"{_HNSW}:Usearch", _EF, {"dtype": "i8"},
          "connectivity 16, expansion 200, 8-bit vectors", metrics=("cosine",)),
    Entry("voyager", "voyager", "voyager", f"{_HNSW}:Voyager", _EF, {}, "M 16, ef_construction 200"),
)  # fmt: skip


def chosen(names: Iterable[str], among: Sequence[Entry] = ENGINES) -> list[Entry]:
    """perwatt and the engines of these names, all of them for none, in the table's order. Raises BenchError."""
    wanted = {part for name in names for part in name.split(",") if part}
    known = {entry.name for entry in among}
    if unknown := wanted - known:
        raise BenchError(f"{', '.join(sorted(unknown))} is no engine; expected some of: {', '.join(sorted(known))}.")
    return [entry for entry in among if not wanted or entry.name in wanted or entry.name == "perwatt"]
