"""Vectors in, approximate nearest neighbours out. FAISS builds, this package's kernels score and scan.

It knows nothing of models or HTTP, and of text only its words: embed makes the vectors, service answers requests. A
generation is immutable, and a new one replaces it in one step; what is written since lies beside it (changes/).

    build_generation   vectors → a generation on disk           build/pipeline.py
    open_generation    a generation, checked and mapped         search/opening.py
    Root               indexes, aliases, switch, rollback, gc   disk/root.py
    verify             every byte against its hash              disk/integrity.py
    VectorsFolder      what embed wrote                         disk/vectors_folder.py

Each line imports only what stands below it:

    cli.py         `perwatt build`
    keeping.py     `perwatt generations`, `switch`, `rollback`, `verify`, `gc`
    exporting.py   `perwatt export`: an index as Parquet or .npy
    whole_recall.py  recall of an index in shards as a whole
    backup/        an index to a store and back: `perwatt push`, `pull`
    options.py     options that several commands have
    printing.py    how the commands show things
    bench/         the index beside its peers
    build/         vectors to a generation
    changes/       what has changed since a generation
    shards/        an index in several parts, and one answer from them
    facets/        how many documents hold what
    search/        a generation opened and searched
    weights/       what a word is worth
    disk/          indexes, aliases, manifests, sections
    kernels/       distances, the scan and the walk, in every instruction set
    progress.py    how far a step is
    machine.py     cores and memory that this process may use
    errors.py      what can go wrong

Names are looked up when they are first used: `index.search.exact` alone must not cost the import of FAISS.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from index.build.pipeline import build_generation
    from index.disk.integrity import verify
    from index.disk.root import Alias, Root
    from index.disk.vectors_folder import VectorsFolder
    from index.errors import (
        ConflictError,
        FieldError,
        FilterError,
        GenerationError,
        IndexingError,
        InputError,
        KernelError,
        NotFoundError,
        PublishCheckError,
        StorageError,
    )
    from index.search.exact import TopK
    from index.search.generation import Generation
    from index.search.opening import open_generation

_PLACES = {
    "Alias": "index.disk.root",
    "ConflictError": "index.errors",
    "FieldError": "index.errors",
    "FilterError": "index.errors",
    "TopK": "index.search.exact",
    "PublishCheckError": "index.errors",
    "Generation": "index.search.generation",
    "GenerationError": "index.errors",
    "IndexingError": "index.errors",
    "InputError": "index.errors",
    "KernelError": "index.errors",
    "NotFoundError": "index.errors",
    "Root": "index.disk.root",
    "StorageError": "index.errors",
    "VectorsFolder": "index.disk.vectors_folder",
    "build_generation": "index.build.pipeline",
    "open_generation": "index.search.opening",
    "verify": "index.disk.integrity",
}

__all__ = [
    "Alias",
    "ConflictError",
    "FieldError",
    "FilterError",
    "Generation",
    "GenerationError",
    "IndexingError",
    "InputError",
    "KernelError",
    "NotFoundError",
    "PublishCheckError",
    "Root",
    "StorageError",
    "TopK",
    "VectorsFolder",
    "build_generation",
    "open_generation",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'index' has no attribute {name!r}")
