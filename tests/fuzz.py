"""Coverage-guided fuzzing of what fuzzing.py lists, by atheris.

    python tests/fuzz.py filter|cursor|signed-cursor|manifest SECONDS

Functions are instrumented one by one: the import hook of atheris does not see an editable installation.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import tempfile
from pathlib import Path

import atheris
from fuzzing import SEEDS, TARGETS

SEEN = (
    *(
        "index.search.filtering",
        "index.search.fields.columns",
        "index.search.fields.conditions",
        "index.search.fields.postings",
        "index.disk.manifest",
        "index.disk.sealed",
    ),
    *("service.wire.filters", "service.wire.cursor"),
)


def instrument() -> None:
    for name in SEEN:
        module = importlib.import_module(name)
        owners = [module, *(each for _, each in inspect.getmembers(module, inspect.isclass) if each.__module__ == name)]
        for owner in owners:
            for _, function in inspect.getmembers(owner, inspect.isfunction):
                if function.__module__ == name:
                    atheris.instrument_func(function)


def main() -> None:
    name, seconds = sys.argv[1], sys.argv[2]
    instrument()
    corpus = Path(tempfile.mkdtemp(prefix="perwatt-corpus-"))
    for number, seed in enumerate(SEEDS[name]):
        (corpus / str(number)).write_bytes(seed)
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", str(corpus)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
