// Plain NEON: every 64-bit Arm, down to Graviton1 (Cortex-A72), which has no dot product.
//
// smull makes int16 products of eight codes, sadalp adds pairs of them into int32. A single product fits int16
// even for -128 * -128 = 16,384; two added would not at the edge, so nothing is added before it is widened.
#define PERWATT_UNIT neon
#include "neon_f32.hpp"
#include "hop_neon.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

struct DotI8 {
  template <int R>
  static void block(const int8_t* query, const int8_t* const* rows, size_t dim, int32_t* out) {
    int32x4_t sums[R];
    for (int r = 0; r < R; ++r) sums[r] = vdupq_n_s32(0);
    size_t i = 0;
    for (; i + 16 <= dim; i += 16) {
      const int8x16_t q = vld1q_s8(query + i);
      for (int r = 0; r < R; ++r) {
        const int8x16_t x = vld1q_s8(rows[r] + i);
        sums[r] = vpadalq_s16(sums[r], vmull_s8(vget_low_s8(q), vget_low_s8(x)));
        sums[r] = vpadalq_s16(sums[r], vmull_high_s8(q, x));
      }
    }
    for (int r = 0; r < R; ++r) {
      int32_t sum = vaddvq_s32(sums[r]);
      for (size_t j = i; j < dim; ++j) sum += static_cast<int32_t>(query[j]) * static_cast<int32_t>(rows[r][j]);
      out[r] = sum;
    }
  }
};

constexpr Kernels kTable = table<DotI8, SumF32<Product>, SumF32<SquaredDifference>, NeonHop>("neon");

}  // namespace
}  // namespace perwatt::PERWATT_UNIT

extern const perwatt::Kernels perwatt::kNeon = perwatt::PERWATT_UNIT::kTable;
