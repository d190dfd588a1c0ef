// The float32 kernels of sve256.cpp, from which i8mm.cpp makes a unit. They may run where dispatch.cpp says so and nowhere else.
#pragma once

#include "kernels.hpp"

namespace perwatt::sve256 {

void dot_f32(const float* query, const float* base, size_t stride, size_t count, size_t dim, float* out);
void dot_f32_at(const float* query, const float* base, size_t stride, const uint32_t* at, size_t count, size_t dim,
                float* out);
void l2_f32(const float* query, const float* base, size_t stride, size_t count, size_t dim, float* out);
void l2_f32_at(const float* query, const float* base, size_t stride, const uint32_t* at, size_t count, size_t dim,
               float* out);

}  // namespace perwatt::sve256
