// NEON with the dot-product extension: Neoverse N1 (Graviton2, Altra) and every later server core. SDOT adds four products
// of bytes to each of four sums; the activation is a lane of a register that holds sixteen inputs of a row.
//
// Five rows by the four vectors of a panel are 20 sums; four weights and five rows of activations make 29 of 32 registers.
// SDOT has a latency of 3 to 4 on two to four pipes, so 16 sums keep the widest core busy.
#define UNIT neondot
#include "attend.hpp"
#include "neon_vector.hpp"
#include "f32_product.hpp"

namespace perwatt::bert::UNIT {
namespace {

struct NeonDot : NeonVector {
  static constexpr size_t kRows = 5;

  template <size_t R, int Lane>
  static void step(int32x4_t (&sum)[R][4], const int8x16_t (&x)[R], const int8_t* weights) {
    int8x16_t w[4];
    for (size_t j = 0; j < 4; ++j) w[j] = vld1q_s8(weights + Lane * 64 + 16 * j);
    for (size_t r = 0; r < R; ++r)
      for (size_t j = 0; j < 4; ++j) sum[r][j] = vdotq_laneq_s32(sum[r][j], w[j], x[r], Lane);
  }

  template <class Then>
  static void product(const Code* codes, const RowRange* ranges, size_t rows, const Linear& w, const Then& then) {
    for (size_t channel = 0; channel < w.out; channel += kPanel) {
      const int8_t* panel = w.codes + channel * w.in;
      in_blocks<kRows>(rows, [&]<size_t R>(size_t first) {
        int32x4_t sum[R][4];
        for (size_t r = 0; r < R; ++r)
          for (size_t j = 0; j < 4; ++j) sum[r][j] = vdupq_n_s32(0);
        for (size_t k = 0; k < w.in; k += 16) {
          int8x16_t x[R];
          for (size_t r = 0; r < R; ++r) x[r] = vld1q_s8(codes + (first + r) * w.in + k);
          step<R, 0>(sum, x, panel + k * kPanel);
          step<R, 1>(sum, x, panel + k * kPanel);
          step<R, 2>(sum, x, panel + k * kPanel);
          step<R, 3>(sum, x, panel + k * kPanel);
        }
        for (size_t r = 0; r < R; ++r)
          for (size_t j = 0; j < 4; ++j) finish(sum[r][j], ranges[first + r], w, first + r, channel + 4 * j, then);
      });
    }
  }

  static size_t attention_bytes(const Model& m, size_t longest) { return attend_bytes<NeonDot>(m, longest); }
  static void attend(const Model& m, const Layer& layer, const Texts& texts, const Scratch<NeonDot>& s) {
    attend_f32<NeonDot>(m, layer, texts, s);
  }
};

using Exact = Float32<NeonVector>;

}  // namespace

const Kernels kernels = {"neondot", 4, network<NeonDot>(), network<Exact>()};

}  // namespace perwatt::bert::UNIT
