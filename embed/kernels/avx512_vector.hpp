// Sixteen float32 lanes of AVX-512: the vector operations forward.hpp and attend.hpp are written over.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

namespace perwatt::bert::UNIT {
namespace {

struct Avx512Vector {
  static constexpr bool kExact = false;
  // Of 32 registers: 24 sums, two weights, a broadcast.
  static constexpr size_t kFloatRows = 12, kFloatVectors = 2, kFloatFeedRows = 96;
  static constexpr size_t kFloatQueries = 6, kFloatKeyPanels = 4, kFloatValueVectors = 4;
  using F = __m512;
  using Code = uint8_t;
  static constexpr size_t W = 16;
  static constexpr float kCodeZero = 0.0f;  // codes are stored as they are, unsigned

  static F load(const float* at) { return _mm512_loadu_ps(at); }
  static void store(float* at, F x) { _mm512_storeu_ps(at, x); }
  static F splat(float x) { return _mm512_set1_ps(x); }
  static F zero() { return _mm512_setzero_ps(); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static float sum(F x) { return _mm512_reduce_add_ps(x); }
  static float lowest(F x) { return _mm512_reduce_min_ps(x); }
  static float highest(F x) { return _mm512_reduce_max_ps(x); }
  static float root(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }

  static F widen(const uint16_t* bfloat16) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bfloat16)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }

  // Rounds to nearest even and saturates to 0...255.
  static void store_codes(uint8_t* at, F x) {
    const __m512i whole = _mm512_max_epi32(_mm512_cvtps_epi32(x), _mm512_setzero_si512());
    _mm_storeu_si128(reinterpret_cast<__m128i*>(at), _mm512_cvtusepi32_epi8(whole));
  }

  // 2^x for x <= 0, relative error below 3e-6: the fraction in [0, 1) by a polynomial, the whole part by scaling, which
  // goes to zero where float32 does.
  static F exp2(F x) {
    const F part = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    F power = splat(0.0135341338f);
    power = fma(power, part, splat(0.0520115781f));
    power = fma(power, part, splat(0.241442642f));
    power = fma(power, part, splat(0.693003872f));
    power = fma(power, part, splat(1.00000259f));
    return _mm512_scalef_ps(power, x);  // scales by the floor of x
  }

  // Rows of 16 consecutive floats each become columns: out[d * 16 + row] = in[row * stride + d]; rows from `rows` on are 0.
  static void transpose(const float* in, size_t stride, size_t rows, size_t columns, float* out) {
    for (size_t column = 0; column < columns; column += 16) {
      __m512 r[16];
      for (size_t i = 0; i < 16; ++i) r[i] = i < rows ? load(in + i * stride + column) : zero();
      transpose16(r);
      for (size_t i = 0; i < 16; ++i) store(out + (column + i) * 16, r[i]);
    }
  }

  static void transpose16(__m512 (&r)[16]) {
    __m512 t[16];
    for (int i = 0; i < 16; i += 2) {
      t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
      const __m512d a = _mm512_castps_pd(t[i]), b = _mm512_castps_pd(t[i + 1]);
      const __m512d c = _mm512_castps_pd(t[i + 2]), d = _mm512_castps_pd(t[i + 3]);
      r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
      r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
      r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
      r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    // r[4 g + j] holds in its 128-bit lane l the column 4 l + j of rows 4 g ... 4 g + 3.
    for (int j = 0; j < 4; ++j) {
      const __m512 low = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88), high = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd);
      const __m512 low2 = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88);
      const __m512 high2 = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
      t[j] = _mm512_shuffle_f32x4(low, low2, 0x88);
      t[8 + j] = _mm512_shuffle_f32x4(low, low2, 0xdd);
      t[4 + j] = _mm512_shuffle_f32x4(high, high2, 0x88);
      t[12 + j] = _mm512_shuffle_f32x4(high, high2, 0xdd);
    }
    for (int i = 0; i < 16; ++i) r[i] = t[i];
  }
};

}  // namespace
}  // namespace perwatt::bert::UNIT
