from numpy import float32, int8, int32, uint16
from numpy.typing import NDArray

def units() -> list[tuple[str, bool]]: ...
def choose(wanted: str) -> str: ...
def ladder() -> list[tuple[str, list[str]]]: ...
def features() -> list[str]: ...
def hidden() -> list[str]: ...
def packing(unit: str) -> tuple[int, int, bool]: ...
def ordered(codes: NDArray[int8]) -> tuple[NDArray[int8], NDArray[int32]]: ...
def spin(unit: str, rounds: int, f32: bool = False) -> int: ...

class Bert:
    def __init__(
        self,
        unit: str,
        words: NDArray[uint16] | NDArray[float32],
        positions: NDArray[float32],
        norm: NDArray[float32],
        heads: int,
        epsilon: float,
        activation: str,
        pooling: str,
        normalize: bool,
    ) -> None: ...
    def add_layer(
        self,
        qkv: NDArray[int8] | NDArray[float32],
        qkv_scales: NDArray[float32],
        attended: NDArray[int8] | NDArray[float32],
        attended_scales: NDArray[float32],
        attention_norm: NDArray[float32],
        inner: NDArray[int8] | NDArray[float32],
        inner_scales: NDArray[float32],
        outer: NDArray[int8] | NDArray[float32],
        outer_scales: NDArray[float32],
        norm: NDArray[float32],
    ) -> None: ...
    def add_orders(
        self, qkv: NDArray[int32], attended: NDArray[int32], inner: NDArray[int32], outer: NDArray[int32]
    ) -> None: ...
    def encode(self, ids: NDArray[int32], ends: NDArray[int32], out: NDArray[float32]) -> None: ...
