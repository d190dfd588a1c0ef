// AVX2 with AVX-VNNI: client processors since Alder Lake and the efficiency-core Xeons. vpdpbusd on eight lanes.
//
// Six rows by the two vectors of a panel are 12 sums; two weights and one activation make 15 of 16 registers.
#define UNIT avx2vnni
#include "attend.hpp"
#include "avx2_vector.hpp"
#include "f32_product.hpp"

namespace perwatt::bert::UNIT {
namespace {

struct Avx2Vnni : Avx2Vector {
  using Code = uint8_t;
  struct Session {};
  static constexpr size_t kFeedRows = 96;
  static constexpr size_t kQueries = 4, kKeyPanels = 2;  // 8 sums, 2 keys, one query of 16 registers
  static constexpr size_t kValueVectors = 2;
  static constexpr size_t kRows = 6;

  static void store_codes(Code* at, F x) {
    const __m128i words = codes_of(x);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(at), _mm_packus_epi16(words, words));
  }

  template <size_t R, class Then>
  static void block(const Code* codes, const RowRange* ranges, size_t first, const Linear& w, size_t channel,
                    const Then& then) {
    const int8_t* panel = w.codes + channel * w.in;
    const Code* x = codes + first * w.in;
    __m256i sum[R][2];  // loops unrolled by order: left to itself GCC 12 keeps the sums in memory
#pragma GCC unroll 6
    for (size_t r = 0; r < R; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (size_t k = 0; k < w.in; k += 4) {
      const __m256i* weights = reinterpret_cast<const __m256i*>(panel + k * kPanel);
      const __m256i a = _mm256_load_si256(weights), b = _mm256_load_si256(weights + 1);
#pragma GCC unroll 6
      for (size_t r = 0; r < R; ++r) {
        int32_t four;
        __builtin_memcpy(&four, x + r * w.in + k, 4);
        const __m256i activation = _mm256_set1_epi32(four);
        accumulate(sum[r][0], activation, a);
        accumulate(sum[r][1], activation, b);
      }
    }
#pragma GCC unroll 2
    for (size_t half = 0; half < 2; ++half) {
      const size_t c = channel + 8 * half;
      const F step = load(w.step + c), step_sum = load(w.step_sum + c), bias = load(w.bias + c);
#pragma GCC unroll 6
      for (size_t r = 0; r < R; ++r) {
        const RowRange range = ranges[first + r];
        const F product = mul(_mm256_cvtepi32_ps(sum[r][half]), step);
        then(first + r, c, fma(product, splat(range.scale), fma(splat(range.low), step_sum, bias)));
      }
    }
  }

  // _mm256_dpbusd_avx_epi32, spelled out: from the intrinsic GCC 12 copies each sum to another register and back.
  static void accumulate(__m256i& sum, __m256i unsigned_codes, __m256i signed_codes) {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(unsigned_codes), "x"(signed_codes));
  }

  template <class Then>
  static void product(const Code* codes, const RowRange* ranges, size_t rows, const Linear& w, const Then& then) {
    for (size_t channel = 0; channel < w.out; channel += kPanel) {
      in_blocks<kRows>(rows, [&]<size_t R>(size_t first) { block<R>(codes, ranges, first, w, channel, then); });
    }
  }

  static size_t attention_bytes(const Model& m, size_t longest) { return attend_bytes<Avx2Vnni>(m, longest); }
  static void attend(const Model& m, const Layer& layer, const Texts& texts, const Scratch<Avx2Vnni>& s) {
    attend_f32<Avx2Vnni>(m, layer, texts, s);
  }
};

using Exact = Float32<Avx2Vector>;

}  // namespace

const Kernels kernels = {"avx2vnni", {kPanel, 4}, network<Avx2Vnni>(), network<Exact>()};

}  // namespace perwatt::bert::UNIT
