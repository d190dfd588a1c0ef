"""Modules that are large and that few tests need, imported when something of them is first asked for: every process of
a test run collects every file, and most of them run no test of it."""

from __future__ import annotations

import importlib
from typing import Any


class Late:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # pytest looks at whatever it finds in a file of tests
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)
