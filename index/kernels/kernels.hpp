// What the distance kernels compute and how exactly, and the table that each instruction set fills.
//
// Every unit (scalar.cpp, avx2.cpp, ...) is one translation unit compiled with its own flags and offers the
// same functions. They only compute: no allocation, no threads, no exceptions, no Python, and no standard
// header with inline functions (one such function compiled with AVX-512 flags may be the copy that the linker
// keeps for everybody, and then the program dies on a machine without AVX-512).
//
//   function  input        products     accumulator  output   error against exact arithmetic
//   dot_i8    int8 x int8  int16/int32  int32        int32    none
//   dots_i8   the same for several queries, which share the loads of the rows
//   dot_f32   f32 x f32    f32 (fma)    f32          f32      <= gamma(dim) * sum |q_i x_i|
//   l2_f32    f32 - f32    f32 (fma)    f32          f32      <= gamma(dim + 3) * sum (q_i - x_i)^2
//
// gamma(n) = n u / (1 - n u), u = 2^-24: Higham, "Accuracy and Stability of Numerical Algorithms", 2002,
// section 3.1; it holds for every order of summation, so for every unit, and it is what the tests allow.
//
// Overflow: the widest intermediate is the unsigned-by-signed sum of the VNNI unit, at most 255 * 128 for each
// dimension, which leaves int32 from 65,793 dimensions on; kMaxDim stays below it. The full range of int8
// is allowed on both sides, -128 included.
//
// A row's result depends on its bytes and the query alone, not on where it lies or what it is scored with:
// blocks of several rows and single rows add in the same order. Equal vectors therefore tie exactly.
//
// Rows: row i starts at base + i * stride, the stride in elements, no alignment needed beyond the element's
// own (and on these architectures not even that). `at` kernels take the row numbers; they prefetch, because
// their rows lie anywhere.
//
// The graph walk (walk.hpp) is a template over the unit's dot_i8 and its steps of a hop, instantiated inside the unit, so
// that no indirect call stands in its loop. Its results are the same to the bit in every unit.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace perwatt {

struct GraphView;
struct LookedUp;
struct SieveQuery;
struct Walker;

constexpr size_t kMaxDim = 65536;

struct Kernels {
  const char* name;

  void (*dot_i8)(const int8_t* query, const int8_t* base, size_t stride, size_t count, size_t dim, int32_t* out);
  void (*dot_i8_at)(const int8_t* query, const int8_t* base, size_t stride, const uint32_t* at, size_t count,
                    size_t dim, int32_t* out);

  // Every query against every row: queries start query_stride apart, and so do their outputs, out_stride apart.
  void (*dots_i8)(const int8_t* queries, size_t query_stride, size_t query_count, const int8_t* base, size_t stride,
                  size_t count, size_t dim, int32_t* out, size_t out_stride);

  void (*dot_f32)(const float* query, const float* base, size_t stride, size_t count, size_t dim, float* out);
  void (*dot_f32_at)(const float* query, const float* base, size_t stride, const uint32_t* at, size_t count,
                     size_t dim, float* out);

  void (*l2_f32)(const float* query, const float* base, size_t stride, size_t count, size_t dim, float* out);
  void (*l2_f32_at)(const float* query, const float* base, size_t stride, const uint32_t* at, size_t count,
                    size_t dim, float* out);

  // Of `count` vectors, those whose squared distance (norm + norms[i]) - (twice_step * steps[i]) * products[i], or 0 where that
  // is less, is at most `limit`: which they are, ascending, and the distances. Both have room for count + 16. Returns how
  // many. The same bits in every unit.
  size_t (*within)(const int32_t* products, const float* norms, const float* steps, size_t count, float norm,
                   float twice_step, float limit, uint32_t* which, float* distances);

  void (*walk)(const GraphView& graph, Walker& walker);
  // Into the graph's frame, and the edges of a vertex in it (frame.hpp). The same bits in every unit.
  void (*rotate)(const float* x, size_t dim, size_t padded, const float* signs, float* out);
  double (*encode_edges)(const float* vertex, const float* const* neighbours, const int32_t* which, size_t count,
                         size_t padded, bool l2, uint8_t* group);
  // A query's sums with any signs, and which rows of `count` groups may be worth a score (sieve.hpp): a bit each.
  LookedUp (*look_up)(const float* query, size_t padded, uint8_t* tables);
  void (*sieve)(const SieveQuery& query, const uint8_t* groups, size_t count, uint32_t* masks);
  // Estimates of the rows of `count` groups of a list (lists.hpp), and a mask for each group, of those above the threshold. The
  // same bits in every unit. estimates: float32[32 * count].
  void (*estimate)(const uint8_t* groups, size_t count, size_t padded, const uint8_t* tables, float base, float unit,
                   float offset, float threshold, float* estimates, uint32_t* masks);
  // Whether a product of a few hundred dimensions is dearer than to copy it to where it stands the other way round.
  bool mirrors;
};

// One for each translation unit that this architecture builds; dispatch.cpp decides which may run.
extern const Kernels kScalar;
#if defined(__x86_64__)
extern const Kernels kAvx2;
extern const Kernels kAvx512;
extern const Kernels kAvx512Vnni;
extern const Kernels kAvx512Amx;
#elif defined(__aarch64__)
extern const Kernels kNeon;
extern const Kernels kNeonDot;
extern const Kernels kI8mm;
extern const Kernels kSve256;
#endif

}  // namespace perwatt
