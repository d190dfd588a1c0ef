// float32 with NEON, shared by the two NEON units, which differ only in how they multiply int8.
//
// Two accumulators a row: four rows keep eight fma chains in flight; Neoverse N1 and V1 start two to four a
// cycle with a latency of 4, and one of two for the chained operand. The last dimensions are added one by one, with fma
// spelled out: left to the compiler, one row and four rows would be contracted differently and not tie.
#pragma once

#include <arm_neon.h>

#include "one_to_many.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

struct Product {
  static float32x4_t add(float32x4_t sum, float32x4_t q, float32x4_t x) { return vfmaq_f32(sum, q, x); }
  static float add(float sum, float q, float x) { return __builtin_fmaf(q, x, sum); }
};

struct SquaredDifference {
  static float32x4_t add(float32x4_t sum, float32x4_t q, float32x4_t x) {
    const float32x4_t difference = vsubq_f32(q, x);
    return vfmaq_f32(sum, difference, difference);
  }
  static float add(float sum, float q, float x) { return __builtin_fmaf(q - x, q - x, sum); }
};

template <class Term>
struct SumF32 {
  template <int R>
  static void block(const float* query, const float* const* rows, size_t dim, float* out) {
    // Unrolled by order: left to itself GCC 12 keeps the sums in memory.
    float32x4_t even[R], odd[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) even[r] = odd[r] = vdupq_n_f32(0.0f);
    size_t i = 0;
    for (; i + 8 <= dim; i += 8) {
      const float32x4_t q0 = vld1q_f32(query + i);
      const float32x4_t q1 = vld1q_f32(query + i + 4);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        even[r] = Term::add(even[r], q0, vld1q_f32(rows[r] + i));
        odd[r] = Term::add(odd[r], q1, vld1q_f32(rows[r] + i + 4));
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      float sum = vaddvq_f32(vaddq_f32(even[r], odd[r]));
      for (size_t j = i; j < dim; ++j) sum = Term::add(sum, query[j], rows[r][j]);
      out[r] = sum;
    }
  }
};

}  // namespace
}  // namespace perwatt::PERWATT_UNIT
