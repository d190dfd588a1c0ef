// NEON with matrix multiplication (FEAT_I8MM): Neoverse V1 (Graviton3), N2, V2 (Graviton4) and later. Several queries at once
// by SMMLA; one query, the walk and float32 as neondot has them, because SMMLA gives nothing to a single vector.
//
// And the same with the float32 kernels of sve256.cpp, which is the unit of that name.
#define PERWATT_UNIT i8mm
#include "neon_f32.hpp"
#include "sdot.hpp"
#include "smmla.hpp"
#include "sve256.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

constexpr Kernels kTable =
    with_smmla<DotI8>(table<DotI8, SumF32<Product>, SumF32<SquaredDifference>, DotHop>("i8mm"));

constexpr Kernels with_sve(Kernels kernels) {
  kernels.name = "sve256";
  kernels.dot_f32 = sve256::dot_f32;
  kernels.dot_f32_at = sve256::dot_f32_at;
  kernels.l2_f32 = sve256::l2_f32;
  kernels.l2_f32_at = sve256::l2_f32_at;
  return kernels;
}

}  // namespace
}  // namespace perwatt::PERWATT_UNIT

extern const perwatt::Kernels perwatt::kI8mm = perwatt::PERWATT_UNIT::kTable;
extern const perwatt::Kernels perwatt::kSve256 = perwatt::PERWATT_UNIT::with_sve(perwatt::PERWATT_UNIT::kTable);
