"""Files that are made once from a model and kept: `$PERWATT_CACHE`, by default `~/.cache/perwatt`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from embed.errors import ModelError
from embed.models.folder import sha256_file
from embed.vectors.scratch import scratch_folder


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The path of `name` in the cache, written by `make` first if it is not there or not what was written.

    Raises ModelError when the cache cannot be written.
    """
    target = cache_folder() / name
    if target.is_file() and _intact(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(target.parent, ".making-") as making:
            made = making / target.name
            make(made)
            digest = sha256_file(made)
            with made.open("rb") as file:
                os.fsync(file.fileno())
            _digest_path(made).write_text(digest)
            _digest_path(made).replace(_digest_path(target))
            made.replace(target)
    except OSError as error:
        raise ModelError(
            f"The prepared model cannot be written to {target.parent}: {error.strerror or error}. "
            "Free some space there, or set PERWATT_CACHE to a folder that can be written."
        ) from None
    return target


def cache_folder() -> Path:
    given = os.environ.get("PERWATT_CACHE")
    if given:
        return Path(given) / "models"
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home, as containers have
        base = Path(tempfile.gettempdir()) / f"perwatt-{os.getuid()}"
    return base / "perwatt" / "models"


def _digest_path(graph: Path) -> Path:
    return graph.with_suffix(".sha256")


def _intact(graph: Path) -> bool:
    """A damaged cache is made anew: it holds nothing that cannot be derived."""
    try:
        return _digest_path(graph).read_text() == sha256_file(graph)
    except OSError:
        return False
