// int8 with SDOT (FEAT_DotProd): one query against rows, and the spokes of the walk. Shared by every unit from neondot up.
//
// SDOT multiplies sixteen signed bytes and adds each four products into an int32 lane: the plain int8 codes as they lie on
// disk, no bias, no widening. Two accumulators a row, four rows: eight chains, for two to four pipes with a latency of 3 to
// 4, of which a chained accumulator waits for 1 (Arm's optimisation guides of Neoverse N1 and V1).
#pragma once

#include "hop_neon.hpp"
#include "one_to_many.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

struct DotI8 {
  template <int R>
  static void block(const int8_t* query, const int8_t* const* rows, size_t dim, int32_t* out) {
    int32x4_t even[R], odd[R];
    for (int r = 0; r < R; ++r) even[r] = odd[r] = vdupq_n_s32(0);
    size_t i = 0;
    for (; i + 32 <= dim; i += 32) {
      const int8x16_t q0 = vld1q_s8(query + i);
      const int8x16_t q1 = vld1q_s8(query + i + 16);
      for (int r = 0; r < R; ++r) {
        even[r] = vdotq_s32(even[r], q0, vld1q_s8(rows[r] + i));
        odd[r] = vdotq_s32(odd[r], q1, vld1q_s8(rows[r] + i + 16));
      }
    }
    for (; i + 16 <= dim; i += 16) {
      const int8x16_t q = vld1q_s8(query + i);
      for (int r = 0; r < R; ++r) even[r] = vdotq_s32(even[r], q, vld1q_s8(rows[r] + i));
    }
    for (int r = 0; r < R; ++r) {
      int32_t sum = vaddvq_s32(vaddq_s32(even[r], odd[r]));
      for (size_t j = i; j < dim; ++j) sum += static_cast<int32_t>(query[j]) * static_cast<int32_t>(rows[r][j]);
      out[r] = sum;
    }
  }
};

struct DotHop : NeonHop {
  struct Dots {
    static int32x4_t add(int32x4_t sum, int8x16_t codes, int8x16_t q) { return vdotq_s32(sum, codes, q); }
  };

  template <int R>
  static void spokes(const int8_t* query, const uint8_t* const* codes, size_t padded, int32_t* out) {
    spokes_by<Dots, R>(query, codes, padded, out);
  }
};

}  // namespace
}  // namespace perwatt::PERWATT_UNIT
