// AVX2 + FMA: every x86 server since Haswell (2013) and Zen.
//
// int8: vpmaddubsw would be the obvious instruction, but it saturates its int16 pairs (255 * 127 * 2 > 32,767).
// Widening both sides to int16 and using vpmaddwd costs one more uop for 16 codes and is exact for every input.
// float32: two accumulators a row, so four rows keep eight fma chains in flight: 2 ports x 4 cycles of latency.
#define PERWATT_UNIT avx2
#include <immintrin.h>

#include "one_to_many.hpp"
#include "hop_avx2.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

inline int32_t sum_of(__m256i v) {
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1));
  return _mm_cvtsi128_si32(four);
}

inline float sum_of(__m256 v) {
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  four = _mm_add_ss(four, _mm_movehdup_ps(four));
  return _mm_cvtss_f32(four);
}

inline __m256i widened(const int8_t* p) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

struct DotI8 {
  template <int R>
  static void block(const int8_t* query, const int8_t* const* rows, size_t dim, int32_t* out) {
    __m256i sums[R];
    for (int r = 0; r < R; ++r) sums[r] = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 16 <= dim; i += 16) {
      const __m256i q = widened(query + i);
      for (int r = 0; r < R; ++r) {
        sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(q, widened(rows[r] + i)));
      }
    }
    for (int r = 0; r < R; ++r) {
      int32_t sum = sum_of(sums[r]);
      for (size_t j = i; j < dim; ++j) sum += static_cast<int32_t>(query[j]) * static_cast<int32_t>(rows[r][j]);
      out[r] = sum;
    }
  }
};

// The first n lanes set, for a last load of n < 8 floats that must not touch what lies behind them.
inline __m256i first_lanes(size_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}

struct Product {
  static __m256 add(__m256 sum, __m256 q, __m256 x) { return _mm256_fmadd_ps(q, x, sum); }
};

struct SquaredDifference {
  static __m256 add(__m256 sum, __m256 q, __m256 x) {
    const __m256 difference = _mm256_sub_ps(q, x);
    return _mm256_fmadd_ps(difference, difference, sum);
  }
};

template <class Term>
struct SumF32 {
  template <int R>
  static void block(const float* query, const float* const* rows, size_t dim, float* out) {
    __m256 even[R], odd[R];
    for (int r = 0; r < R; ++r) even[r] = odd[r] = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 16 <= dim; i += 16) {
      const __m256 q0 = _mm256_loadu_ps(query + i);
      const __m256 q1 = _mm256_loadu_ps(query + i + 8);
      for (int r = 0; r < R; ++r) {
        even[r] = Term::add(even[r], q0, _mm256_loadu_ps(rows[r] + i));
        odd[r] = Term::add(odd[r], q1, _mm256_loadu_ps(rows[r] + i + 8));
      }
    }
    for (; i < dim; i += 8) {
      const __m256i mask = first_lanes(dim - i);
      const __m256 q = _mm256_maskload_ps(query + i, mask);
      for (int r = 0; r < R; ++r) even[r] = Term::add(even[r], q, _mm256_maskload_ps(rows[r] + i, mask));
    }
    for (int r = 0; r < R; ++r) out[r] = sum_of(_mm256_add_ps(even[r], odd[r]));
  }
};

constexpr Kernels kTable = table<DotI8, SumF32<Product>, SumF32<SquaredDifference>, Avx2Hop>("avx2");

}  // namespace
}  // namespace perwatt::PERWATT_UNIT

extern const perwatt::Kernels perwatt::kAvx2 = perwatt::PERWATT_UNIT::kTable;
