// Which of a row of products belong to vectors that are near: the step between products of all with all and lists of
// neighbours (draft.cpp), which would take several times as long as the products themselves if it were not in the unit.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace perwatt::PERWATT_UNIT {
namespace {

#if !defined(__AVX512F__)
constexpr size_t kLanes = 16;
struct Lanes {
  constexpr operator size_t() const { return kLanes; }
};
#endif

// See Kernels::within in kernels.hpp. Every unit rounds the same sums in the same order.
inline size_t within(const int32_t* products, const float* norms, const float* steps, size_t count, float norm,
                     float twice_step, float limit, uint32_t* which, float* distances) {
  size_t found = 0;
#if defined(__AVX512F__)
  const __m512 mine = _mm512_set1_ps(norm), twice = _mm512_set1_ps(twice_step), most = _mm512_set1_ps(limit);
  __m512i at = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (size_t i = 0; i < count; i += 16) {
    const __mmask16 there = count - i < 16 ? static_cast<__mmask16>((1u << (count - i)) - 1u) : static_cast<__mmask16>(~0u);
    const __m512 product = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(there, products + i));
    const __m512 step = _mm512_mul_ps(twice, _mm512_maskz_loadu_ps(there, steps + i));
    const __m512 sum = _mm512_add_ps(mine, _mm512_maskz_loadu_ps(there, norms + i));
    const __m512 distance = _mm512_max_ps(_mm512_sub_ps(sum, _mm512_mul_ps(step, product)), _mm512_setzero_ps());
    const __mmask16 near = _mm512_mask_cmp_ps_mask(there, distance, most, _CMP_LE_OQ);
    _mm512_storeu_ps(distances + found, _mm512_maskz_compress_ps(near, distance));
    _mm512_storeu_si512(which + found, _mm512_maskz_compress_epi32(near, at));
    found += static_cast<size_t>(__builtin_popcount(near));
    at = _mm512_add_epi32(at, _mm512_set1_epi32(16));
  }
#else
  const auto group = [&](size_t start, auto lanes) {
    float near[kLanes];
    int any = 0;
    for (size_t j = 0; j < lanes; ++j) {
      const float d =
          (norm + norms[start + j]) - (twice_step * steps[start + j]) * static_cast<float>(products[start + j]);
      near[j] = d > 0.0f ? d : 0.0f;
      any |= near[j] <= limit;
    }
    if (!any) return;
    for (size_t j = 0; j < lanes; ++j) {
      which[found] = static_cast<uint32_t>(start + j);
      distances[found] = near[j];
      found += near[j] <= limit;
    }
  };
  size_t start = 0;
  for (; start + kLanes <= count; start += kLanes) group(start, Lanes{});  // of a number that the compiler knows
  if (start < count) group(start, count - start);
#endif
  return found;
}

}  // namespace
}  // namespace perwatt::PERWATT_UNIT
