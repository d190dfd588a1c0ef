// Eight float32 lanes of AVX2 with FMA: the vector operations forward.hpp and attend.hpp are written over.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

namespace perwatt::bert::UNIT {
namespace {

struct Avx2Vector {
  static constexpr bool kExact = false;
  // Of 16 registers: 12 sums, two weights, a broadcast.
  static constexpr size_t kFloatRows = 6, kFloatVectors = 2, kFloatFeedRows = 96;
  static constexpr size_t kFloatQueries = 4, kFloatKeyPanels = 2, kFloatValueVectors = 2;
  using F = __m256;
  static constexpr size_t W = 8;
  static constexpr float kCodeZero = 0.0f;  // codes are stored as they are, unsigned

  static F load(const float* at) { return _mm256_loadu_ps(at); }
  static void store(float* at, F x) { _mm256_storeu_ps(at, x); }
  static F splat(float x) { return _mm256_set1_ps(x); }
  static F zero() { return _mm256_setzero_ps(); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }

  static float sum(F x) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }
  static float lowest(F x) {
    __m128 half = _mm_min_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_min_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_min_ss(half, _mm_movehdup_ps(half)));
  }
  static float highest(F x) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
  }
  static float root(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }

  static F widen(const uint16_t* bfloat16) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bfloat16)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }

  // Eight codes as uint16 lanes, rounded to nearest even and held within 0...255.
  static __m128i codes_of(F x) {
    const __m256i whole = _mm256_cvtps_epi32(_mm256_min_ps(x, splat(255.0f)));
    return _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  }

  // 2^x for x <= 0, relative error below 3e-6; below 2^-126 it stays there.
  static F exp2(F x) {
    const F held = max(x, splat(-126.0f));
    const F whole = _mm256_floor_ps(held), part = sub(held, whole);
    F power = splat(0.0135341338f);
    power = fma(power, part, splat(0.0520115781f));
    power = fma(power, part, splat(0.241442642f));
    power = fma(power, part, splat(0.693003872f));
    power = fma(power, part, splat(1.00000259f));
    const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(whole), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(power), exponent));
  }

  // Rows of consecutive floats become columns: out[d * To + row] = in[row * stride + d]; rows from `rows` to 7 are 0.
  template <size_t To = 8>
  static void transpose(const float* in, size_t stride, size_t rows, size_t columns, float* out) {
    for (size_t column = 0; column < columns; column += 8) {
      __m256 r[8], t[8];
      for (size_t i = 0; i < 8; ++i) r[i] = i < rows ? load(in + i * stride + column) : zero();
      for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
      }
      for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
      }
      for (int i = 0; i < 4; ++i) {
        store(out + (column + i) * To, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        store(out + (column + 4 + i) * To, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
      }
    }
  }
};

}  // namespace
}  // namespace perwatt::bert::UNIT
