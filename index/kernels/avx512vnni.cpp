// AVX-512 with VNNI: Cascade Lake, Ice Lake and Zen 4 onwards.
#define PERWATT_UNIT avx512vnni
#include "vnni.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

constexpr Kernels kTable = table<DotI8, SumF32<Product>, SumF32<SquaredDifference>, VnniHop>("avx512vnni");

}  // namespace
}  // namespace perwatt::PERWATT_UNIT

extern const perwatt::Kernels perwatt::kAvx512Vnni = perwatt::PERWATT_UNIT::kTable;
