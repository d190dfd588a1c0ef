"""Opens a generation: every hash is compared before a file is opened (a manifest that does not verify is the last thing
that is read), and what is not as it was written is refused by its name."""

from pathlib import Path

from index import machine
from index.disk.manifest import MANIFEST_FILE, check_files, read_manifest
from index.errors import GenerationError, KernelError
from index.search.generation import Generation


def open_generation(path: Path | str, threads: int = 1, verify: bool = True, huge_pages: bool = False) -> Generation:
    """Opens a generation's folder. Raises GenerationError, naming the file, when anything is not as it was written.

    `verify=False` skips the hashes (not the manifest's own), for who has just checked them; a damaged FAISS file may
    then do anything. `huge_pages` copies a graph's blocks into huge pages of this process: walks are a tenth to a
    fifth quicker, opening takes as long as the copy, and the memory is no longer shared with other processes.
    """
    return _open(Path(path), threads, verify, None, huge_pages=huge_pages)


def open_staged(path: Path, threads: int, generation: str) -> Generation:
    """As `open_generation`, for the folder of a build, which is not called like its generation yet."""
    return _open(path, threads, True, generation)


def _open(path: Path, threads: int, verify: bool, generation: str | None, *, huge_pages: bool = False) -> Generation:
    manifest = read_manifest(path, generation)
    if verify:
        check_files(path, manifest, max(threads, machine.cores()))
    try:
        return Generation(path, manifest, threads, huge_pages=huge_pages)
    except (GenerationError, KernelError):
        raise
    except Exception as error:
        # A manifest that lies with the right hashes can make NumPy, Arrow or FAISS raise anything.
        what = f"{type(error).__name__}: {error}"
        raise GenerationError(path / MANIFEST_FILE, f"does not fit its files ({what})") from error
