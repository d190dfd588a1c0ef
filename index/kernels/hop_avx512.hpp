// The steps of a hop with 512-bit registers, for both AVX-512 units.
//
// scan: 64 bytes are the codes of four tables for 32 neighbours; vpshufb looks 64 of them up at once. Entries have 6
// bits, so four are added as bytes before anything is widened. Even and odd bytes are then told apart without
// unpacking: 16-bit lanes add up even + 256 * odd, modulo 2^16, and odd alone; the difference is even.
#pragma once

#include <immintrin.h>

#include "hop.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

struct Avx512Hop : PlainHop {
  static __mmask16 first_lanes(size_t n) {
    return static_cast<__mmask16>(n >= 16 ? 0xFFFFu : (1u << n) - 1u);
  }

  static __m512i looked_up(__m512i table, __m512i codes) {
    return _mm512_shuffle_epi8(table, _mm512_and_si512(codes, _mm512_set1_epi8(15)));
  }

  static __m128i folded(__m512i v) {
    const __m256i half = _mm256_add_epi16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    return _mm_add_epi16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  }

  static void store_sums(__m512i both, __m512i odd, uint16_t* sums) {
    const __m128i evens = folded(_mm512_sub_epi16(both, _mm512_slli_epi16(odd, 8))), odds = folded(odd);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(sums), _mm_unpacklo_epi16(evens, odds));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(sums + 8), _mm_unpackhi_epi16(evens, odds));
  }

  static void scan(const uint8_t* signs, const uint8_t* tables, size_t count, uint16_t* sums) {
    __m512i low = _mm512_setzero_si512(), low_odd = low, high = low, high_odd = low;
    for (size_t t = 0; t < count; t += 16) {
      __m512i low_bytes = _mm512_setzero_si512(), high_bytes = low_bytes;
      for (size_t four = 0; four < 16; four += 4) {
        const __m512i codes = _mm512_loadu_si512(signs + 16 * (t + four));
        const __m512i table = _mm512_loadu_si512(tables + 16 * (t + four));
        low_bytes = _mm512_add_epi8(low_bytes, looked_up(table, codes));
        high_bytes = _mm512_add_epi8(high_bytes, looked_up(table, _mm512_srli_epi16(codes, 4)));
      }
      low = _mm512_add_epi16(low, low_bytes);
      low_odd = _mm512_add_epi16(low_odd, _mm512_srli_epi16(low_bytes, 8));
      high = _mm512_add_epi16(high, high_bytes);
      high_odd = _mm512_add_epi16(high_odd, _mm512_srli_epi16(high_bytes, 8));
    }
    store_sums(low, low_odd, sums);
    store_sums(high, high_odd, sums + 16);
  }

  // Spokes: one load of up to 64 bytes holds four codes for each lane; each is shifted down and cut out.
  static __m512i some_bytes(const uint8_t* p, size_t n) {
    return _mm512_maskz_loadu_epi8(n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1, p);
  }

  // The sums of four registers, in order.
  static __m128i sums_of_four(const __m512i* v) {
    const __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    const __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    const __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  }

  template <class Products, int R>
  static void spokes_by(const int8_t* query, const uint8_t* const* codes, size_t padded, int32_t* out) {
    const size_t bytes = code_bytes(padded);
    const __m512i cut = _mm512_set1_epi8(3);
    __m512i sums[R];
    for (int r = 0; r < R; ++r) sums[r] = _mm512_setzero_si512();
    for (size_t i = 0; i < bytes; i += 64) {
      __m512i x[R];
      Products products[R];
      for (int r = 0; r < R; ++r) x[r] = some_bytes(codes[r] + i, bytes - i);
      for (size_t j = 0; j < 4; ++j) {
        const __m512i q = _mm512_loadu_si512(query + j * bytes + i);
        for (int r = 0; r < R; ++r) {
          products[r].add(sums[r], _mm512_and_si512(x[r], cut), q);
          x[r] = _mm512_srli_epi16(x[r], 2);
        }
      }
      for (int r = 0; r < R; ++r) products[r].flush(sums[r]);
    }
    if constexpr (R == 4) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), sums_of_four(sums));
    } else {
      for (int r = 0; r < R; ++r) out[r] = _mm512_reduce_add_epi32(sums[r]);
    }
  }

  // Without VNNI: pairs are added in 16 bits; the four steps of a load reach 4 * 2 * 3 * 127 at most.
  struct Pairs {
    __m512i words = _mm512_setzero_si512();
    void add(__m512i&, __m512i codes, __m512i q) {
      words = _mm512_add_epi16(words, _mm512_maddubs_epi16(codes, q));
    }
    void flush(__m512i& sum) { sum = _mm512_add_epi32(sum, _mm512_madd_epi16(words, _mm512_set1_epi16(1))); }
  };

  template <int R>
  static void spokes(const int8_t* query, const uint8_t* const* codes, size_t padded, int32_t* out) {
    spokes_by<Pairs, R>(query, codes, padded, out);
  }

  static uint32_t estimate(const uint16_t* sums, const uint16_t* add, const uint16_t* mul, float base, float unit,
                           float offset, float threshold, float* out) {
    uint32_t mask = 0;
    for (int half = 0; half < 2; ++half) {
      const auto load = [half](const uint16_t* p) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 16 * half));
      };
      const __m512 sum = _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(load(sums)));
      const __m512 product = _mm512_add_ps(_mm512_mul_ps(sum, _mm512_set1_ps(unit)), _mm512_set1_ps(offset));
      const __m512 first = _mm512_add_ps(_mm512_set1_ps(base), _mm512_cvtph_ps(load(add)));
      const __m512 estimate = _mm512_add_ps(first, _mm512_mul_ps(_mm512_cvtph_ps(load(mul)), product));
      _mm512_storeu_ps(out + 16 * half, estimate);
      const uint32_t above = _mm512_cmp_ps_mask(estimate, _mm512_set1_ps(threshold), _CMP_GT_OQ);
      mask |= above << (16 * half);
    }
    return mask;
  }

  static void make_tables(const float* query, size_t padded, float middle, float inverse, uint8_t* tables) {
    const __m512 shift = _mm512_set1_ps(middle * inverse), inverses = _mm512_set1_ps(inverse);
    const auto with_sign = [inverses](float value, __mmask16 plus) {
      const __m512 x = _mm512_mul_ps(_mm512_set1_ps(value), inverses);
      return _mm512_mask_sub_ps(x, static_cast<__mmask16>(~plus), _mm512_setzero_ps(), x);
    };
    for (size_t t = 0; t < padded / 4; ++t) {
      const float* q = query + 4 * t;
      const __m512 low = _mm512_add_ps(with_sign(q[0], 0xAAAA), with_sign(q[1], 0xCCCC));
      const __m512 high = _mm512_add_ps(with_sign(q[2], 0xF0F0), with_sign(q[3], 0xFF00));
      const __m512i value = _mm512_cvtps_epi32(_mm512_add_ps(_mm512_add_ps(low, high), shift));
      const __m512i entry = _mm512_min_epi32(_mm512_max_epi32(value, _mm512_setzero_si512()), _mm512_set1_epi32(63));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(tables + 16 * t), _mm512_cvtepi32_epi8(entry));
    }
  }

  static void edge(const float* vertex, const float* neighbour, size_t padded, size_t slot, uint8_t* signs, float* rr,
                   float* rb, float* vb, float* vr) {
    const __m512 zero = _mm512_setzero_ps();
    __m512 squares = zero, absolutes = zero, signed_values = zero, products = zero;
    for (size_t i = 0; i < padded; i += 16) {
      const __m512 v = _mm512_loadu_ps(vertex + i), r = _mm512_sub_ps(_mm512_loadu_ps(neighbour + i), v);
      const __mmask16 positive = _mm512_cmp_ps_mask(r, zero, _CMP_GE_OQ);
      squares = _mm512_add_ps(squares, _mm512_mul_ps(r, r));
      absolutes = _mm512_add_ps(absolutes, _mm512_abs_ps(r));
      signed_values = _mm512_mask_sub_ps(_mm512_add_ps(signed_values, v), static_cast<__mmask16>(~positive),
                                         signed_values, v);
      products = _mm512_add_ps(products, _mm512_mul_ps(v, r));
      store_signs(positive, i, slot, signs);
    }
    _mm512_storeu_ps(rr, squares);
    _mm512_storeu_ps(rb, absolutes);
    _mm512_storeu_ps(vb, signed_values);
    _mm512_storeu_ps(vr, products);
  }

  // In each pair the upper lane becomes lower - upper: its negative, added to its swapped neighbour.
  static void butterflies(float* x) {
    __m512 v = _mm512_loadu_ps(x);
    const __m512 zero = _mm512_setzero_ps();
    v = _mm512_add_ps(_mm512_permute_ps(v, 0xB1), _mm512_mask_sub_ps(v, 0xAAAA, zero, v));
    v = _mm512_add_ps(_mm512_permute_ps(v, 0x4E), _mm512_mask_sub_ps(v, 0xCCCC, zero, v));
    v = _mm512_add_ps(_mm512_shuffle_f32x4(v, v, 0xB1), _mm512_mask_sub_ps(v, 0xF0F0, zero, v));
    v = _mm512_add_ps(_mm512_shuffle_f32x4(v, v, 0x4E), _mm512_mask_sub_ps(v, 0xFF00, zero, v));
    _mm512_storeu_ps(x, v);
  }

  static void quantise(const float* x, size_t n, float inverse, int8_t* codes) {
    for (size_t i = 0; i < n; i += 16) {
      const __m512i code = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(inverse)));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + i), _mm512_cvtepi32_epi8(code));
    }
  }

  static size_t greatest(const float* x, size_t n) {
    __m512 best = _mm512_set1_ps(-__builtin_inff());
    __m512i place = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), best_place = place;
    for (size_t i = 0; i < n; i += 16) {
      const __m512 value = _mm512_loadu_ps(x + i);
      const __mmask16 better = _mm512_mask_cmp_ps_mask(first_lanes(n - i), value, best, _CMP_GT_OQ);
      best = _mm512_mask_mov_ps(best, better, value);
      best_place = _mm512_mask_mov_epi32(best_place, better, place);
      place = _mm512_add_epi32(place, _mm512_set1_epi32(16));
    }
    const __mmask16 equal = _mm512_cmp_ps_mask(best, _mm512_set1_ps(_mm512_reduce_max_ps(best)), _CMP_EQ_OQ);
    return static_cast<size_t>(_mm512_mask_reduce_min_epu32(equal, best_place));
  }

  static float maximum(const float* x, size_t n) {
    __m512 best = _mm512_set1_ps(x[0]);
    for (size_t i = 0; i < n; i += 16) best = _mm512_mask_max_ps(best, first_lanes(n - i), best, _mm512_loadu_ps(x + i));
    return _mm512_reduce_max_ps(best);
  }

  static float minimum(const float* x, size_t n) {
    __m512 best = _mm512_set1_ps(x[0]);
    for (size_t i = 0; i < n; i += 16) best = _mm512_mask_min_ps(best, first_lanes(n - i), best, _mm512_loadu_ps(x + i));
    return _mm512_reduce_min_ps(best);
  }

  static size_t count_above(const float* x, size_t n, float threshold) {
    size_t count = 0;
    for (size_t i = 0; i < n; i += 16) {
      count += static_cast<size_t>(__builtin_popcount(_mm512_mask_cmp_ps_mask(
          first_lanes(n - i), _mm512_loadu_ps(x + i), _mm512_set1_ps(threshold), _CMP_GT_OQ)));
    }
    return count;
  }

  static size_t compress(float* x, int32_t* vertices, size_t n, float threshold) {
    size_t left = 0;
    for (size_t i = 0; i < n; i += 16) {
      const __m512 value = _mm512_loadu_ps(x + i);
      const __m512i vertex = _mm512_loadu_si512(vertices + i);
      const __mmask16 above =
          _mm512_mask_cmp_ps_mask(first_lanes(n - i), value, _mm512_set1_ps(threshold), _CMP_GT_OQ);
      _mm512_storeu_ps(x + left, _mm512_maskz_compress_ps(above, value));
      _mm512_storeu_si512(vertices + left, _mm512_maskz_compress_epi32(above, vertex));
      left += static_cast<size_t>(__builtin_popcount(above));
    }
    return left;
  }

  // Eight keys are compared at once; empty slots hold INT64_MIN. From the place on, all move up by one.
  static size_t insert(int64_t* keys, size_t& size, size_t limit, int64_t key) {
    if (size == limit && keys[limit - 1] >= key) return limit;
    if (size > 256) return PlainHop::insert(keys, size, limit, key);
    size_t place = 0;
    for (size_t i = 0; i < size; i += 8) {
      const __mmask8 above = _mm512_cmpgt_epi64_mask(_mm512_loadu_si512(keys + i), _mm512_set1_epi64(key));
      place += static_cast<size_t>(__builtin_popcount(above));
    }
    size_t end = size < limit ? size : limit - 1;
    for (; end >= place + 8; end -= 8) _mm512_storeu_si512(keys + end - 7, _mm512_loadu_si512(keys + end - 8));
    const __mmask8 rest = static_cast<__mmask8>((1u << (end - place)) - 1u);
    const __m512i moved = _mm512_maskz_loadu_epi64(rest, keys + place);
    _mm512_mask_storeu_epi64(keys + place + 1, rest, moved);
    keys[place] = key;
    size += size < limit;
    return place;
  }
};

}  // namespace
}  // namespace perwatt::PERWATT_UNIT
