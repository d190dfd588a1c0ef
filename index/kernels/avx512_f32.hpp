// float32 with 512-bit registers, shared by the two AVX-512 units, which differ only in how they multiply int8.
//
// Two accumulators a row: four rows keep eight fma chains in flight, which covers 2 ports x 4 cycles. The last
// load is masked: lanes beyond the row read as zero and add nothing.
#pragma once

#include <immintrin.h>

#include "one_to_many.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

inline float sum_of(__m512 v) {
  const __m256 high = _mm256_castsi256_ps(_mm512_extracti64x4_epi64(_mm512_castps_si512(v), 1));
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), high);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  four = _mm_add_ss(four, _mm_movehdup_ps(four));
  return _mm_cvtss_f32(four);
}

inline __m128i sum_by_four(__m512i v) {
  const __m256i eight = _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
}

inline int32_t sum_of(__m512i v) {
  __m128i four = sum_by_four(v);
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1));
  return _mm_cvtsi128_si32(four);
}

// Four sums in one register by three horizontal additions, instead of four times two shuffles and two additions.
inline __m128i sums_of(const __m512i* v) {
  const __m128i low = _mm_hadd_epi32(sum_by_four(v[0]), sum_by_four(v[1]));
  const __m128i high = _mm_hadd_epi32(sum_by_four(v[2]), sum_by_four(v[3]));
  return _mm_hadd_epi32(low, high);
}

struct Product {
  static __m512 add(__m512 sum, __m512 q, __m512 x) { return _mm512_fmadd_ps(q, x, sum); }
};

struct SquaredDifference {
  static __m512 add(__m512 sum, __m512 q, __m512 x) {
    const __m512 difference = _mm512_sub_ps(q, x);
    return _mm512_fmadd_ps(difference, difference, sum);
  }
};

template <class Term>
struct SumF32 {
  template <int R>
  static void block(const float* query, const float* const* rows, size_t dim, float* out) {
    // Unrolled by order: left to itself GCC 12 keeps the sums in memory.
    __m512 even[R], odd[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) even[r] = odd[r] = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + 32 <= dim; i += 32) {
      const __m512 q0 = _mm512_loadu_ps(query + i);
      const __m512 q1 = _mm512_loadu_ps(query + i + 16);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        even[r] = Term::add(even[r], q0, _mm512_loadu_ps(rows[r] + i));
        odd[r] = Term::add(odd[r], q1, _mm512_loadu_ps(rows[r] + i + 16));
      }
    }
    for (; i < dim; i += 16) {
      const size_t left = dim - i;
      const __mmask16 mask = static_cast<__mmask16>(left >= 16 ? 0xFFFFu : (1u << left) - 1u);
      const __m512 q = _mm512_maskz_loadu_ps(mask, query + i);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) even[r] = Term::add(even[r], q, _mm512_maskz_loadu_ps(mask, rows[r] + i));
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) out[r] = sum_of(_mm512_add_ps(even[r], odd[r]));
  }
};

}  // namespace
}  // namespace perwatt::PERWATT_UNIT
