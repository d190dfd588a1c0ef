// NEON with the dot-product extension: Neoverse N1 (Graviton2, Altra) and every later server core. SDOT adds four products
// of bytes to each of four sums; the activation is a lane of a register that holds sixteen inputs of a row.
//
// Five rows by the four vectors of a panel are 20 sums; a weight and five rows of activations make 26 of 32 registers.
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
    for (size_t j = 0; j < 4; ++j) {
      const int8x16_t w = vld1q_s8(weights + Lane * 64 + 16 * j);
      for (size_t r = 0; r < R; ++r) sum[r][j] = vdotq_laneq_s32(sum[r][j], w, x[r], Lane);
    }
  }

  // By itself: inlined, what the caller keeps in registers leaves too few for the sums.
  template <size_t R>
  [[gnu::noinline]] static void add_up(const Code* codes, size_t in, const int8_t* panel, int32x4_t (&out)[R][4]) {
    int32x4_t sum[R][4];
    for (size_t r = 0; r < R; ++r)
      for (size_t j = 0; j < 4; ++j) sum[r][j] = vdupq_n_s32(0);
    for (size_t k = 0; k < in; k += 16) {
      int8x16_t x[R];
      for (size_t r = 0; r < R; ++r) x[r] = vld1q_s8(codes + r * in + k);
      step<R, 0>(sum, x, panel + k * kPanel);
      step<R, 1>(sum, x, panel + k * kPanel);
      step<R, 2>(sum, x, panel + k * kPanel);
      step<R, 3>(sum, x, panel + k * kPanel);
    }
    for (size_t r = 0; r < R; ++r)
      for (size_t j = 0; j < 4; ++j) out[r][j] = sum[r][j];
  }

  template <class Then>
  static void product(const Code* codes, const RowRange* ranges, size_t rows, const Linear& w, const Then& then) {
    for (size_t channel = 0; channel < w.out; channel += kPanel) {
      const int8_t* panel = w.codes + channel * w.in;
      in_blocks<kRows>(rows, [&]<size_t R>(size_t first) {
        int32x4_t sum[R][4];
        add_up<R>(codes + first * w.in, w.in, panel, sum);
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

const Kernels kernels = {"neondot", {kPanel, 4}, network<NeonDot>(), network<Exact>()};

}  // namespace perwatt::bert::UNIT
