// The integer product with vpdpbusd: four u8 x s8 multiply-adds in each of sixteen int32 lanes.
//
// A block is up to 12 rows by two panels: 24 accumulators, two weight vectors, one broadcast activation and what the
// compiler needs fill the 32 registers. vpdpbusd has a latency of 5 and two ports, so 10 accumulators keep it busy. Each
// step of four inputs loads 12 broadcasts and two weight vectors for 24 multiply-adds, within two loads a cycle.
#pragma once

#include <immintrin.h>
#include <string.h>

#include "forward.hpp"
#include "vnni_dots.hpp"

namespace perwatt::bert::UNIT {
namespace {

struct VnniProduct {
  static constexpr size_t kRows = 12;

  template <size_t R, class Then>
  static void block(const uint8_t* codes, const RowRange* ranges, size_t first, const Linear& w, size_t channel,
                    const Then& then) {
    const int8_t* a = w.codes + channel * w.in;
    const int8_t* b = a + kPanel * w.in;
    const uint8_t* x = codes + first * w.in;
    const size_t in = w.in;
    __m512i left[R], right[R];
#pragma GCC unroll 12
    for (size_t r = 0; r < R; ++r) left[r] = right[r] = _mm512_setzero_si512();
    for (size_t k = 0; k < in; k += 4) {
      const __m512i wa = _mm512_load_si512(a + k * kPanel), wb = _mm512_load_si512(b + k * kPanel);
#pragma GCC unroll 12
      for (size_t r = 0; r < R; ++r) {
        int32_t four;
        memcpy(&four, x + r * in + k, 4);
        const __m512i activation = _mm512_set1_epi32(four);
        add_dots(left[r], activation, wa);
        add_dots(right[r], activation, wb);
      }
    }
    finish<R>(left, ranges, first, w, channel, then);
    finish<R>(right, ranges, first, w, channel + kPanel, then);
  }

  template <size_t R, class Then>
  [[gnu::always_inline]] static inline void finish(const __m512i (&sum)[R], const RowRange* ranges, size_t first, const Linear& w, size_t c,
                     const Then& then) {
    const __m512 step = _mm512_loadu_ps(w.step + c), step_sum = _mm512_loadu_ps(w.step_sum + c);
    const __m512 bias = _mm512_loadu_ps(w.bias + c);
#pragma GCC unroll 12
    for (size_t r = 0; r < R; ++r) {
      const RowRange range = ranges[first + r];
      const __m512 shifted = _mm512_fmadd_ps(_mm512_set1_ps(range.low), step_sum, bias);
      const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[r]), step);
      then(first + r, c, _mm512_fmadd_ps(product, _mm512_set1_ps(range.scale), shifted));
    }
  }

  template <class Then>
  static void product(const uint8_t* codes, const RowRange* ranges, size_t rows, const Linear& w, const Then& then) {
    for (size_t channel = 0; channel < w.out; channel += 2 * kPanel) {
      in_blocks<kRows>(rows, [&]<size_t R>(size_t first) { block<R>(codes, ranges, first, w, channel, then); });
    }
  }
};

}  // namespace
}  // namespace perwatt::bert::UNIT
