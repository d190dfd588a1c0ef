"""A BERT-shaped model as the native encoder reads it: weights in the order the processor consumes them.

The file is made once a machine in the cache, checked by its hash at every start and mapped, so that all
workers share one copy through the page cache. It is a safetensors file whose header is padded until the data starts on
a page; every tensor then lies on a multiple of 64 bytes, because the encoder's widths are multiples of 64.

What is done to the weights: query, key and value become one matrix; the query's rows carry log2(e) / √(head width), so
that softmax is a power of two without another multiplication; every output channel is divided by its own step, the
largest magnitude of the channel over 127; the codes are cut into panels of 16 channels, and within a panel the bytes
that one dot-product instruction wants together lie together (`group`: 4 inputs, or 8 for SMMLA). For AVX2 each panel of
8 channels has its codes in an order of its own (kernels/ordered.hpp). Word embeddings are kept as bfloat16: their
rounding, 0.1 % a component and independent between components, moves a cosine by 1e-6.

In fp32 the same matrices lie in the same panels as float32, an input's 16 channels side by side, whatever the unit.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embed.errors import ModelError
from embed.kernels import Packing, _native
from embed.models.bert_names import bert_tensors
from embed.models.cache import cache_folder, cached
from embed.models.folder import ModelFolder
from embed.models.safetensors_file import read_tensors
from embed.vectors.scratch import scratch_folder

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

# Changes whenever the same model would be packed otherwise.
RECIPE = 2

PANEL = 16  # output channels side by side; kPanel of kernels/bert.hpp
LARGEST = 127
# Of a channel of weights: an all-zero one must not be divided by zero.
LEAST_MAGNITUDE = np.float32(1e-20)
DATA_START = 4096
TYPES = {"I8": np.int8, "I32": np.int32, "F32": np.float32, "BF16": np.uint16}


def packed_bert(
    folder: ModelFolder, weights_sha256: str, packing: Packing | None, keep: bool = True, pairs: bool = False
) -> dict[str, Array]:
    """The packed tensors of `folder` by name, as read-only views of the mapped file, made first if it is not there.

    Args:
        packing: Of the unit that will read int8 codes, or None for fp32.
        keep: Whether what is not in the cache yet stays there. fp32 is as large as the model, and may be wanted only
            once, to measure int8.
        pairs: Whether the vocabulary is there twice, the second time with the embeddings of segment 1.

    Returns:
        positions float32 (positions, hidden), norm float32 (2, hidden), and for layer i i.attention_norm and i.norm
        float32 (2, hidden). In int8: words bfloat16 as uint16 (vocabulary, hidden); i.qkv, i.attended, i.inner, i.outer
        int8 (out / 16, in / group, 16, group), or where codes are ordered (1, steps, 8, 4) with i.….order int32; each
        with i.….scales float32 (3, out): step, step times the sum of the codes, bias. In fp32: words float32; the
        matrices float32 (out / 16, in, 16), each with i.….bias float32 (out,).

    Raises:
        ModelError: A tensor is missing, or the cache cannot be written.
    """
    settings = json.dumps(folder.config, sort_keys=True).encode()
    how = packing if packing and packing.ordered else packing and packing.group
    recipe = [RECIPE, weights_sha256, how, hashlib.sha256(settings).hexdigest(), *(["pairs"] if pairs else [])]
    name = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:24]
    kind = "fp32" if packing is None else f"int8-k{packing.group}" + ("-ordered" if packing.ordered else "")
    file = f"{folder.path.name}-{kind}-{name}.safetensors"
    if not keep and not (cache_folder() / file).exists():
        return _mapped_only(_pack(folder, packing, pairs), file)
    return _mapped(cached(file, lambda target: _write(_pack(folder, packing, pairs), target)))


def packed_layers(folder: ModelFolder, layers: Mapping[str, Floats], packing: Packing | None) -> dict[str, Array]:
    """Other layers for the embeddings of `folder`, packed as `packed_bert` packs its own, and not kept.

    Args:
        layers: float32 tensors by their BERT names, "encoder.layer.0.…" on; they must have the widths of the model's.

    Raises:
        ModelError: A tensor is missing.
    """

    def tensor(name: str) -> Floats:
        try:
            return layers[name]
        except KeyError:
            raise ModelError(f"the layers have no tensor {name!r}, which a layer of a BERT model has") from None

    packed = _pack_layers(tensor, folder.config, layer_count(layers), packing)
    return _mapped_only(packed, "layers.safetensors")


def layer_count(tensors: Iterable[str]) -> int:
    """How many layers the tensors of these names make up."""
    return len({name.split(".layer.")[1].split(".")[0] for name in tensors if ".layer." in name})


def _pack(folder: ModelFolder, packing: Packing | None, pairs: bool) -> dict[str, tuple[str, Array]]:
    tensors = bert_tensors(read_tensors(folder.weights))
    prefix = "bert." if "bert.embeddings.word_embeddings.weight" in tensors else ""

    def tensor(name: str) -> Floats:
        try:
            return tensors[prefix + name]
        except KeyError:
            raise ModelError(
                f"{folder.weights} has no tensor {prefix + name!r}, which a BERT model has. "
                "Use --backend torch for a model of another shape."
            ) from None

    packed = _pack_layers(tensor, folder.config, int(folder.config["num_hidden_layers"]), packing)
    segments = tensor("embeddings.token_type_embeddings.weight")  # of a single text every token is of segment 0
    packed["positions"] = "F32", tensor("embeddings.position_embeddings.weight") + segments[0]
    packed["norm"] = _norm(tensor, "embeddings.LayerNorm")
    words = tensor("embeddings.word_embeddings.weight")
    if pairs:
        words = np.concatenate([words, words + (segments[1] - segments[0])])
    packed["words"] = ("F32", words) if packing is None else ("BF16", bfloat16(words))
    return packed


def _pack_layers(
    tensor: Callable[[str], Floats], config: dict[str, Any], count: int, packing: Packing | None
) -> dict[str, tuple[str, Array]]:
    packed: dict[str, tuple[str, Array]] = {}

    def linear(name: str, weight: Floats, bias: Floats) -> None:
        if packing is None:
            packed[name] = "F32", in_panels(weight, 1)[..., 0]
            packed[f"{name}.bias"] = "F32", bias
            return
        codes, scales = quantise(weight, bias)
        if packing.ordered:
            panels, order = _native.ordered(codes)
            packed[f"{name}.order"] = "I32", order
        else:
            panels = in_panels(codes, packing.group)
        packed[name] = "I8", panels
        packed[f"{name}.scales"] = "F32", scales

    head_width = config["hidden_size"] // config["num_attention_heads"]
    to_power_of_two = np.float32(math.log2(math.e) / math.sqrt(head_width))
    for i in range(count):
        layer = f"encoder.layer.{i}"
        query, key, value = (f"{layer}.attention.self.{part}" for part in ("query", "key", "value"))
        weights = [tensor(f"{part}.weight") for part in (query, key, value)]
        biases = [tensor(f"{part}.bias") for part in (query, key, value)]
        weights[0], biases[0] = weights[0] * to_power_of_two, biases[0] * to_power_of_two
        linear(f"{i}.qkv", np.concatenate(weights), np.concatenate(biases))
        packed[f"{i}.attention_norm"] = _norm(tensor, f"{layer}.attention.output.LayerNorm")
        packed[f"{i}.norm"] = _norm(tensor, f"{layer}.output.LayerNorm")
        for name, source in (
            ("attended", f"{layer}.attention.output.dense"),
            ("inner", f"{layer}.intermediate.dense"),
            ("outer", f"{layer}.output.dense"),
        ):
            linear(f"{i}.{name}", tensor(f"{source}.weight"), tensor(f"{source}.bias"))
    return packed


def _norm(tensor: Callable[[str], Floats], name: str) -> tuple[str, Array]:
    return "F32", np.stack([tensor(f"{name}.weight"), tensor(f"{name}.bias")])


def quantise(weight: Floats, bias: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """weight float32 (out, in), bias (out,) → codes int8 (out, in) within ±127 and scales float32 (3, out)."""
    step = np.maximum(np.abs(weight).max(axis=1), LEAST_MAGNITUDE) / LARGEST
    codes = np.rint(weight / step[:, None]).astype(np.int8)
    sums = codes.sum(axis=1, dtype=np.int64)
    return codes, np.stack([step, step * sums, bias]).astype(np.float32)


def in_panels(codes: Array, group: int) -> Array:
    """(out, in) → (out / 16, in / group, 16, group)."""
    out, width = codes.shape
    panels = codes.reshape(out // PANEL, PANEL, width // group, group)
    return np.ascontiguousarray(panels.transpose(0, 2, 1, 3))


def bfloat16(values: Floats) -> npt.NDArray[np.uint16]:
    """The upper halves of float32 values, rounded to nearest even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype(np.uint16)


def _write(packed: dict[str, tuple[str, Array]], target: Path) -> None:
    header, at = {}, 0
    for name, (kind, values) in packed.items():
        header[name] = {
            "dtype": kind,
            "shape": list(values.shape),
            "data_offsets": [at, at + values.nbytes],
        }
        at += values.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    room = -(-(len(text) + 8) // DATA_START) * DATA_START - 8
    with target.open("wb") as file:
        file.write(room.to_bytes(8, "little") + text.ljust(room))
        for _, values in packed.values():
            file.write(np.ascontiguousarray(values).data)


def _mapped_only(packed: dict[str, tuple[str, Array]], file: str) -> dict[str, Array]:
    """In a file without a name, so that it lies as the kernels want it; the mapping outlives the name."""
    with scratch_folder() as made:
        _write(packed, made / file)
        return _mapped(made / file)


def _mapped(path: Path) -> dict[str, Array]:
    with path.open("rb") as file:
        view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    room = int.from_bytes(view[:8], "little")
    tensors: dict[str, Array] = {}
    for name, entry in json.loads(view[8 : 8 + room]).items():
        start, end = entry["data_offsets"]
        kind: Any = TYPES[entry["dtype"]]
        values = np.frombuffer(view, kind, (end - start) // np.dtype(kind).itemsize, 8 + room + start)
        tensors[name] = values.reshape(entry["shape"])
    return tensors
