"""Who takes part. FAISS's lists lie on the disk in several codes, with and without rescoring from a mapped file, since
which of them is best changes with recall and memory; the fastest of them is what ours is held against."""

from __future__ import annotations

from index.bench.ann.engine import Entry, Ladder

_LISTS = Ladder(1, 4000)  # lists visited; the climb ends when recall does
_RESCORED = Ladder(1, 4000, seconds=(2, 4, 8, 16))  # and times k of the best that are scored again
_FAISS, _DISKANN = "index.bench.peers.faiss_disk:ListsOnDisk", "index.bench.peers.diskann:DiskAnn"

CONTENDERS: tuple[Entry, ...] = (
    Entry("perwatt-disk", "perwatt, disk", "perwatt", "index.bench.disk.ours:PerwattOnDisk", _LISTS,
          settings="1 bit a dimension in memory; 12 bits a dimension read for the best", ours=True),
    Entry("faiss-pq192", "faiss IVF PQ192 on disk", "faiss-cpu", _FAISS, _LISTS, {"codes": "PQ{half}"},
          "192 bytes a row, lists mapped"),
    Entry("faiss-pq96-sq8", "faiss IVF PQ96 on disk + refine SQ8", "faiss-cpu", _FAISS, _RESCORED,
          {"codes": "PQ{quarter}", "refine": "SQ8"}, "96 bytes a row, lists mapped; rescored from 384, mapped"),
    Entry("faiss-pq48-sq8", "faiss IVF PQ48 on disk + refine SQ8", "faiss-cpu", _FAISS, _RESCORED,
          {"codes": "PQ{eighth}", "refine": "SQ8"}, "48 bytes a row, lists mapped; rescored from 384, mapped"),
    Entry("faiss-pq96-flat", "faiss IVF PQ96 on disk + refine float32", "faiss-cpu", _FAISS, _RESCORED,
          {"codes": "PQ{quarter}", "refine": "Flat"}, "96 bytes a row, lists mapped; rescored from 1,536, mapped"),
    Entry("faiss-fast-sq8", "faiss IVF PQ fast scan in memory + refine SQ8", "faiss-cpu", _FAISS, _RESCORED,
          {"codes": "PQ{half}x4fs", "refine": "SQ8", "mapped": False},
          "4 bits for two dimensions, lists in memory; rescored from 384, mapped"),
    Entry("diskann", "DiskANN (diskannpy-rust)", "diskannpy-rust", _DISKANN,
          Ladder(1, 30, 1.35, per_k=True), {},
          "degree 64, complexity 100, beam 4, 192 bytes a row in memory; float32 and links read past the page cache"),
)  # fmt: skip
