"""Tensors of a safetensors file as float32 NumPy arrays.

The safetensors package does the reading; this adds the one thing its NumPy side lacks: bfloat16, which NumPy has no
type for. A bfloat16 is the upper half of a float32, so widening is a shift.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize

from embed.errors import ModelError

TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


def read_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every floating-point tensor of the file, as float32 in its stored shape. Integer buffers are left out."""
    try:
        entries: list[tuple[str, dict[str, Any]]] = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read as safetensors: {error}.") from None
    tensors = {}
    for name, entry in entries:
        kind, shape, data = entry["dtype"], entry["shape"], entry["data"]
        if kind == "BF16":
            wide = np.frombuffer(data, np.uint16).astype(np.uint32) << 16
            tensors[name] = wide.view(np.float32).reshape(shape)
        elif kind in TYPES:
            tensors[name] = np.frombuffer(data, TYPES[kind]).astype(np.float32).reshape(shape)
    return tensors
