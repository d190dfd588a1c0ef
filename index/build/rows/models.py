"""What a build may need of models, which are not known here: `perwatt build` is handed both."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from index.build.queries import FitQueries
from index.build.rows.sparse import SparseModel
from index.disk.manifest import SPARSE, read_manifest
from index.disk.root import Root
from index.errors import GenerationError, InputError, NotFoundError
from index.shards.sealed import ShardedIndex

NO_SPARSE = "none"  # for who wants none, though the served generation has weights


class LoadSparse(Protocol):
    def __call__(self, model: str, threads: int, *, served: bool) -> SparseModel:
        """The model of a folder or name.

        Args:
            served: It is that of the served generation, and was not asked for: what is wrong then, and what to do.
        """


class BuildModels(NamedTuple):
    """
    Args:
        query_fitter: what fits a query encoder, by the model of the vectors and settings (build/queries.py).
        sparse: what loads a model that weighs the tokens of documents (sparse.py).
    """

    query_fitter: Callable[..., FitQueries]
    sparse: LoadSparse


def sparse_in_served(root: Path, name: str) -> str | None:
    """The model that weighed the tokens of the served generation, or of its first shard; None where there is none."""
    for path in served_paths(root, name):
        with suppress(GenerationError):
            entry = read_manifest(path).get(SPARSE)
            return None if entry is None else str(entry["from"])
    return None


def served_paths(root: Path, name: str) -> list[Path]:
    """The folders of what is served of an index, one of each shard; none where nothing is."""
    found = []
    for place in (Root(root), *ShardedIndex(root, name).places()):
        with suppress(NotFoundError, GenerationError, InputError):
            found.append(place.path(name))
    return found
