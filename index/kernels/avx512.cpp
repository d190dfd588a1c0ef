// AVX-512 F + BW + DQ + VL without VNNI: Skylake-SP and Cascade Lake's elder siblings.
//
// int8 is widened to int16 and multiplied with vpmaddwd, as in avx2.cpp and for the same reason.
#define PERWATT_UNIT avx512
#include "avx512_f32.hpp"
#include "hop_avx512.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

struct DotI8 {
  template <int R>
  static void block(const int8_t* query, const int8_t* const* rows, size_t dim, int32_t* out) {
    __m512i sums[R];
    for (int r = 0; r < R; ++r) sums[r] = _mm512_setzero_si512();
    for (size_t i = 0; i < dim; i += 32) {
      const size_t left = dim - i;
      const __mmask32 mask = left >= 32 ? 0xFFFFFFFFu : (1u << left) - 1u;
      const __m512i q = _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(mask, query + i));
      for (int r = 0; r < R; ++r) {
        const __m512i x = _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(mask, rows[r] + i));
        sums[r] = _mm512_add_epi32(sums[r], _mm512_madd_epi16(q, x));
      }
    }
    if constexpr (R == kRowsAtOnce) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), sums_of(sums));
    } else {
      for (int r = 0; r < R; ++r) out[r] = sum_of(sums[r]);
    }
  }
};

constexpr Kernels kTable = table<DotI8, SumF32<Product>, SumF32<SquaredDifference>, Avx512Hop>("avx512");

}  // namespace
}  // namespace perwatt::PERWATT_UNIT

extern const perwatt::Kernels perwatt::kAvx512 = perwatt::PERWATT_UNIT::kTable;
