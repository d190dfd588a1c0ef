"""FAISS without its type stubs, which lack what this package uses most: search parameters, statistics, HNSW."""

from typing import Any, TypeAlias

import faiss as _faiss

faiss: Any = _faiss
FaissIndex: TypeAlias = Any
