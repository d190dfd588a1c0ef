"""`verify`: every byte of a generation against its manifest, as opening it does, without opening anything else."""

from pathlib import Path

from index import machine
from index.disk.manifest import check_files, read_manifest


def verify(path: Path | str) -> None:
    """Raises GenerationError naming the file that is missing, extra, truncated, exchanged or damaged."""
    folder = Path(path)
    check_files(folder, read_manifest(folder), machine.cores())
