"""Versions of what is installed, for `/version`, the API document and metrics."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("faiss-cpu", "fastapi", "msgspec", "numpy", "onnxruntime", "uvicorn")


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def own() -> str:
    """perwatt's own version; "not installed" where the source is run without installation."""
    return installed("perwatt") or "not installed"
