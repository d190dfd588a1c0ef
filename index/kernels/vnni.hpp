// The operations of AVX-512 with VNNI, for the units that have it.
//
// vpdpbusd multiplies unsigned by signed bytes and adds four products into an int32 lane, without saturation.
// Codes lie on disk as plain int8, the form that NEON's sdot wants, so here they become unsigned in the
// register: x XOR 0x80 = x + 128, one cheap uop for 64 codes. The sum is then too large by 128 * sum(q), which is
// the same for every row of a query: it is computed once and taken off at the end.
#pragma once

#include "avx512_f32.hpp"
#include "hop_avx512.hpp"
#include "vnni_dots.hpp"

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
      add_dots(bias, flip, q);
      for (int r = 0; r < R; ++r) {
        const __m512i x = _mm512_xor_si512(_mm512_loadu_si512(rows[r] + i), flip);
        add_dots(sums[r], x, q);
      }
    }
    if (i < dim) {
      // Beyond the row the query is zero, so whatever the flipped zeros are, their products vanish.
      const __mmask64 mask = (1ull << (dim - i)) - 1ull;
      const __m512i q = _mm512_maskz_loadu_epi8(mask, query + i);
      add_dots(bias, flip, q);
      for (int r = 0; r < R; ++r) {
        const __m512i x = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, rows[r] + i), flip);
        add_dots(sums[r], x, q);
      }
    }
    for (int r = 0; r < R; ++r) sums[r] = _mm512_sub_epi32(sums[r], bias);
    if constexpr (R == kRowsAtOnce) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), perwatt::PERWATT_UNIT::sums_of(sums));
    } else {
      for (int r = 0; r < R; ++r) out[r] = sum_of(sums[r]);
    }
  }

  // Four queries against four rows: 16 sums, 4 queries, a row and the flip are 22 of 32 registers, and of the ports' work
  // (MEASURED.md counts it) a row's load and flip are shared by four products.
  static constexpr size_t kQueriesAtOnce = 4;

  // 128 * sum(q) of each query, in the lanes where `tile` has its products.
  static __m512i bias(const int8_t* queries, size_t query_stride, size_t dim) {
    const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
    alignas(64) int32_t lanes[16];
    for (int q = 0; q < 4; ++q) {
      __m512i sum = _mm512_setzero_si512();
      for (size_t i = 0; i < dim; i += 64) {
        const __mmask64 mask = dim - i < 64 ? (1ull << (dim - i)) - 1ull : ~0ull;
        add_dots(sum, flip, _mm512_maskz_loadu_epi8(mask, queries + q * query_stride + i));
      }
      const int32_t bias = sum_of(sum);
      for (int r = 0; r < 4; ++r) lanes[4 * q + r] = bias;
    }
    return _mm512_load_si512(lanes);
  }

  static void tile(const int8_t* queries, size_t query_stride, const int8_t* rows, size_t stride, size_t dim, __m512i bias,
                   int32_t* out, size_t out_stride) {
    __m512i sums[4][4];  // of query q and row r
    // Unrolled by order: left to itself GCC 12 keeps the sums in memory.
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) sums[q][r] = _mm512_setzero_si512();
    }
    size_t i = 0;
    for (; i + 64 <= dim; i += 64) add(sums, queries + i, query_stride, rows + i, stride, ~0ull);
    if (i < dim) add(sums, queries + i, query_stride, rows + i, stride, (1ull << (dim - i)) - 1ull);
    const __m512i all = _mm512_sub_epi32(sums_of(sums), bias);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_castsi512_si128(all));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + out_stride), _mm512_extracti32x4_epi32(all, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 2 * out_stride), _mm512_extracti32x4_epi32(all, 2));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 3 * out_stride), _mm512_extracti32x4_epi32(all, 3));
  }

 private:
  // Beyond a row its bytes and the query's read as zero.
  __attribute__((always_inline)) static inline void add(__m512i (&sums)[4][4], const int8_t* queries, size_t query_stride,
                                                        const int8_t* rows, size_t stride, __mmask64 mask) {
    const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
    __m512i query[4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) query[q] = _mm512_maskz_loadu_epi8(mask, queries + q * query_stride);
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const __m512i x = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, rows + r * stride), flip);
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) add_dots(sums[q][r], x, query[q]);
    }
  }

  // Sixteen sums in one register, row after row for each query: a transposition that adds on its way, 45 instructions.
  static __m512i sums_of(const __m512i (&sums)[4][4]) {
    __m512i by_query[4];  // in each quarter, a part of the sums of the four rows
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const __m512i low = _mm512_add_epi32(_mm512_unpacklo_epi32(sums[q][0], sums[q][1]),
                                           _mm512_unpackhi_epi32(sums[q][0], sums[q][1]));
      const __m512i high = _mm512_add_epi32(_mm512_unpacklo_epi32(sums[q][2], sums[q][3]),
                                            _mm512_unpackhi_epi32(sums[q][2], sums[q][3]));
      by_query[q] = _mm512_add_epi32(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
    }
    const __m512i low = sum_of_quarters(by_query[0], by_query[1]), high = sum_of_quarters(by_query[2], by_query[3]);
    return sum_of_quarters(low, high);
  }

  static __m512i sum_of_quarters(__m512i a, __m512i b) {
    return _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xDD));
  }
};

struct VnniHop : Avx512Hop {
  struct Dots {
    void add(__m512i& sum, __m512i codes, __m512i q) { add_dots(sum, codes, q); }
    void flush(__m512i&) {}
  };

  template <int R>
  static void spokes(const int8_t* query, const uint8_t* const* codes, size_t padded, int32_t* out) {
    spokes_by<Dots, R>(query, codes, padded, out);
  }
};

}  // namespace
}  // namespace perwatt::PERWATT_UNIT
