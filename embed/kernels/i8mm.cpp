// NEON with the matrix-multiply extension: Neoverse V1 (Graviton3), N2, V2 and later. SMMLA multiplies two rows of eight
// inputs by two channels of eight into four sums, twice the work of SDOT an instruction; it needs several rows, and a text
// has several tokens. Weights are packed with eight inputs of a channel side by side.
//
// Three pairs of rows by the eight pairs of channels of a panel are 24 sums; three activations and a weight make 28 of 32.
#define UNIT i8mm
#include "attend.hpp"
#include "neon_vector.hpp"
#include "f32_product.hpp"

namespace perwatt::bert::UNIT {
namespace {

struct I8mm : NeonVector {
  static constexpr size_t kPairs = 3;

  // By itself: inlined, what the caller keeps in registers leaves too few for the sums.
  template <size_t P>
  [[gnu::noinline]] static void add_up(const Code* codes, size_t in, const int8_t* panel, int32x4_t (&out)[P][8]) {
    int32x4_t sum[P][8];
    for (size_t p = 0; p < P; ++p)
      for (size_t j = 0; j < 8; ++j) sum[p][j] = vdupq_n_s32(0);
    for (size_t k = 0; k < in; k += 8) {
      int8x16_t x[P];
      for (size_t p = 0; p < P; ++p) {
        const Code* row = codes + 2 * p * in + k;
        x[p] = vcombine_s8(vld1_s8(row), vld1_s8(row + in));
      }
      for (size_t j = 0; j < 8; ++j) {
        const int8x16_t weight = vld1q_s8(panel + k * kPanel + 16 * j);
        for (size_t p = 0; p < P; ++p) sum[p][j] = vmmlaq_s32(sum[p][j], x[p], weight);
      }
    }
    for (size_t p = 0; p < P; ++p)
      for (size_t j = 0; j < 8; ++j) out[p][j] = sum[p][j];
  }

  template <class Then>
  static void product(const Code* codes, const RowRange* ranges, size_t rows, const Linear& w, const Then& then) {
    for (size_t channel = 0; channel < w.out; channel += kPanel) {
      const int8_t* panel = w.codes + channel * w.in;
      // An odd last row is paired with what lies behind it, and that half of the sums is not used.
      in_blocks<kPairs>((rows + 1) / 2, [&]<size_t P>(size_t first_pair) {
        const size_t first = 2 * first_pair;
        int32x4_t sum[P][8];
        add_up<P>(codes + first * w.in, w.in, panel, sum);
        for (size_t p = 0; p < P; ++p) {
          const size_t row = first + 2 * p;
          for (size_t j = 0; j < 8; j += 2) {
            const size_t c = channel + 2 * j;
            const int32x4_t a = sum[p][j], b = sum[p][j + 1];
            finish(vcombine_s32(vget_low_s32(a), vget_low_s32(b)), ranges[row], w, row, c, then);
            if (row + 1 < rows) {
              finish(vcombine_s32(vget_high_s32(a), vget_high_s32(b)), ranges[row + 1], w, row + 1, c, then);
            }
          }
        }
      });
    }
  }

  static size_t attention_bytes(const Model& m, size_t longest) { return attend_bytes<I8mm>(m, longest); }
  static void attend(const Model& m, const Layer& layer, const Texts& texts, const Scratch<I8mm>& s) {
    attend_f32<I8mm>(m, layer, texts, s);
  }
};

using Exact = Float32<NeonVector>;

}  // namespace

const Kernels kernels = {"i8mm", {kPanel, 8}, network<I8mm>(), network<Exact>()};

}  // namespace perwatt::bert::UNIT
