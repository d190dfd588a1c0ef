// From a block operation to a whole kernel: one query against many rows, four rows at a time.
//
// A unit writes, for each of its three operations, `Op::block<R>`: the query against R rows whose addresses are
// given. Four rows share each load of the query and keep four independent chains of additions (and four cache
// misses) in flight; one row alone would wait for the latency of its own additions. The rest of fewer than four
// goes through block<1>, which adds in the same order.
//
// Everything here is a template that is instantiated inside the unit, in an anonymous namespace, so that no copy of it
// compiled for a wider instruction set can be chosen by the linker. The unit's own name around it, PERWATT_UNIT, is for the
// reader of a profile or a disassembly, and for the test that counts each unit's instructions.
#pragma once

#include "frame.hpp"
#include "kernels.hpp"
#include "nearest.hpp"
#include "walk.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

constexpr int kRowsAtOnce = 4;
constexpr size_t kCacheLine = 64;  // bytes, on every machine these kernels know

template <class T>
inline void prefetch_row(const T* row, size_t dim) {
  const char* bytes = reinterpret_cast<const char*>(row);
  for (size_t offset = 0; offset < dim * sizeof(T); offset += kCacheLine) __builtin_prefetch(bytes + offset);
}

template <class Op, class T, class Out>
inline void one_to_rows(const T* query, const T* base, size_t stride, size_t count, size_t dim, Out* out) {
  size_t i = 0;
  for (; i + kRowsAtOnce <= count; i += kRowsAtOnce) {
    const T* first = base + i * stride;
    const T* rows[kRowsAtOnce] = {first, first + stride, first + 2 * stride, first + 3 * stride};
    Op::template block<kRowsAtOnce>(query, rows, dim, out + i);
  }
  for (; i < count; ++i) {
    const T* rows[1] = {base + i * stride};
    Op::template block<1>(query, rows, dim, out + i);
  }
}

template <class Op, class T, class Out>
inline void one_to_rows_at(const T* query, const T* base, size_t stride, const uint32_t* at, size_t count,
                           size_t dim, Out* out) {
  for (size_t i = 0; i < kRowsAtOnce && i < count; ++i) prefetch_row(base + at[i] * stride, dim);
  size_t i = 0;
  for (; i + kRowsAtOnce <= count; i += kRowsAtOnce) {
    // The next block is asked for before this one is used: a miss to memory is some 300 cycles, a block of
    // 384 dimensions some 30 (int8) to 100 (float32).
    for (size_t next = i + kRowsAtOnce; next < i + 2 * kRowsAtOnce && next < count; ++next) {
      prefetch_row(base + at[next] * stride, dim);
    }
    const T* rows[kRowsAtOnce] = {base + at[i] * stride, base + at[i + 1] * stride, base + at[i + 2] * stride,
                                  base + at[i + 3] * stride};
    Op::template block<kRowsAtOnce>(query, rows, dim, out + i);
  }
  for (; i < count; ++i) {
    const T* rows[1] = {base + at[i] * stride};
    Op::template block<1>(query, rows, dim, out + i);
  }
}

// Several queries: a unit that has registers for it writes `Op::tile`, kQueriesAtOnce queries against kRowsAtOnce rows,
// and `Op::bias`, what `tile` wants to know of its queries. The rest, and the other units, take one query after another.
template <class Op>
concept Tiled = requires { Op::kQueriesAtOnce; };

template <class Op, class T, class Out>
inline void many_to_rows(const T* queries, size_t query_stride, size_t query_count, const T* base, size_t stride,
                         size_t count, size_t dim, Out* out, size_t out_stride) {
  size_t q = 0;
  if constexpr (Tiled<Op>) {
    for (; q + Op::kQueriesAtOnce <= query_count; q += Op::kQueriesAtOnce) {
      const T* first = queries + q * query_stride;
      Out* outs = out + q * out_stride;
      const auto bias = Op::bias(first, query_stride, dim);
      size_t i = 0;
      for (; i + kRowsAtOnce <= count; i += kRowsAtOnce) {
        Op::tile(first, query_stride, base + i * stride, stride, dim, bias, outs + i, out_stride);
      }
      for (size_t each = 0; each < Op::kQueriesAtOnce; ++each) {
        one_to_rows<Op>(first + each * query_stride, base + i * stride, stride, count - i, dim, outs + each * out_stride + i);
      }
    }
  }
  for (; q < query_count; ++q) {
    one_to_rows<Op>(queries + q * query_stride, base, stride, count, dim, out + q * out_stride);
  }
}

template <class DotI8, class DotF32, class L2F32, class Hop>
constexpr Kernels table(const char* name) {
  return Kernels{name,
                 one_to_rows<DotI8, int8_t, int32_t>,
                 one_to_rows_at<DotI8, int8_t, int32_t>,
                 many_to_rows<DotI8, int8_t, int32_t>,
                 one_to_rows<DotF32, float, float>,
                 one_to_rows_at<DotF32, float, float>,
                 one_to_rows<L2F32, float, float>,
                 one_to_rows_at<L2F32, float, float>,
                 within,
                 walk<Hop, DotI8>,
                 rotate<Hop>,
                 encode_edges<Hop>,
                 look_up<Hop>,
                 sieve<Hop>,
                 estimate<Hop>,
                 true};
}

}  // namespace
}  // namespace perwatt::PERWATT_UNIT
