"""Versions of what is installed, for `/version`, the API document and metrics."""

from __future__ import annotations

PACKAGES = ("faiss-cpu", "fastapi", "msgspec", "numpy", "onnxruntime", "uvicorn")
