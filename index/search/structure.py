"""What a generation finds its rows with: the structure of its family, and the rows that every search goes by."""

from pathlib import Path
from typing import Any, NamedTuple

from index.disk import layout, lists
from index.disk.sections import VECTORS_FILE, map_codes, map_section
from index.errors import GenerationError
from index.search import untyped
from index.search.disk_lists import DiskLists
from index.search.finding import ComparedRows, LongWalks, ScannedRows, Searcher
from index.search.lists import IvfSearch
from index.search.restored import RestoredRows
from index.search.untyped import FaissIndex, faiss
from index.search.walk import Walk

INDEX_FILE = "index.faiss"


class OpenedStructure(NamedTuple):
    """searcher: None where every search compares all. faiss_index: whose memory may be that of the rows; None where
    nothing of it is needed."""

    rows: ComparedRows
    searcher: Searcher | None
    faiss_index: FaissIndex | None


def open_structure(path: Path, manifest: dict[str, Any], threads: int, *, huge_pages: bool) -> OpenedStructure:
    """Of a generation's folder. Raises GenerationError where FAISS's file is none, or of another shape."""
    sections, metric, family = manifest["sections"], manifest["metric"], manifest["family"]
    by_spokes = LongWalks.of(manifest["effort"])
    shape = manifest["count"], manifest["dim"]
    if layout.profile_of(manifest) == lists.PROFILE:
        records = sections[lists.RECORDS_FILE]
        _check_shape(path / lists.RECORDS_FILE, (*records["shape"], records["dim"]), shape)
        on_disk = DiskLists(lists.load(path, manifest), metric, threads)
        return OpenedStructure(on_disk, on_disk, None)
    if layout.originals_of(manifest) == "drop":
        rests = sections[layout.RESTS_FILE]
        _check_shape(path / layout.RESTS_FILE, (*rests["shape"], rests["dim"]), shape)
        graph = layout.load(path, manifest, huge_pages=huge_pages)
        walk = Walk(graph, None, threads, by_spokes=by_spokes)
        return OpenedStructure(RestoredRows(graph, metric, threads), walk, None)
    index = untyped.read_faiss(path / INDEX_FILE)
    _check_shape(path / INDEX_FILE, (index.ntotal, index.d), shape)
    searcher: Searcher | None = None
    if family == "graph":
        vectors = untyped.float_rows(faiss.downcast_index(index.storage))
        graph = layout.load(path, manifest, huge_pages=huge_pages)
        searcher = Walk(graph, vectors, threads, by_spokes=by_spokes)
    elif family == "ivf":
        vectors = map_section(path, VECTORS_FILE, sections)
        searcher = IvfSearch(index, vectors, threads)
    else:
        vectors = untyped.float_rows(index)
    return OpenedStructure(ScannedRows(vectors, map_codes(path, sections), metric, threads), searcher, index)


def _check_shape(file: Path, held: tuple[int, ...], expected: tuple[int, int]) -> None:
    if held != expected:
        raise GenerationError(file, f"holds {' × '.join(map(str, held))}, not {expected[0]} × {expected[1]}")
