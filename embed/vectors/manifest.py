"""embed.json, the manifest of a folder of vectors: which fragments count, and the model and the run that made them."""

import json
from pathlib import Path
from typing import Any

from embed.errors import EmbedError

MANIFEST = "embed.json"
FORMAT = 1


class ManifestError(EmbedError):
    """embed.json is not what this version writes. `problem` is the end of the sentence that begins with its path."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} {problem}")
        self.problem = problem


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What embed.json in `folder` holds; None where there is none. Raises ManifestError."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ManifestError(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(
            path,
            f"is damaged: not JSON ({error}). Delete it and run `perwatt embed` again: it uses the fragments beside it",
        ) from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise ManifestError(path, f"has format {found!r}, expected {FORMAT}. Choose another folder for `perwatt embed`")
    return dict(manifest)
