// AVX2 without VNNI: Haswell to Cascade Lake's predecessors, Zen 1 to 3.
//
// vpmaddubsw, the byte product of AVX2, saturates at 16 bits: 255 * 127 twice is 64,770. So bytes are widened to 16 bits
// and multiplied by vpmaddwd, which is exact. Activations are kept in 16 bits from the start; weights stay bytes in memory,
// where they are what a query waits for, and are widened once for six rows. Against a saturation-free vpmaddubsw on 7-bit
// activations that is four instructions for 32 products instead of three, and the eighth bit halves the rounding.
#define UNIT avx2
#include "attend.hpp"
#include "avx2_vector.hpp"
#include "f32_product.hpp"

namespace perwatt::bert::UNIT {
namespace {

struct Avx2 : Avx2Vector {
  using Code = uint16_t;  // 0...255
  struct Session {};
  static constexpr size_t kFeedRows = 48;
  static constexpr size_t kQueries = 4, kKeyPanels = 2;  // 8 sums, 2 keys, one query of 16 registers
  static constexpr size_t kValueVectors = 2;
  static constexpr size_t kRows = 6;  // by two vectors of sums; two weights, an activation and a product make 16 registers

  static void store_codes(Code* at, F x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(at), codes_of(x)); }

  // Of the eight channels from `channel` on, half a panel.
  template <size_t R, class Then>
  static void block(const Code* codes, const RowRange* ranges, size_t first, const Linear& w, size_t channel,
                    const Then& then) {
    const int8_t* half = w.codes + channel / kPanel * kPanel * w.in + channel % kPanel * 4;
    const Code* x = codes + first * w.in;
    __m256i sum[R][2];  // of row r and channels 4 j ... 4 j + 3: two partial sums each
#pragma GCC unroll 6
    for (size_t r = 0; r < R; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (size_t k = 0; k < w.in; k += 4) {
      const __m128i* weights = reinterpret_cast<const __m128i*>(half + k * kPanel);
      const __m256i a = _mm256_cvtepi8_epi16(_mm_load_si128(weights)), b = _mm256_cvtepi8_epi16(_mm_load_si128(weights + 1));
#pragma GCC unroll 6
      for (size_t r = 0; r < R; ++r) {
        long long four;
        __builtin_memcpy(&four, x + r * w.in + k, 8);
        const __m256i activation = _mm256_set1_epi64x(four);
        sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(activation, a));
        sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(activation, b));
        asm("" : "+x"(sum[r][0]), "+x"(sum[r][1]));  // here, or GCC 12 makes all products first and has too few registers
      }
    }
    const F step = load(w.step + channel), step_sum = load(w.step_sum + channel), bias = load(w.bias + channel);
#pragma GCC unroll 6
    for (size_t r = 0; r < R; ++r) {
      const RowRange range = ranges[first + r];
      const __m256i pairs = _mm256_hadd_epi32(sum[r][0], sum[r][1]);
      const F product = mul(_mm256_cvtepi32_ps(_mm256_permute4x64_epi64(pairs, 0xd8)), step);
      then(first + r, channel, fma(product, splat(range.scale), fma(splat(range.low), step_sum, bias)));
    }
  }

  template <class Then>
  static void product(const Code* codes, const RowRange* ranges, size_t rows, const Linear& w, const Then& then) {
    for (size_t channel = 0; channel < w.out; channel += kPanel / 2) {
      in_blocks<kRows>(rows, [&]<size_t R>(size_t first) { block<R>(codes, ranges, first, w, channel, then); });
    }
  }

  static size_t attention_bytes(const Model& m, size_t longest) { return attend_bytes<Avx2>(m, longest); }
  static void attend(const Model& m, const Layer& layer, const Texts& texts, const Scratch<Avx2>& s) {
    attend_f32<Avx2>(m, layer, texts, s);
  }
};

using Exact = Float32<Avx2Vector>;

}  // namespace

const Kernels kernels = {"avx2", 4, network<Avx2>(), network<Exact>()};

}  // namespace perwatt::bert::UNIT
