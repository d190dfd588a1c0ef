"""index: vectors in, approximate nearest neighbours out. FAISS builds, this package's kernels score and scan.

It knows nothing of models or HTTP, and of text only its words: embed makes the vectors, service answers requests. It
stores no deletions and no updates either: a generation is immutable, and a new one replaces it in one step.

    build_generation   vectors → a generation on disk           build.py
    open_generation    a generation, checked and mapped         generation.py
    Root               indexes, aliases, switch, rollback, gc   root.py
    verify             every byte against its hash              integrity.py
    VectorsFolder      what embed wrote                         vectors.py

Names are looked up when they are first used: `index.exact` alone must not cost the import of FAISS.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from index.build import build_generation
    from index.errors import (
        ConflictError,
        FieldError,
        FilterError,
        GateError,
        GenerationError,
        IndexingError,
        InputError,
        KernelError,
        NotFoundError,
        StorageError,
    )
    from index.exact import Found
    from index.generation import Generation, open_generation
    from index.integrity import verify
    from index.root import Alias, Root
    from index.vectors import VectorsFolder

_PLACES = {
    "Alias": "index.root",
    "ConflictError": "index.errors",
    "FieldError": "index.errors",
    "FilterError": "index.errors",
    "Found": "index.exact",
    "GateError": "index.errors",
    "Generation": "index.generation",
    "GenerationError": "index.errors",
    "IndexingError": "index.errors",
    "InputError": "index.errors",
    "KernelError": "index.errors",
    "NotFoundError": "index.errors",
    "Root": "index.root",
    "StorageError": "index.errors",
    "VectorsFolder": "index.vectors",
    "build_generation": "index.build",
    "open_generation": "index.generation",
    "verify": "index.integrity",
}

__all__ = [
    "Alias",
    "ConflictError",
    "FieldError",
    "FilterError",
    "Found",
    "GateError",
    "Generation",
    "GenerationError",
    "IndexingError",
    "InputError",
    "KernelError",
    "NotFoundError",
    "Root",
    "StorageError",
    "VectorsFolder",
    "build_generation",
    "open_generation",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'index' has no attribute {name!r}")
