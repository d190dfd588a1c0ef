"""The encoder's kernels below Python's encoder: what the binding refuses, and what is really in the binary."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import disassembly
import loops
import numpy as np
import pytest
from instructions import ENCODER_INSTRUCTIONS

from embed.encoders.packed_bert import bfloat16, in_panels, quantise
from embed.kernels import _native, built, info, units
from index.kernels import _native as index_native

HIDDEN, INNER = 64, 128


def random_model(unit: str = "scalar", **changes: Any) -> _native.Bert:
    random = np.random.default_rng(4)
    arguments: dict[str, Any] = {
        "words": bfloat16(random.normal(size=(50, HIDDEN)).astype(np.float32)),
        "positions": random.normal(size=(20, HIDDEN)).astype(np.float32),
        "norm": np.stack([np.ones(HIDDEN), np.zeros(HIDDEN)]).astype(np.float32),
        "heads": 2,
        "epsilon": 1e-12,
        "activation": "gelu",
        "pooling": "mean",
        "normalize": True,
    }
    model = _native.Bert(unit, **(arguments | changes))
    model.add_layer(**layer(unit))
    return model


def layer(unit: str = "scalar", **changes: Any) -> dict[str, Any]:
    random = np.random.default_rng(5)
    parts: dict[str, Any] = {}
    shapes = {
        "qkv": (3 * HIDDEN, HIDDEN),
        "attended": (HIDDEN, HIDDEN),
        "inner": (INNER, HIDDEN),
        "outer": (HIDDEN, INNER),
    }
    for name, shape in shapes.items():
        codes, parts[f"{name}_scales"] = quantise(
            random.normal(size=shape).astype(np.float32) * 0.1, np.zeros(shape[0], np.float32)
        )
        parts[name] = aligned(in_panels(codes, _native.group(unit)))
    for name in ("attention_norm", "norm"):
        parts[name] = np.stack([np.ones(HIDDEN), np.zeros(HIDDEN)]).astype(np.float32)
    return parts | changes


def aligned(array: Any, by: int = 0) -> Any:
    raw = np.zeros(array.nbytes + 128, np.uint8)
    start = -raw.ctypes.data % 64 + by
    copy = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def encode(model: _native.Bert, ids: list[int], ends: list[int], shape: tuple[int, int] | None = None) -> Any:
    out = np.full(shape or (len(ends), HIDDEN), np.nan, np.float32)
    model.encode(np.array(ids, np.int32), np.array(ends, np.int32), out)
    return out


@pytest.mark.parametrize("unit", units())
def test_a_random_model_gives_unit_vectors(unit: str) -> None:
    out = encode(random_model(unit), [1, 2, 3, 4, 49, 0], [2, 3, 6])
    assert np.abs(np.linalg.norm(out, axis=1) - 1).max() < 1e-5


@pytest.mark.parametrize(
    ("ids", "ends", "shape", "message"),
    [
        ([1, 50], [2], None, "not in the vocabulary"),
        ([1, -1], [2], None, "not in the vocabulary"),
        ([1, 2], [1], None, "last end must be the number of tokens"),
        ([1, 2], [1, 1, 2], None, "at least one token"),
        ([1, 2], [2, 1], None, "at least one token"),
        ([1] * 21, [21], None, "longer than the model's positions"),
        ([1, 2], [2], (2, HIDDEN), "out must be"),
        ([1, 2], [2], (1, HIDDEN - 1), "out must be"),
    ],
)
def test_what_would_read_out_of_bounds_is_refused(
    ids: list[int], ends: list[int], shape: tuple[int, int] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        encode(random_model(), ids, ends, shape)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 4}, "32 or 64 wide"),
        ({"heads": 3}, "multiple of 64 and of heads"),
        ({"activation": "swish"}, "unknown activation"),
        ({"pooling": "last"}, "unknown pooling"),
        ({"positions": np.zeros((20, 32), np.float32)}, "as wide as words"),
        ({"norm": np.zeros((2, 32), np.float32)}, r"a norm must be \(2, hidden\)"),
    ],
)
def test_a_model_of_impossible_shape_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        random_model(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qkv": layer()["attended"]}, "codes must be"),
        ({"outer_scales": np.zeros((2, HIDDEN), np.float32)}, "scales must be"),
        ({"inner": aligned(layer()["inner"], 4)}, "aligned to 64"),
    ],
)
def test_a_layer_of_impossible_shape_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        random_model().add_layer(**layer(**changes))


def test_a_model_without_layers_is_refused() -> None:
    words, positions = np.zeros((3, HIDDEN), np.uint16), np.zeros((3, HIDDEN), np.float32)
    norm = np.zeros((2, HIDDEN), np.float32)
    model = _native.Bert("scalar", words, positions, norm, 2, 1e-12, "gelu", "mean", True)
    with pytest.raises(ValueError, match="no layers"):
        encode(model, [1], [1])


def test_the_model_holds_the_arrays_it_reads() -> None:
    model = random_model()
    before = encode(model, [1, 2, 3], [3])
    _ = [np.full((300, 300), 7.0) for _ in range(50)]  # would reuse what was freed
    assert np.array_equal(encode(model, [1, 2, 3], [3]), before)


@pytest.mark.parametrize("group", [4, 8])
def test_panels_keep_every_code(group: int) -> None:
    codes = np.random.default_rng(0).integers(-127, 128, (48, 64)).astype(np.int8)
    panels = in_panels(codes, group)
    for channel, k in ((0, 0), (17, 5), (47, 63), (31, 8)):
        assert panels[channel // 16, k // group, channel % 16, k % group] == codes[channel, k]


def test_quantised_weights_are_within_half_a_step_and_survive_zero() -> None:
    weight = np.random.default_rng(0).normal(size=(32, 64)).astype(np.float32)
    weight[3] = 0
    codes, (step, sums, _) = quantise(weight, np.zeros(32, np.float32))
    assert (np.abs(codes * step[:, None] - weight) <= step[:, None] * 0.5001).all()
    assert np.abs(codes[[0, 1, 2, 4]]).max(axis=1).tolist() == [127] * 4
    assert np.allclose(sums, codes.sum(1, dtype=np.int64) * step)


def test_bfloat16_rounds_to_nearest_even() -> None:
    torch = pytest.importorskip("torch")
    values = np.concatenate([np.random.default_rng(0).normal(size=1000), [0, 1.00390625, 1.01171875]]).astype(
        np.float32
    )
    expected = torch.from_numpy(values).bfloat16().view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(bfloat16(values), expected)


def test_info_names_the_unit_in_use() -> None:
    facts = info()
    assert facts["arch"] == platform.machine()
    assert facts["isa"] in units()
    assert units()[-1] == "scalar"


@pytest.mark.parametrize("unit", [name for name, _ in _native.units()])
def test_the_library_holds_the_instructions_that_each_unit_is_named_for(unit: str) -> None:
    units = disassembly.instructions(Path(_native.__file__), "perwatt::bert")
    disassembly.check(units, unit, ENCODER_INSTRUCTIONS[platform.machine()])


@pytest.mark.parametrize("unit", [name for name, _ in _native.units() if name != "scalar"])
def test_the_instructions_of_no_loop_keep_its_sums_in_memory(unit: str) -> None:
    assert loops.complaints(Path(_native.__file__), "perwatt::bert", unit) == []


def test_both_packages_climb_the_same_ladder_and_see_the_same_processor() -> None:
    """Neither may import the other, and PERWATT_ISA means one thing to both."""
    assert _native.ladder() == index_native.ladder()
    assert _native.features() == index_native.features()
    assert {rung for rung, _ in _native.ladder()} == {*built(), *(name for name, _ in index_native.units())}
