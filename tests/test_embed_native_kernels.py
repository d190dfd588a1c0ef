"""The encoder's kernels below Python's encoder: what the binding refuses, and what is really in the binary."""

from __future__ import annotations

import platform
from itertools import pairwise
from pathlib import Path
from typing import Any

import disassembly
import loops
import numpy as np
import pytest
from instructions import ENCODER_INSTRUCTIONS

from embed.encoders.packed_bert import bfloat16, in_panels, quantise
from embed.kernels import _native, built, info, packing, units
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
    parts, orders = layer_and_orders(unit)
    model.add_layer(**parts)
    if orders:
        model.add_orders(**orders)
    return model


def layer(**changes: Any) -> dict[str, Any]:
    return layer_and_orders("scalar")[0] | changes


def layer_and_orders(unit: str, *, extreme: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """Random weights. extreme: all codes are 127 or -127, with neighbours of one sign."""
    random = np.random.default_rng(5)
    parts: dict[str, Any] = {}
    orders: dict[str, Any] = {}
    how = packing(unit)
    shapes = {
        "qkv": (3 * HIDDEN, HIDDEN),
        "attended": (HIDDEN, HIDDEN),
        "inner": (INNER, HIDDEN),
        "outer": (HIDDEN, INNER),
    }
    for name, shape in shapes.items():
        weight = random.normal(size=shape).astype(np.float32) * 0.1
        if extreme:
            weight = 0.1 * np.repeat(np.sign(weight[:, ::16]), 16, axis=1)
        codes, parts[f"{name}_scales"] = quantise(weight, np.zeros(shape[0], np.float32))
        panels = in_panels(codes, how.group)
        if how.ordered:
            panels, orders[name] = _native.ordered(codes)
        parts[name] = aligned(panels)
    for name in ("attention_norm", "norm"):
        parts[name] = np.stack([np.ones(HIDDEN), np.zeros(HIDDEN)]).astype(np.float32)
    return parts, orders


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


WAYS = ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 2, 1))  # of ordered.hpp


@pytest.mark.parametrize("spread", [5, 39, 1000])
def test_ordered_codes_are_those_that_were_given_and_their_sums_fit_in_16_bits(spread: int) -> None:
    out, width = 32, 192
    given = np.clip(np.random.default_rng(4).normal(0, spread, (out, width)).round(), -127, 127).astype(np.int8)
    codes, order = _native.ordered(given)
    ends, pairs = order[: out // 4].reshape(-1, 2).T.tolist()
    places = order[out // 4 :].view(np.uint16)
    together = np.zeros((out, width), int)
    for panel, (start, end) in enumerate(pairwise([0, *ends])):
        rows = slice(8 * panel, 8 * panel + 8)
        steps = codes[0, start:end].astype(int)
        for place, step in zip(places[start:end].tolist(), steps, strict=True):
            way, four = divmod(place // 4, width // 4)
            for i, k in enumerate(WAYS[way]):
                together[rows, 4 * four + k] += step[:, i]
        paired, alone = np.split(steps, [2 * pairs[panel]])
        lanes = np.concatenate(
            [
                paired.reshape(-1, 2, 8, 2, 2).transpose(0, 2, 3, 1, 4).reshape(-1, 4),
                np.pad(alone.reshape(-1, 2), ((0, 0), (0, 2))),
            ]
        )
        assert np.maximum(lanes, 0).sum(1).max() <= 128
        assert np.minimum(lanes, 0).sum(1).min() >= -128
    assert np.array_equal(together, given)
    assert codes.nbytes % 64 == order.nbytes % 64 == 0
    assert (ends[-1] > 1.1 * out * width / 32) == (spread == 1000)


@pytest.mark.parametrize("unit", units())
def test_the_largest_codes_overflow_nothing(unit: str) -> None:
    found = []
    for name in (unit, "scalar"):
        model = random_model(name)
        parts, orders = layer_and_orders(name, extreme=True)
        model.add_layer(**parts)
        if orders:
            model.add_orders(**orders)
        found.append(encode(model, [*range(20)] * 3, [1, 3, 20, 40, 60]))
    assert (found[0] * found[1]).sum(1).min() > 0.999


def ordered_unit() -> str:
    return next((unit for unit in units() if packing(unit).ordered), "") or pytest.skip(
        "no unit here reads ordered codes"
    )


def test_a_layer_of_ordered_codes_is_refused_without_their_order() -> None:
    unit = ordered_unit()
    parts, orders = layer_and_orders(unit)
    model = random_model(unit)
    model.add_layer(**parts)
    with pytest.raises(ValueError, match="need their orders"):
        encode(model, [1], [1])
    model.add_orders(**orders)
    assert np.isfinite(encode(model, [1], [1])).all()
    with pytest.raises(ValueError, match="only ordered codes"):
        random_model("scalar").add_orders(**orders)


PLACES = 2 * INNER // 8  # where those of an inner matrix begin


@pytest.mark.parametrize(
    ("place", "word", "message"),
    [
        (0, -1, "end later and later"),
        (1, 1 << 20, "end later and later"),
        (1, -1, "end later and later"),
        (PLACES - 2, 1 << 20, "steps that there are codes for"),
        (slice(-40, None), None, "a place for each step"),
        (PLACES, 3 * HIDDEN, "one of the inputs'"),
        (PLACES, 1, "one of the inputs'"),
        (slice(PLACES - 1, None), None, "two words for each panel"),
    ],
)
def test_orders_that_would_be_read_out_of_bounds_are_refused(place: Any, word: int | None, message: str) -> None:
    unit = ordered_unit()
    parts, orders = layer_and_orders(unit)
    model = random_model(unit)
    model.add_layer(**parts)
    inner = orders["inner"].copy()
    if word is None:
        inner = np.delete(inner, place)
    else:
        inner[place] = word
    with pytest.raises(ValueError, match=message):
        model.add_orders(**orders | {"inner": inner})


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


@pytest.mark.parametrize("unit", [name for name, _ in _native.units() if name != "scalar"])
def test_the_peak_is_of_products_that_are_all_worked_out(unit: str) -> None:
    """A compiler leaves out what nothing reads: a step of what is thrown away had fewer products than elsewhere."""
    library = Path(_native.__file__)
    peak = [loop for loop in loops.reductions(library, "perwatt::bert", spin=True) if loop.unit == unit]
    for kind in ("fm", "vpdpbusd", "sdot"):  # those that are not functions of their own

        def most(found: list[loops.Loop], kind: str = kind) -> int:
            return max((sum(kind in line.partition("%")[0] for line in loop.code) for loop in found), default=0)

        elsewhere = [loop for loop in loops.reductions(library, "perwatt::bert") if loop.unit == unit]
        assert 2 * most(peak) >= most(elsewhere) or most(peak) == 0, kind  # attention's loops may have some more
    assert any("fm" in line for loop in peak for line in loop.code)


def test_both_packages_climb_the_same_ladder_and_see_the_same_processor() -> None:
    """Neither may import the other, and PERWATT_ISA means one thing to both."""
    assert _native.ladder() == index_native.ladder()
    assert _native.features() == index_native.features()
    assert {rung for rung, _ in _native.ladder()} == {*built(), *(name for name, _ in index_native.units())}
