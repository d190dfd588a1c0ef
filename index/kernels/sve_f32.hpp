// float32 with SVE registers of 256 bits, to the same bits as neon_f32.hpp.
//
// Eight lanes of one register add what NEON's two accumulators of four add: lane j takes dimensions j, j + 8, j + 16, ..., the
// halves are added first and then the four sums by pairs, and the last dimensions one by one. So a generation's answers do not
// change with the instance that serves it, not even in ties of rounding.
//
// One accumulator a row: four rows are four chains, and Neoverse V1 starts two such fma a cycle, of which each waits two cycles
// for the one before it (Arm Neoverse V1 Software Optimization Guide, 3.26: latency 4, accumulator forwarded after 2).
#pragma once

#include <arm_sve.h>

#include "one_to_many.hpp"

static_assert(__ARM_FEATURE_SVE_BITS == 256, "compiled with -msve-vector-bits=256 alone");

namespace perwatt::PERWATT_UNIT {
namespace {

using Eight = svfloat32_t;  // of 256 bits; the attribute that says so makes clang 14 keep sums in memory

struct Product {
  static Eight add(Eight sum, Eight q, Eight x) { return svmla_f32_x(svptrue_b32(), sum, q, x); }
  static float add(float sum, float q, float x) { return __builtin_fmaf(q, x, sum); }
};

struct SquaredDifference {
  static Eight add(Eight sum, Eight q, Eight x) {
    const Eight difference = svsub_f32_x(svptrue_b32(), q, x);
    return svmla_f32_x(svptrue_b32(), sum, difference, difference);
  }
  static float add(float sum, float q, float x) { return __builtin_fmaf(q - x, q - x, sum); }
};

inline Eight eight_of(const float* x) { return svld1_f32(svptrue_b32(), x); }

template <class Term>
struct SumF32 {
  template <int R>
  static void block(const float* query, const float* const* rows, size_t dim, float* out) {
    static_assert(R == 1 || R == 4);
    // By name: GCC 12 keeps an array of them in memory and stores every sum at every step.
    Eight a = svdup_n_f32(0.0f), b = a, c = a, d = a;
    const size_t whole = dim / 8 * 8;
    for (size_t i = 0; i < whole; i += 8) {
      const Eight q = eight_of(query + i);
      a = Term::add(a, q, eight_of(rows[0] + i));
      if constexpr (R == 4) {
        b = Term::add(b, q, eight_of(rows[1] + i));
        c = Term::add(c, q, eight_of(rows[2] + i));
        d = Term::add(d, q, eight_of(rows[3] + i));
      }
    }
    out[0] = finish(a, query, rows[0], whole, dim);
    if constexpr (R == 4) {
      out[1] = finish(b, query, rows[1], whole, dim);
      out[2] = finish(c, query, rows[2], whole, dim);
      out[3] = finish(d, query, rows[3], whole, dim);
    }
  }

 private:
  static float finish(Eight sums, const float* query, const float* row, size_t whole, size_t dim) {
    const Eight halves = svadd_f32_x(svptrue_b32(), sums, svext_f32(sums, sums, 4));
    float sum = svaddv_f32(svptrue_pat_b32(SV_VL4), halves);  // (0 + 1) + (2 + 3)
    for (size_t i = whole; i < dim; ++i) sum = Term::add(sum, query[i], row[i]);
    return sum;
  }
};

}  // namespace
}  // namespace perwatt::PERWATT_UNIT
