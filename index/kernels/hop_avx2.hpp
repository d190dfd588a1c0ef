// The steps of a hop with 256-bit registers. What is not here, the compiler makes of hop.hpp as well.
//
// scan: as in hop_avx512.hpp, two tables at a time.
#pragma once

#include <immintrin.h>

#include "hop.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

struct Avx2Hop : PlainHop {
  static __m256i looked_up(__m256i table, __m256i codes) {
    return _mm256_shuffle_epi8(table, _mm256_and_si256(codes, _mm256_set1_epi8(15)));
  }

  static __m128i folded(__m256i v) {
    return _mm_add_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  }

  static void store_sums(__m256i both, __m256i odd, uint16_t* sums) {
    const __m128i evens = folded(_mm256_sub_epi16(both, _mm256_slli_epi16(odd, 8))), odds = folded(odd);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(sums), _mm_unpacklo_epi16(evens, odds));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(sums + 8), _mm_unpackhi_epi16(evens, odds));
  }

  static void scan(const uint8_t* signs, const uint8_t* tables, size_t count, uint16_t* sums) {
    __m256i low = _mm256_setzero_si256(), low_odd = low, high = low, high_odd = low;
    for (size_t t = 0; t < count; t += 8) {
      __m256i low_bytes = _mm256_setzero_si256(), high_bytes = low_bytes;
      for (size_t two = 0; two < 8; two += 2) {
        const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(signs + 16 * (t + two)));
        const __m256i table = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(tables + 16 * (t + two)));
        low_bytes = _mm256_add_epi8(low_bytes, looked_up(table, codes));
        high_bytes = _mm256_add_epi8(high_bytes, looked_up(table, _mm256_srli_epi16(codes, 4)));
      }
      low = _mm256_add_epi16(low, low_bytes);
      low_odd = _mm256_add_epi16(low_odd, _mm256_srli_epi16(low_bytes, 8));
      high = _mm256_add_epi16(high, high_bytes);
      high_odd = _mm256_add_epi16(high_odd, _mm256_srli_epi16(high_bytes, 8));
    }
    store_sums(low, low_odd, sums);
    store_sums(high, high_odd, sums + 16);
  }

  // Spokes, as in hop_avx512.hpp; pairs are added in 16 bits; the four steps of a load reach 4 * 2 * 3 * 127 at most.
  template <int R>
  static void spokes(const int8_t* query, const uint8_t* const* codes, size_t padded, int32_t* out) {
    const size_t bytes = code_bytes(padded);
    const __m256i cut = _mm256_set1_epi8(3), one = _mm256_set1_epi16(1);
    __m256i sums[R];
    for (int r = 0; r < R; ++r) sums[r] = _mm256_setzero_si256();
    for (size_t i = 0; i < bytes; i += 32) {
      const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
      const __m256i inside = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>((bytes - i) / 4)), lanes);
      // The query's four in registers and one row after the other: with all rows at once there are too few of 16.
      __m256i q[4];
      for (size_t j = 0; j < 4; ++j) q[j] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query + j * bytes + i));
      for (int r = 0; r < R; ++r) {
        __m256i x = _mm256_maskload_epi32(reinterpret_cast<const int*>(codes[r] + i), inside);
        __m256i words = _mm256_maddubs_epi16(_mm256_and_si256(x, cut), q[0]);
        for (size_t j = 1; j < 4; ++j) {
          x = _mm256_srli_epi16(x, 2);
          words = _mm256_add_epi16(words, _mm256_maddubs_epi16(_mm256_and_si256(x, cut), q[j]));
        }
        sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(words, one));
      }
    }
    for (int r = 0; r < R; ++r) {
      __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sums[r]), _mm256_extracti128_si256(sums[r], 1));
      four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
      four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1));
      out[r] = _mm_cvtsi128_si32(four);
    }
  }

  static uint32_t estimate(const uint16_t* sums, const uint16_t* add, const uint16_t* mul, float base, float unit,
                           float offset, float threshold, float* out) {
    uint32_t mask = 0;
    for (int part = 0; part < 4; ++part) {
      const auto load = [part](const uint16_t* p) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8 * part));
      };
      const __m256 sum = _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(load(sums)));
      const __m256 product = _mm256_add_ps(_mm256_mul_ps(sum, _mm256_set1_ps(unit)), _mm256_set1_ps(offset));
      const __m256 first = _mm256_add_ps(_mm256_set1_ps(base), _mm256_cvtph_ps(load(add)));
      const __m256 estimate = _mm256_add_ps(first, _mm256_mul_ps(_mm256_cvtph_ps(load(mul)), product));
      _mm256_storeu_ps(out + 8 * part, estimate);
      const __m256 above = _mm256_cmp_ps(estimate, _mm256_set1_ps(threshold), _CMP_GT_OQ);
      mask |= static_cast<uint32_t>(_mm256_movemask_ps(above)) << (8 * part);
    }
    return mask;
  }

  static void make_tables(const float* query, size_t padded, float middle, float inverse, uint8_t* tables) {
    const __m256 shift = _mm256_set1_ps(middle * inverse), inverses = _mm256_set1_ps(inverse);
    // The sign bit of lane c is set where bit b of c, or of c + 8, is not.
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const auto flips = [](__m256i codes, int bit) {
      return _mm256_castsi256_ps(_mm256_andnot_si256(_mm256_slli_epi32(codes, 31 - bit), _mm256_set1_epi32(INT32_MIN)));
    };
    for (size_t t = 0; t < padded / 4; ++t) {
      __m256i entries[2];
      for (int half = 0; half < 2; ++half) {
        const __m256i codes = _mm256_add_epi32(lanes, _mm256_set1_epi32(8 * half));
        const auto with_sign = [&](int bit) {
          const __m256 x = _mm256_mul_ps(_mm256_set1_ps(query[4 * t + static_cast<size_t>(bit)]), inverses);
          return _mm256_xor_ps(x, flips(codes, bit));
        };
        const __m256 low = _mm256_add_ps(with_sign(0), with_sign(1)), high = _mm256_add_ps(with_sign(2), with_sign(3));
        const __m256i value = _mm256_cvtps_epi32(_mm256_add_ps(_mm256_add_ps(low, high), shift));
        entries[half] = _mm256_min_epi32(_mm256_max_epi32(value, _mm256_setzero_si256()), _mm256_set1_epi32(63));
      }
      const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(entries[0], entries[1]), 0xD8);
      const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(tables + 16 * t), bytes);
    }
  }

  static void quantise(const float* x, size_t n, float inverse, int8_t* codes) {
    for (size_t i = 0; i < n; i += 8) {
      const __m256i code = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(inverse)));
      const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(codes + i), _mm_packs_epi16(words, words));
    }
  }

  static void edge(const float* vertex, const float* neighbour, size_t padded, size_t slot, uint8_t* signs, float* rr,
                   float* rb, float* vb, float* vr) {
    const __m256 zero = _mm256_setzero_ps(), sign = _mm256_set1_ps(-0.0f);
    __m256 squares[2] = {zero, zero}, absolutes[2] = {zero, zero}, signed_values[2] = {zero, zero};
    __m256 products[2] = {zero, zero};
    for (size_t i = 0; i < padded; i += 16) {
      uint32_t positive = 0;
      for (size_t h = 0; h < 2; ++h) {
        const __m256 v = _mm256_loadu_ps(vertex + i + 8 * h);
        const __m256 r = _mm256_sub_ps(_mm256_loadu_ps(neighbour + i + 8 * h), v);
        const __m256 up = _mm256_cmp_ps(r, zero, _CMP_GE_OQ);
        squares[h] = _mm256_add_ps(squares[h], _mm256_mul_ps(r, r));
        absolutes[h] = _mm256_add_ps(absolutes[h], _mm256_andnot_ps(sign, r));
        signed_values[h] = _mm256_add_ps(signed_values[h], _mm256_xor_ps(v, _mm256_andnot_ps(up, sign)));
        products[h] = _mm256_add_ps(products[h], _mm256_mul_ps(v, r));
        positive |= static_cast<uint32_t>(_mm256_movemask_ps(up)) << (8 * h);
      }
      store_signs(positive, i, slot, signs);
    }
    for (size_t h = 0; h < 2; ++h) {
      _mm256_storeu_ps(rr + 8 * h, squares[h]);
      _mm256_storeu_ps(rb + 8 * h, absolutes[h]);
      _mm256_storeu_ps(vb + 8 * h, signed_values[h]);
      _mm256_storeu_ps(vr + 8 * h, products[h]);
    }
  }

  // The first eight lanes of 16 rounds through permutes, where the compiler would go through memory.
  static void butterflies(float* x) {
    const __m256 minus[3] = {_mm256_setr_ps(0.f, -0.f, 0.f, -0.f, 0.f, -0.f, 0.f, -0.f),
                             _mm256_setr_ps(0.f, 0.f, -0.f, -0.f, 0.f, 0.f, -0.f, -0.f),
                             _mm256_setr_ps(0.f, 0.f, 0.f, 0.f, -0.f, -0.f, -0.f, -0.f)};
    __m256 v[2];
    for (int half = 0; half < 2; ++half) {
      __m256 y = _mm256_loadu_ps(x + 8 * half);
      y = _mm256_add_ps(_mm256_permute_ps(y, 0xB1), _mm256_xor_ps(y, minus[0]));
      y = _mm256_add_ps(_mm256_permute_ps(y, 0x4E), _mm256_xor_ps(y, minus[1]));
      v[half] = _mm256_add_ps(_mm256_permute2f128_ps(y, y, 1), _mm256_xor_ps(y, minus[2]));
    }
    _mm256_storeu_ps(x, _mm256_add_ps(v[0], v[1]));
    _mm256_storeu_ps(x + 8, _mm256_sub_ps(v[0], v[1]));
  }

  static size_t greatest(const float* x, size_t n) {
    __m256 best = _mm256_set1_ps(-__builtin_inff());
    __m256i place = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), best_place = place;
    const __m256i end = _mm256_set1_epi32(static_cast<int>(n));
    for (size_t i = 0; i < n; i += 8) {
      const __m256 value = _mm256_loadu_ps(x + i);
      const __m256 inside = _mm256_castsi256_ps(_mm256_cmpgt_epi32(end, place));
      const __m256 better = _mm256_and_ps(inside, _mm256_cmp_ps(value, best, _CMP_GT_OQ));
      best = _mm256_blendv_ps(best, value, better);
      best_place = _mm256_blendv_epi8(best_place, place, _mm256_castps_si256(better));
      place = _mm256_add_epi32(place, _mm256_set1_epi32(8));
    }
    alignas(32) float values[8];
    alignas(32) uint32_t places[8];
    _mm256_store_ps(values, best);
    _mm256_store_si256(reinterpret_cast<__m256i*>(places), best_place);
    size_t winner = 0;
    for (size_t j = 1; j < 8; ++j) {
      if (values[j] > values[winner] || (values[j] == values[winner] && places[j] < places[winner])) winner = j;
    }
    return places[winner];
  }

  static size_t count_above(const float* x, size_t n, float threshold) {
    size_t count = 0, i = 0;
    for (; i + 8 <= n; i += 8) {
      const __m256 above = _mm256_cmp_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(threshold), _CMP_GT_OQ);
      count += static_cast<size_t>(__builtin_popcount(static_cast<unsigned>(_mm256_movemask_ps(above))));
    }
    return count + PlainHop::count_above(x + i, n - i, threshold);
  }
};

}  // namespace
}  // namespace perwatt::PERWATT_UNIT
