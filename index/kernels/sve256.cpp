// SVE with registers of 256 bits: Neoverse V1 (Graviton3). float32 in registers twice as wide as NEON's. At 128 bits
// (Graviton4, Axion) SVE computes no more than NEON and its predicates cost, so NEON runs there.
//
// Only float32 is here, and i8mm.cpp makes the unit of it: int8 and the walk would gain nothing, and a compiler that may use
// SVE turns the walk's short loops into gathers and scatters.
//
// This file is compiled for exactly 256 bits and would be wrong at any other length; dispatch.cpp asks the kernel for it.
#define PERWATT_UNIT sve256
#include "sve256.hpp"

#include "sve_f32.hpp"

namespace perwatt::PERWATT_UNIT {

void dot_f32(const float* query, const float* base, size_t stride, size_t count, size_t dim, float* out) {
  one_to_rows<SumF32<Product>>(query, base, stride, count, dim, out);
}

void dot_f32_at(const float* query, const float* base, size_t stride, const uint32_t* at, size_t count, size_t dim,
                float* out) {
  one_to_rows_at<SumF32<Product>>(query, base, stride, at, count, dim, out);
}

void l2_f32(const float* query, const float* base, size_t stride, size_t count, size_t dim, float* out) {
  one_to_rows<SumF32<SquaredDifference>>(query, base, stride, count, dim, out);
}

void l2_f32_at(const float* query, const float* base, size_t stride, const uint32_t* at, size_t count, size_t dim,
               float* out) {
  one_to_rows_at<SumF32<SquaredDifference>>(query, base, stride, at, count, dim, out);
}

}  // namespace perwatt::PERWATT_UNIT
