// binary32 to binary16, the same bits on every processor. Every file has a copy of its own (static): one that was compiled
// for a wider instruction set must not be the linker's choice for all.
#pragma once

#include <stdint.h>

namespace perwatt {

// Round to nearest, ties to even; what is too large becomes the largest finite value.
static inline uint16_t narrowed_f16(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
  if (magnitude >= 0x477FF000u) return static_cast<uint16_t>(sign | 0x7BFF);
  if (magnitude < 0x38800000u) {  // subnormal: a multiple of 2^-24
    const float scaled = __builtin_fabsf(value) * 0x1p24f;
    return static_cast<uint16_t>(sign | static_cast<uint32_t>(__builtin_nearbyintf(scaled)));
  }
  const uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
  return static_cast<uint16_t>(sign | (rounded - 0x38000000u) >> 13);
}

}  // namespace perwatt
