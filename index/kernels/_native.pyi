# What bindings.cpp offers. Outputs are written in place; arrays are never copied or converted.
import numpy as np
from numpy.typing import NDArray

def units() -> list[tuple[str, bool]]: ...
def choose(wanted: str) -> str: ...
def ladder() -> list[tuple[str, list[str]]]: ...
def features() -> list[str]: ...
def hidden() -> list[str]: ...
def active() -> str: ...
def use(name: str) -> bool: ...
def read_sum(bytes: NDArray[np.uint8], streams: int) -> int: ...
def dot_i8(
    query: NDArray[np.int8],
    rows: NDArray[np.int8],
    out: NDArray[np.int32],
    at: NDArray[np.uint32] | None = None,
    unit: str = "",
) -> None: ...
def dot_f32(
    query: NDArray[np.float32],
    rows: NDArray[np.float32],
    out: NDArray[np.float32],
    at: NDArray[np.uint32] | None = None,
    unit: str = "",
) -> None: ...
def l2_f32(
    query: NDArray[np.float32],
    rows: NDArray[np.float32],
    out: NDArray[np.float32],
    at: NDArray[np.uint32] | None = None,
    unit: str = "",
) -> None: ...
def dots_i8(queries: NDArray[np.int8], rows: NDArray[np.int8], out: NDArray[np.int32], unit: str = "") -> None: ...
def prepare(
    queries: NDArray[np.float32], longest: float, threads: int, unit_length: NDArray[np.float32] | None = None
) -> int: ...
def scan_f32(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    l2: bool,
    threads: int,
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    rescored: NDArray[np.int64],
    keep: NDArray[np.uint64] | None = None,
    unit: str = "",
) -> None: ...
def scan_i8(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    codes: NDArray[np.int8],
    step: float,
    error_norm: float,
    row_norm: float,
    square_norms: NDArray[np.float32],
    l2: bool,
    threads: int,
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    rescored: NDArray[np.int64],
    keep: NDArray[np.uint64] | None = None,
    at: NDArray[np.uint32] | None = None,
    unit: str = "",
) -> None: ...
def rescore(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    candidates: NDArray[np.int64],
    l2: bool,
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    rescored: NDArray[np.int64],
    unit: str = "",
) -> None: ...
def block_bytes(dim: int, degree: int, compact: bool = False, packed: bool = False) -> int: ...
def spoke_bytes(dim: int, packed: bool) -> int: ...
def rest_bytes(dim: int) -> int: ...
def root_bytes(dim: int, roots: int) -> int: ...
def encode(
    vectors: NDArray[np.float32],
    links: NDArray[np.int32],
    roots: NDArray[np.int32],
    l2: bool,
    blocks: NDArray[np.uint8],
    root: NDArray[np.uint8],
    threads: int,
    unit: str = "",
    spokes: NDArray[np.uint8] | None = None,
    rests: NDArray[np.uint8] | None = None,
    in_files: bool = False,
    packed: bool = False,
    edges: bool = True,
) -> tuple[float, float, float, float, float]: ...
def relink(blocks: NDArray[np.uint8], links: NDArray[np.int32], dim: int, packed: bool) -> None: ...
def encode_root(
    vectors: NDArray[np.float32],
    roots: NDArray[np.int32],
    l2: bool,
    root: NDArray[np.uint8],
    threads: int,
    unit: str = "",
) -> None: ...
def sieve_frame_floats(dim: int) -> int: ...
def sieve_bytes(dim: int) -> int: ...
def sieve_frame(vectors: NDArray[np.float32], l2: bool, frame: NDArray[np.float32], unit: str = "") -> None: ...
def sieve_groups(
    frame: NDArray[np.float32],
    vectors: NDArray[np.float32],
    l2: bool,
    groups: NDArray[np.uint8],
    unit: str = "",
) -> None: ...
def merge(
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    other_rows: NDArray[np.int64],
    other_scores: NDArray[np.float32],
    offset: int,
    first: int = 0,
) -> int: ...

class Sieve:
    def __init__(
        self,
        frame: NDArray[np.float32],
        groups: NDArray[np.uint8],
        vectors: NDArray[np.float32],
        codes: NDArray[np.int8],
        step: float,
        error_norm: float,
        row_norm: float,
        square_norms: NDArray[np.float32],
        l2: bool,
    ) -> None: ...
    def search(
        self,
        queries: NDArray[np.float32],
        margin: float,
        least: NDArray[np.float32],
        keep: NDArray[np.uint64] | None,
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        scored: NDArray[np.int64],
        unit: str = "",
    ) -> None: ...

def count_impacts(tokens: NDArray[np.uint32], ends: NDArray[np.int64], terms: NDArray[np.uint64]) -> None: ...
def fill_impacts(
    tokens: NDArray[np.uint32],
    impacts: NDArray[np.uint8],
    ends: NDArray[np.int64],
    terms: NDArray[np.uint64],
    entries: NDArray[np.uint64],
    postings: NDArray[np.uint16],
) -> None: ...

class ImpactIndex:
    def __init__(
        self,
        terms: NDArray[np.uint64],
        entries: NDArray[np.uint64],
        postings: NDArray[np.uint16],
        rows: int,
    ) -> None: ...
    def search(
        self,
        tokens: NDArray[np.uint32],
        weights: NDArray[np.uint32],
        k: int,
        keep: NDArray[np.uint64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], int]: ...
    def spread(self, tokens: NDArray[np.uint32], impacts: NDArray[np.uint8], ends: NDArray[np.int64]) -> int: ...

class Graph:
    def __init__(
        self,
        blocks: NDArray[np.uint8],
        root: NDArray[np.uint8],
        count: int,
        dim: int,
        degree: int,
        l2: bool,
        gain: float,
        edge_rms: float,
        spokes: NDArray[np.uint8] | None = None,
        rests: NDArray[np.uint8] | None = None,
        code_norm: float = 0.0,
        rest_norm: float = 0.0,
        packed: bool = False,
        edges: bool = True,
        spoke_rms: float = 0.0,
    ) -> None: ...
    def search(
        self,
        queries: NDArray[np.float32],
        vectors: NDArray[np.float32] | None,
        margin: float,
        frontier: int,
        keep: NDArray[np.uint64] | None,
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        scored: NDArray[np.int64],
        threads: int = 1,
        unit: str = "",
        handicap: float = 0.0,
        share: float = 1.0,
        room: int = 0,
        trial: int = 0,
        least_share: float = 0.0,
        budget: int = 0,
        by_spokes: bool = False,
        most: int = 0,
        enough: int = 0,
    ) -> None: ...
    def scan(
        self,
        queries: NDArray[np.float32],
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        rescored: NDArray[np.int64],
        threads: int = 1,
        keep: NDArray[np.uint64] | None = None,
        at: NDArray[np.uint32] | None = None,
        unit: str = "",
    ) -> None: ...
    def restore(self, first: int, out: NDArray[np.float32], threads: int = 1) -> None: ...
    def refine(
        self,
        links: NDArray[np.int32],
        which: NDArray[np.int32] | None,
        k: int,
        kept: int,
        threads: int,
        out: NDArray[np.int32],
        unit: str = "",
    ) -> None: ...
    def draft(
        self,
        which: NDArray[np.int32] | None,
        fan: int,
        leaf: int,
        near: int,
        drawn: int,
        strangers: int,
        degree: int,
        connected: bool,
        threads: int,
        unit: str = "",
    ) -> Draft: ...

class Draft:
    @property
    def starts(self) -> list[int]: ...
    def meet(self, first: int, last: int, threads: int, done: NDArray[np.uint64]) -> None: ...
    def parcel(self, first: int, last: int) -> bytes: ...
    def take(self, first: int, last: int, hash: int, reply: NDArray[np.uint8], done: NDArray[np.uint64]) -> None: ...
    def link(self, threads: int, out: NDArray[np.int32], done: NDArray[np.uint64]) -> None: ...

def parcel_hash(parcel: NDArray[np.uint8]) -> int: ...
def reply_to(parcel: NDArray[np.uint8], threads: int = 1, unit: str = "") -> bytes: ...
def has_ring() -> bool: ...
def group_bytes(dim: int) -> int: ...
def centre_bytes(dim: int) -> int: ...
def record_bytes(dim: int) -> int: ...
def records_a_page(dim: int) -> int: ...
def bytes_of_records(dim: int, count: int) -> int: ...
def encode_centres(
    frame: NDArray[np.float32], centres: NDArray[np.float32], l2: bool, out: NDArray[np.uint8]
) -> None: ...
def empty_groups(dim: int, groups: NDArray[np.uint8]) -> None: ...
def encode_rows(
    frame: NDArray[np.float32],
    centres: NDArray[np.uint8],
    vectors: NDArray[np.float32],
    l2: bool,
    lists: NDArray[np.int32],
    slots: NDArray[np.int64],
    rows: NDArray[np.int32],
    groups: NDArray[np.uint8],
    records: NDArray[np.uint8] | None,
    threads: int,
    unit: str = "",
) -> tuple[float, float]: ...

class Lists:
    reader: str
    lists: int
    reads: int
    def __init__(
        self,
        centres: NDArray[np.uint8],
        starts: NDArray[np.uint32],
        groups: NDArray[np.uint8],
        records: str,
        count: int,
        dim: int,
        l2: bool,
        gain: float,
        code_norm: float,
        rest_norm: float,
        reader: str = "auto",
    ) -> None: ...
    def search(
        self,
        queries: NDArray[np.float32],
        lists: int,
        margin: float,
        keep: NDArray[np.uint64] | None,
        survivors: int,
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        scored: NDArray[np.int64],
        threads: int = 1,
        budget: int = 0,
        unit: str = "",
    ) -> None: ...
    def scan(
        self,
        queries: NDArray[np.float32],
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        rescored: NDArray[np.int64],
        threads: int = 1,
        keep: NDArray[np.uint64] | None = None,
        at: NDArray[np.uint32] | None = None,
        unit: str = "",
    ) -> None: ...
    def restore(self, first: int, out: NDArray[np.float32]) -> None: ...
