"""The vectors folder: what a run finds there, and how the new state replaces the old one.

    DIR/embed.json          written last: it names the fragments that count
    DIR/part-…, spool-…     see fragments.py
    DIR/.lock               held by the run that writes

Fragments are only ever added until embed.json is replaced, in one rename; then those it does not
name are deleted. So a kill at any moment leaves the old state whole, or the new one with some files
too many, and what the killed run had finished is found by the next one."""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from embed.errors import EmbedError
from embed.vectors import fragments
from embed.vectors.durable import TEMPORARY, sync, write_durably
from embed.vectors.fragments import DamagedFragmentError, Fragment
from embed.vectors.manifest import MANIFEST, read_manifest
from embed.vectors.vector_cache import VectorCache


class FolderError(EmbedError):
    """The folder cannot be written to, or is being written to."""


def learn(folder: Path, fingerprint_id: str, known: VectorCache, warn: Callable[[str], None]) -> tuple[set[str], int]:
    """Adds every whole fragment of this model to `known`; returns the names of all whole fragments, and how many rows
    those of other models have.

    Damaged ones, and ones that embed.json names and that are gone, are told to `warn` and otherwise
    ignored."""
    manifest = read_manifest(folder) or {}
    named = {entry["file"] for entry in manifest.get("fragments", [])}
    present = sorted(path for path in folder.iterdir() if fragments.NAME.fullmatch(path.name))
    for name in sorted(named - {path.name for path in present}):
        warn(f"{folder / name}, which embed.json names, is gone; its texts are embedded again")
    whole: set[str] = set()
    foreign = 0
    for path in present:
        try:
            fragment = fragments.check(path)
            if fragments.fingerprint_id(fragment) == fingerprint_id:
                known.add(fragment, fragments.read_hashes(fragment))
            else:
                foreign += fragment.rows
            whole.add(path.name)
        except DamagedFragmentError as error:
            rest = (
                "its texts are embedded again" if path.name in named else "it is left over from a killed run; ignored"
            )
            warn(f"{error}; {rest}")
    return whole, foreign


class VectorsWriter:
    """The folder of --out, locked from `open` to the end of the `with` block.

    Opened inside of the block and not by entering it: who is told to end while it opens leaves the block, too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest: dict[str, Any] | None = None
        self._lock = -1
        self._made: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def open(self) -> None:
        """Raises FolderError when it cannot be written to, or another run writes to it."""
        self._made = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._made = []
            raise FolderError(
                f"{self.path} is being written by another run; wait for it to end, or choose another --out"
            ) from None
        except OSError as error:
            raise FolderError(f"{self.path} cannot be written to: {error.strerror}") from error
        self.manifest = read_manifest(self.path)
        for leftover in self.path.glob(f"{TEMPORARY}*"):
            leftover.unlink()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._leave_no_trace()
        if self._lock >= 0:
            os.close(self._lock)  # lets go of the lock too

    def _leave_no_trace(self) -> None:
        """Of a first run that failed before it had anything to keep."""
        if self.path in self._made and self.path.is_dir() and {path.name for path in self.path.iterdir()} <= {".lock"}:
            (self.path / ".lock").unlink(missing_ok=True)
            for path in self._made:
                with contextlib.suppress(OSError):  # somebody else put something there
                    path.rmdir()

    def commit(self, manifest: dict[str, Any], kept: Sequence[Fragment]) -> bool:
        """Replaces embed.json, then deletes every fragment it does not name.

        Returns False, and leaves embed.json with the record of the run that made it, when nothing
        changed but the time."""
        passing = {"created_at", "run"}
        before = {key: value for key, value in (self.manifest or {}).items() if key not in passing}
        changed = before != {key: value for key, value in manifest.items() if key not in passing}
        if changed:
            write_durably(self.path / MANIFEST, json.dumps(manifest, ensure_ascii=False).encode())
            self.manifest = manifest
        names = {fragment.path.name for fragment in kept}
        for path in list(self.path.iterdir()):
            if fragments.NAME.fullmatch(path.name) and path.name not in names:
                path.unlink()
        sync(self.path)
        return changed
