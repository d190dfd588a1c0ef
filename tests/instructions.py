"""What the code of each unit must hold to deserve its name."""

from __future__ import annotations

import disassembly

# What each unit must hold to deserve its name, and what it must not: packed arithmetic in scalar (but a compiler may
# clear or copy memory with any register), another unit's products in the others.
ENCODER_INSTRUCTIONS = {
    "x86_64": {
        "scalar": ({"imul": 4, "mulss": 20}, r".*[yz]mm|v|pmadd|pmul|(mul|add|sub)p[sd]"),
        "avx2": ({"vpmaddubsw .*ymm": 150, "vpmaddwd .*ymm": 50, r"vfmadd\d+ps .*ymm": 100}, r".*zmm|vpdpbusd"),
        "avx2vnni": ({r".*vpdpbusd .*ymm": 48, r"vfmadd\d+ps .*ymm": 100}, r".*zmm|vpmaddwd"),
        "avx512vnni": ({r"vpdpbusd .*zmm": 200, r"vfmadd\d+ps .*zmm": 200}, r"tdp"),
        "avx512amx": ({r"tdpbusd": 18, r"tdpbf16ps": 12, r"vcvtneps2bf16": 2}, r"vpdpbusd"),
    },
    "aarch64": {
        "scalar": ({"fmul": 10}, disassembly.PACKED),
        "neon": ({"smull": 8, "sadalp": 16, r"fmla v": 50}, r"sdot|smmla"),
        "neondot": ({"sdot": 80, r"fmla v": 50}, r"sadalp|smmla"),
        "i8mm": ({"smmla": 24, r"fmla v": 50}, r"sadalp|sdot"),
    },
}


# What each unit must hold to deserve its name, and what it must not: packed arithmetic in scalar (but a compiler may
# clear or copy memory with any register), the plainer unit's products in the others.
INDEX_INSTRUCTIONS = {
    "x86_64": {
        "scalar": ({"imul": 1, "mulss": 2}, r".*[yz]mm|v|pmadd|pmul|(mul|add|sub)p[sd]"),
        "avx2": ({"vpmaddwd": 4, r"vfmadd\d+ps .*ymm": 16}, r".*zmm|vpdp"),
        "avx512": ({r"vpmaddwd .*zmm": 4, r"vfmadd\d+ps .*zmm": 16}, r"vpdp"),
        "avx512vnni": ({r"vpdpbusd .*zmm": 24, r"vfmadd\d+ps .*zmm": 16}, r"vpmaddwd|tdp"),
        "avx512amx": ({r"tdpbssd": 5, r"vpdpbusd .*zmm": 8, r"vfmadd\d+ps .*zmm": 16}, r"vpmaddwd"),
    },
    "aarch64": {
        "scalar": ({"s?mul|s?madd": 1, "fmul": 1}, disassembly.PACKED),
        "neon": ({"smull": 40, "sadalp": 40, r"fmla v": 16}, r"sdot|smmla|\w+ z\d"),
        "neondot": ({"sdot": 40, r"fmla v": 16}, r"sadalp|smmla|\w+ z\d"),
        "i8mm": ({"smmla": 60, "sdot": 40, r"fmla v": 16}, r"sadalp|\w+ z\d"),
        "sve256": ({r"(fmla|fmad) z": 8}, r"fmla v|sdot|smmla"),  # float32 alone; the rest of the unit is i8mm's
    },
}

# What `within` (nearest.hpp) is made of in every unit that does not share another's; most leave it to the compiler.
WITHIN_INSTRUCTIONS = {"x86_64": r"vmulps .*[yz]mm", "aarch64": r"fmul v\d+\.4s"}
WITHIN_UNITS = {
    "x86_64": ("avx2", "avx512", "avx512vnni", "avx512amx"),
    "aarch64": ("neon", "neondot", "i8mm"),
}
