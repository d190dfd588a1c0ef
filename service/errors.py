"""Foreseen failures of the service outside of a request; inside of one they are problems
(`wire/problems.py`).

    ServiceError           base: one full sentence for the person at the command line
    ├── SettingsError      a setting that cannot be honoured
    ├── LoadError          a generation that must not be served, with the problem code a caller would see
    ├── RemoteError        a server that was asked by the command line and did not answer with hits
    ├── KeysError          a file of keys that cannot be used, or a key that is not there
    └── JudgementsError    a malformed line in queries or qrels; names the file and the line
"""

from __future__ import annotations


class ServiceError(Exception):
    """A foreseen failure; `str(error)` says what was given, what was expected and what to do
    next."""


class SettingsError(ServiceError):
    """A setting, or a combination of settings, that the service will not run with."""


class KeysError(ServiceError):
    """A file of keys, or a change to one, that makes no sense; never repeats what could be a secret."""


class LoadError(ServiceError):
    """A generation that is not fit to be served. `code` is the problem code an admin call answers
    with."""

    def __init__(self, message: str, code: str = "invalid-value") -> None:
        super().__init__(message)
        self.code = code


class RemoteError(ServiceError):
    """The server named by `--url` refused, failed or could not be reached."""


class JudgementsError(ServiceError):
    """A file of queries or relevance judgements that cannot be read as BEIR writes it."""
