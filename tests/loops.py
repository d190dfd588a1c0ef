"""The innermost loops of a built library that add products up, and what of their sums lies in memory.

    python tests/loops.py LIBRARY NAMESPACE [OBJDUMP]        # a line for each such loop

The cycles that are listed are lower bounds from counting, without a clock: products and loads over the pipes there are
for them, two and two (Neoverse N1, N2) and four and three (Neoverse V1, V2; Arm's optimisation guides of each).

A sum that does not stay in its register costs a store and a load at every step, and each step then waits for the one
before it through memory. Answers cannot show that, and neither can a timing on another architecture.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

import disassembly

# What adds products to sums, in the units of both architectures.
PRODUCT = re.compile(
    r"(\{\w+\} )?(vpdpbusd|vpmaddwd|vpmaddubsw|vf(n?m)(add|sub)\d+ps|sdot|smmla|fml[as]|fmad|sadalp) (?!.*\bxmm)"
)
# A jump of either architecture within its function.
JUMP = re.compile(r"(?:j\w+|b(?:\.\w+)?|cbn?z|tbn?z) (?:.*, ?)?([0-9a-f]+) <")
# A store of whole vectors: its address.
STORES = (
    re.compile(r"(?:\{\w+\} )?vmov\w+ %[xyz]mm\d+,([^ ,(]*\(.*\))$"),  # x86-64, the destination last
    re.compile(r"(?:st[pur]|str|st1\w*) (?:[qz]\d+|\{[vz]).*(\[.*)$"),  # aarch64
)
# What reads memory: an operand before the last on x86-64, an address by register on aarch64.
LOAD = re.compile(r"\(%[^)]*\),|^(?:cmp|test).*\(%|\[(?:x\d+|sp)\b")

# Whose loops were looked at, one by one.
SEEN = {"GCC 12", "clang 14"}


class Loop(NamedTuple):
    """An innermost loop. code: its instructions, from the first to the jump back."""

    unit: str
    function: str
    code: list[str]

    @property
    def products(self) -> int:
        return sum(bool(PRODUCT.match(line)) for line in self.code)

    @property
    def loads(self) -> int:
        """Instructions that read memory; a pair of registers is one."""
        return sum(bool(LOAD.search(line)) and not line.startswith(("lea", "prf", "st")) for line in self.code)

    def sums_in_memory(self) -> list[str]:
        """The stores to an address that stays where it is from step to step."""
        written = {register for line in self.code for register in _written(line)}
        stores = [(line, address) for line in self.code if (address := _stored_at(line)) is not None]
        # A loop that stores where it goes works element by element: it has no sums to keep.
        if any(_registers(address) & written for _, address in stores):
            return []
        return [line for line, _ in stores]


def reductions(binary: Path, namespace: str, objdump: str = "objdump", *, spin: bool = False) -> list[Loop]:
    """The innermost loops with two products or more of every unit in `namespace`.

    Without `spin`, which measures the peak of the products that other functions have: it throws its results away to one
    place, and that is no sum.

    Args:
        spin: Those of `spin` instead.
    """
    found = [
        Loop(function.unit, function.name, code)
        for function in disassembly.functions(binary, namespace, objdump)
        if ("::spin<" in function.name) == spin
        for code in _innermost(function.code)
    ]
    return [loop for loop in found if loop.products > 1]


def complaints(binary: Path, namespace: str, unit: str, objdump: str = "objdump") -> list[str]:
    """Of the unit's loops those that keep sums in memory; it must have loops that are looked at.

    None may, as the compilers of SEEN make them. Another one gives out registers by its own lights, and may store up to
    one sum for four products: that is a little time, and arrays that lie in memory as a whole are more than that.
    """
    loops = [loop for loop in reductions(binary, namespace, objdump) if loop.unit == unit]
    assert loops, f"no loop of {unit} adds products: what do its instructions look like?"
    known = not SEEN.isdisjoint(compilers(binary))
    stored = [(loop, loop.sums_in_memory()) for loop in loops]
    return [
        f"{loop.function}: {stores}" for loop, stores in stored if len(stores) > (0 if known else loop.products // 4)
    ]


def compilers(binary: Path) -> set[str]:
    """What the parts of a binary say that they were made with, such as "GCC 12"."""
    found = re.findall(rb"(GCC): \([^)]*\) (\d+)|(clang) version (\d+)", binary.read_bytes())
    return {" ".join(word.decode() for word in match if word) for match in found}


def _innermost(code: list[tuple[int, str]]) -> list[list[str]]:
    places = {address: i for i, (address, _) in enumerate(code)}
    ranges = set()
    for i, (_, line) in enumerate(code):
        jump = JUMP.match(line)
        start = places.get(int(jump.group(1), 16)) if jump else None
        if start is not None and start <= i:
            ranges.add((start, i))
    inner = [a for a in ranges if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in ranges)]
    return [[line for _, line in code[start : end + 1]] for start, end in sorted(inner)]


def _stored_at(line: str) -> str | None:
    matches = (store.match(line) for store in STORES)
    return next((match.group(1) for match in matches if match), None)


def _registers(address: str) -> set[str]:
    """By one name for each: %ecx is %rcx, w3 is x3. A displacement is none."""
    found = re.findall(r"%(\w+)", address) or re.findall(r"\b([wx]\d+|sp)\b", address)
    return {re.sub(r"^[er](?=[a-z])|^w", lambda m: "x" if m.group() == "w" else "", each) for each in found}


def _written(line: str) -> set[str]:
    """The registers of addresses that an instruction changes."""
    operation, _, operands = line.partition(" ")
    if "%" in operands:
        last = operands.rsplit(",", 1)[-1]
        return _registers(last) if re.fullmatch(r"%\w+", last) and not operation.startswith(("cmp", "test")) else set()
    moved = re.search(r"\[(\w+)[^]]*\](!|, \S+$)", operands)
    found = _registers(moved.group(1)) if moved else set()
    if not operation.startswith(("st", "cmp", "b", "cb", "tb", "prf")):
        found |= _registers(operands.split(",")[0])
    return found


def main() -> None:
    library, namespace, *objdump = sys.argv[1:]
    print("unit        products  loads  instructions  cycles of 2+2 and 4+3 pipes  sums in memory  function")
    for loop in reductions(Path(library), namespace, *objdump):
        few, many = max(loop.products, loop.loads) / 2, max(loop.products / 4, loop.loads / 3)
        counted = f"{loop.unit:<11} {loop.products:8} {loop.loads:6} {len(loop.code):13} {few:21.1f} {many:6.1f}"
        print(f"{counted} {len(loop.sums_in_memory()):15}  {loop.function}")


if __name__ == "__main__":
    main()
