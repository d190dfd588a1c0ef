// The product of bytes of AVX-512 VNNI, for both modules.
#pragma once

#include <immintrin.h>

namespace perwatt {
namespace {

// _mm512_dpbusd_epi32, spelled out: from the intrinsic GCC 12 copies each sum to another register and back, and has none
// left for a tile of four queries by four rows.
inline void add_dots(__m512i& sum, __m512i unsigned_codes, __m512i signed_codes) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(unsigned_codes), "v"(signed_codes));
}

}  // namespace
}  // namespace perwatt
