// NEON alone: Cortex-A72 (Graviton1, Raspberry Pi 4). Bytes are multiplied to 16 bits and two products added there, which
// is exact: 2 * 128 * 127 = 32,512; then pairs are added to 32-bit sums.
//
// Two rows by a panel's eight vectors of sums (each channel has two partial ones) are 16 of 32 registers.
#define UNIT neon
#include "attend.hpp"
#include "neon_vector.hpp"
#include "f32_product.hpp"

namespace perwatt::bert::UNIT {
namespace {

struct Neon : NeonVector {
  static constexpr size_t kRows = 2;

  static int8x16_t four_times(const int8_t* at) {
    int32_t four;
    __builtin_memcpy(&four, at, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
  }

  template <class Then>
  static void product(const Code* codes, const RowRange* ranges, size_t rows, const Linear& w, const Then& then) {
    for (size_t channel = 0; channel < w.out; channel += kPanel) {
      const int8_t* panel = w.codes + channel * w.in;
      in_blocks<kRows>(rows, [&]<size_t R>(size_t first) {
        int32x4_t sum[R][8];
        for (size_t r = 0; r < R; ++r)
          for (size_t j = 0; j < 8; ++j) sum[r][j] = vdupq_n_s32(0);
        for (size_t k = 0; k < w.in; k += 8) {
          int8x16_t x[R], y[R];
          for (size_t r = 0; r < R; ++r) {
            x[r] = four_times(codes + (first + r) * w.in + k);
            y[r] = four_times(codes + (first + r) * w.in + k + 4);
          }
          for (size_t j = 0; j < 4; ++j) {
            const int8x16_t a = vld1q_s8(panel + k * kPanel + 16 * j), b = vld1q_s8(panel + (k + 4) * kPanel + 16 * j);
            for (size_t r = 0; r < R; ++r) {
              const int16x8_t low = vmlal_s8(vmull_s8(vget_low_s8(a), vget_low_s8(x[r])), vget_low_s8(b), vget_low_s8(y[r]));
              const int16x8_t high = vmlal_high_s8(vmull_high_s8(a, x[r]), b, y[r]);
              sum[r][2 * j] = vpadalq_s16(sum[r][2 * j], low);
              sum[r][2 * j + 1] = vpadalq_s16(sum[r][2 * j + 1], high);
            }
          }
        }
        for (size_t r = 0; r < R; ++r) {
          for (size_t j = 0; j < 4; ++j) {
            const int32x4_t four = vpaddq_s32(sum[r][2 * j], sum[r][2 * j + 1]);
            finish(four, ranges[first + r], w, first + r, channel + 4 * j, then);
          }
        }
      });
    }
  }

  static size_t attention_bytes(const Model& m, size_t longest) { return attend_bytes<Neon>(m, longest); }
  static void attend(const Model& m, const Layer& layer, const Texts& texts, const Scratch<Neon>& s) {
    attend_f32<Neon>(m, layer, texts, s);
  }
};

using Exact = Float32<NeonVector>;

}  // namespace

const Kernels kernels = {"neon", {kPanel, 4}, network<Neon>(), network<Exact>()};

}  // namespace perwatt::bert::UNIT
