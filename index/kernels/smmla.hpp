// Several int8 queries at once with SMMLA (FEAT_I8MM: Neoverse V1, N2 and later).
//
// SMMLA multiplies two rows of eight bytes by two queries of eight into four sums: twice the products of SDOT, if both sides
// come in pairs. A pair is two vectors interleaved in steps of eight bytes. Interleaving costs an instruction for each
// register, as much as half an SMMLA, so it must not be paid for every product: queries are interleaved once for all the
// rows of a call, and four rows once for sixteen queries. That leaves 4 zips to 32 SMMLA, where SDOT takes 64. A single
// query would leave half of each product unused, so it stays with SDOT, and so does the walk.
//
// Sixteen queries and four rows are 16 registers of sums; a step of sixteen dimensions adds four of rows and one of queries:
// 21 of 32. Sums are exact, so neither the order nor the zeros that fill the last step and an odd last query can be seen.
#pragma once

#include <arm_neon.h>

#include "one_to_many.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

constexpr size_t kPairsAtOnce = 8;  // of queries, at most
constexpr size_t kStep = 16;        // dimensions
// Queries are interleaved in parts of their dimensions that fit the stack, and L1 beside the rows: 8 KiB.
constexpr size_t kPart = 512;

// Sixteen codes from `i` on; what lies beyond `end` is zero.
inline int8x16_t codes_at(const int8_t* vector, size_t i, size_t end) {
  if (i + kStep <= end) return vld1q_s8(vector + i);
  int8_t last[kStep] = {};
  for (size_t j = i; j < end; ++j) last[j - i] = vector[j];
  return vld1q_s8(last);
}

struct Pair {
  int8x16_t low, high;  // the first eight codes of both vectors, and the second eight

  Pair(int8x16_t a, int8x16_t b)
      : low(vreinterpretq_s8_s64(vzip1q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)))),
        high(vreinterpretq_s8_s64(vzip2q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)))) {}
};

// Dimensions [first, end) of the queries, pair after pair, each padded to whole steps.
inline void interleave(const int8_t* queries, size_t stride, size_t count, size_t first, size_t end, int8_t* out) {
  for (size_t q = 0; q < count; q += 2) {
    const int8_t *a = queries + q * stride, *b = q + 1 < count ? a + stride : nullptr;
    for (size_t i = first; i < end; i += kStep, out += 2 * kStep) {
      const Pair pair(codes_at(a, i, end), b ? codes_at(b, i, end) : vdupq_n_s8(0));
      vst1q_s8(out, pair.low);
      vst1q_s8(out + kStep, pair.high);
    }
  }
}

// P pairs of queries against four rows, of which the first `row_count` are wanted; the products of dimensions
// [first, end) are added to what is in `out`, or begin it.
template <size_t P>
inline void multiply(const int8_t* pairs, size_t query_count, const int8_t* const (&rows)[4], size_t row_count,
                     size_t first, size_t end, int32_t* out, size_t out_stride) {
  const size_t pair_bytes = (end - first + kStep - 1) / kStep * 2 * kStep;
  int32x4_t sums[P][2];  // of a pair of queries and a pair of rows: query 0 with rows 0 and 1, query 1 with rows 0 and 1
  for (size_t p = 0; p < P; ++p) sums[p][0] = sums[p][1] = vdupq_n_s32(0);
  const auto step = [&](const Pair& x, const Pair& y, const int8_t* at) {
    for (size_t p = 0; p < P; ++p) {
      const int8x16_t low = vld1q_s8(at + p * pair_bytes);
      sums[p][0] = vmmlaq_s32(sums[p][0], low, x.low);
      sums[p][1] = vmmlaq_s32(sums[p][1], low, y.low);
      const int8x16_t high = vld1q_s8(at + p * pair_bytes + kStep);
      sums[p][0] = vmmlaq_s32(sums[p][0], high, x.high);
      sums[p][1] = vmmlaq_s32(sums[p][1], high, y.high);
    }
  };
  size_t i = first;
  for (; i + kStep <= end; i += kStep, pairs += 2 * kStep) {
    step(Pair(vld1q_s8(rows[0] + i), vld1q_s8(rows[1] + i)), Pair(vld1q_s8(rows[2] + i), vld1q_s8(rows[3] + i)), pairs);
  }
  if (i < end) {
    step(Pair(codes_at(rows[0], i, end), codes_at(rows[1], i, end)),
         Pair(codes_at(rows[2], i, end), codes_at(rows[3], i, end)), pairs);
  }
  for (size_t p = 0; p < P; ++p) {
    const int32x4_t of_query[2] = {vcombine_s32(vget_low_s32(sums[p][0]), vget_low_s32(sums[p][1])),
                                   vcombine_s32(vget_high_s32(sums[p][0]), vget_high_s32(sums[p][1]))};
    for (size_t q = 2 * p; q < 2 * p + 2 && q < query_count; ++q) {
      int32_t products[4];
      vst1q_s32(products, of_query[q & 1]);
      for (size_t r = 0; r < row_count; ++r) out[q * out_stride + r] = products[r] + (first ? out[q * out_stride + r] : 0);
    }
  }
}

// Takes queries from `q` on, 2 P at a time (the last may be odd), while there are so many. Returns where it stopped.
template <size_t P>
inline size_t many_in_pairs(size_t q, const int8_t* queries, size_t query_stride, size_t query_count, const int8_t* base,
                            size_t stride, size_t count, size_t dim, int32_t* out, size_t out_stride) {
  alignas(64) int8_t pairs[2 * P * kPart];
  for (; query_count - q + 1 >= 2 * P && q < query_count; q += 2 * P) {
    const size_t left = query_count - q, some = left < 2 * P ? left : 2 * P;
    size_t first = 0;
    do {  // once also for no dimensions, whose products are zero
      const size_t end = dim - first < kPart ? dim : first + kPart;
      interleave(queries + q * query_stride, query_stride, some, first, end, pairs);
      for (size_t r = 0; r < count; r += 4) {
        const size_t rest = count - r;
        const int8_t* row = base + r * stride;
        const int8_t* const rows[4] = {row, rest > 1 ? row + stride : row, rest > 2 ? row + 2 * stride : row,
                                       rest > 3 ? row + 3 * stride : row};
        multiply<P>(pairs, some, rows, rest < 4 ? rest : 4, first, end, out + q * out_stride + r, out_stride);
      }
      first = end;
    } while (first < dim);
  }
  return q < query_count ? q : query_count;
}

// dots_i8 of kernels.hpp. A last query that would be alone is left to `One`, one query against many rows.
template <class One>
inline void many_by_smmla(const int8_t* queries, size_t query_stride, size_t query_count, const int8_t* base, size_t stride,
                          size_t count, size_t dim, int32_t* out, size_t out_stride) {
  size_t q = 0;
  q = many_in_pairs<kPairsAtOnce>(q, queries, query_stride, query_count, base, stride, count, dim, out, out_stride);
  q = many_in_pairs<4>(q, queries, query_stride, query_count, base, stride, count, dim, out, out_stride);
  q = many_in_pairs<2>(q, queries, query_stride, query_count, base, stride, count, dim, out, out_stride);
  if (query_count - q >= 2) {
    q = many_in_pairs<1>(q, queries, query_stride, query_count, base, stride, count, dim, out, out_stride);
  }
  if (q < query_count) {
    one_to_rows<One>(queries + q * query_stride, base, stride, count, dim, out + q * out_stride);
  }
}

// The unit's table with several queries at once.
template <class One>
constexpr Kernels with_smmla(Kernels kernels) {
  kernels.dots_i8 = many_by_smmla<One>;
  return kernels;
}

}  // namespace
}  // namespace perwatt::PERWATT_UNIT
