// NEON with the dot-product extension (FEAT_DotProd): Graviton2 (Neoverse N1) onwards, Ampere Altra, Apple.
#define PERWATT_UNIT neondot
#include "neon_f32.hpp"
#include "sdot.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

constexpr Kernels kTable = table<DotI8, SumF32<Product>, SumF32<SquaredDifference>, DotHop>("neondot");

}  // namespace
}  // namespace perwatt::PERWATT_UNIT

extern const perwatt::Kernels perwatt::kNeonDot = perwatt::PERWATT_UNIT::kTable;
