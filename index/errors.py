"""What can go wrong in this package, as one tree. Every message is a sentence for the person who gave the input.

IndexingError
├── InputError         rows or settings that no index can be made from, or a query that it cannot answer
│   ├── FilterError    a filter that is malformed, or compares a field with a value of another type
│   ├── FieldError     a filter on a field that was not declared when the generation was built
│   └── TakenError     a generation of that id is there already, or being built
├── GenerationError    a file of a generation, a manifest or an alias that is damaged, missing or not ours
├── NotFoundError      no index or generation of that name
├── ConflictError      the alias was changed by someone else in between
├── StorageError       the disk is full, read-only or failing; nothing that is served has changed
├── BackupError        a backup that is damaged, incomplete or unlike what it says, or a store that cannot be used
├── PublishCheckError          a generation was built, but a check (recall, count) kept it from being switched to
└── KernelError        PERWATT_ISA names a unit that cannot run here, or PERWATT_READER such a reader
"""

from pathlib import Path


class IndexingError(Exception):
    """Base of the errors of this package."""


class InputError(IndexingError):
    pass


class FilterError(InputError):
    """`at`: JSON pointer into the filter. `unknown`: the name that does not exist, if that is the fault."""

    def __init__(self, message: str, at: str, unknown: str | None = None) -> None:
        super().__init__(message)
        self.at, self.unknown = at, unknown


class FieldError(InputError):
    """`at`: JSON pointer to the name of the field."""

    def __init__(self, message: str, at: str) -> None:
        super().__init__(message)
        self.at = at


class TakenError(InputError):
    pass


class GenerationError(IndexingError):
    """`file` is the path that is damaged."""

    def __init__(self, file: Path, message: str) -> None:
        super().__init__(f"{file}: {message}")
        self.file = file


class NotFoundError(IndexingError):
    pass


class ConflictError(IndexingError):
    """`etag` is the alias's present one."""

    def __init__(self, message: str, etag: str) -> None:
        super().__init__(message)
        self.etag = etag


class StorageError(IndexingError):
    pass


class BackupError(IndexingError):
    pass


class PublishCheckError(IndexingError):
    """`generation` is the path of the generation that was written and not switched to."""

    def __init__(self, message: str, generation: Path) -> None:
        super().__init__(message)
        self.generation = generation


class KernelError(IndexingError):
    pass
