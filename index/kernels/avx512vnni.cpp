// AVX-512 with VNNI: Cascade Lake, Ice Lake and Zen 4 onwards.
//
// vpdpbusd multiplies unsigned by signed bytes and adds four products into an int32 lane, without saturation.
// Codes lie on disk as plain int8, the form that NEON's sdot wants, so here they become unsigned in the
// register: x XOR 0x80 = x + 128, one cheap uop for 64 codes. The sum is then too large by 128 * sum(q), which is
// the same for every row of a query: it is computed once and taken off at the end.
#define PERWATT_UNIT avx512vnni
#include "avx512_f32.hpp"
#include "hop_avx512.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

struct DotI8 {
  template <int R>
  static void block(const int8_t* query, const int8_t* const* rows, size_t dim, int32_t* out) {
    const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
    __m512i sums[R];
    // 128 * sum(q) comes from the same instruction on the constant 128. It costs a quarter of a block of four
    // rows and saves a second argument through the whole table.
    __m512i bias = _mm512_setzero_si512();
    for (int r = 0; r < R; ++r) sums[r] = _mm512_setzero_si512();
    size_t i = 0;
    for (; i + 64 <= dim; i += 64) {
      const __m512i q = _mm512_loadu_si512(query + i);
      bias = _mm512_dpbusd_epi32(bias, flip, q);
      for (int r = 0; r < R; ++r) {
        const __m512i x = _mm512_xor_si512(_mm512_loadu_si512(rows[r] + i), flip);
        sums[r] = _mm512_dpbusd_epi32(sums[r], x, q);
      }
    }
    if (i < dim) {
      // Beyond the row the query is zero, so whatever the flipped zeros are, their products vanish.
      const __mmask64 mask = (1ull << (dim - i)) - 1ull;
      const __m512i q = _mm512_maskz_loadu_epi8(mask, query + i);
      bias = _mm512_dpbusd_epi32(bias, flip, q);
      for (int r = 0; r < R; ++r) {
        const __m512i x = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, rows[r] + i), flip);
        sums[r] = _mm512_dpbusd_epi32(sums[r], x, q);
      }
    }
    for (int r = 0; r < R; ++r) sums[r] = _mm512_sub_epi32(sums[r], bias);
    if constexpr (R == kRowsAtOnce) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), sums_of(sums));
    } else {
      for (int r = 0; r < R; ++r) out[r] = sum_of(sums[r]);
    }
  }
};

struct VnniHop : Avx512Hop {
  struct Dots {
    void add(__m512i& sum, __m512i codes, __m512i q) { sum = _mm512_dpbusd_epi32(sum, codes, q); }
    void flush(__m512i&) {}
  };

  template <int R>
  static void spokes(const int8_t* query, const uint8_t* const* codes, size_t padded, int32_t* out) {
    spokes_by<Dots, R>(query, codes, padded, out);
  }
};

constexpr Kernels kTable = table<DotI8, SumF32<Product>, SumF32<SquaredDifference>, VnniHop>("avx512vnni");

}  // namespace
}  // namespace perwatt::PERWATT_UNIT

extern const perwatt::Kernels perwatt::kAvx512Vnni = perwatt::PERWATT_UNIT::kTable;
