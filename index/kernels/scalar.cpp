// The kernels as a person would write them. They are the oracle that every other unit is compared with, the
// fallback where nothing else runs, and the baseline of every speed-up that is quoted, so this file is compiled
// without auto-vectorisation and without contraction to fma.
#define PERWATT_UNIT scalar
#include "one_to_many.hpp"
#include "hop.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

struct DotI8 {
  template <int R>
  static void block(const int8_t* query, const int8_t* const* rows, size_t dim, int32_t* out) {
    for (int r = 0; r < R; ++r) {
      int32_t sum = 0;
      for (size_t i = 0; i < dim; ++i) sum += static_cast<int32_t>(query[i]) * static_cast<int32_t>(rows[r][i]);
      out[r] = sum;
    }
  }
};

struct DotF32 {
  template <int R>
  static void block(const float* query, const float* const* rows, size_t dim, float* out) {
    for (int r = 0; r < R; ++r) {
      float sum = 0.0f;
      for (size_t i = 0; i < dim; ++i) sum += query[i] * rows[r][i];
      out[r] = sum;
    }
  }
};

struct L2F32 {
  template <int R>
  static void block(const float* query, const float* const* rows, size_t dim, float* out) {
    for (int r = 0; r < R; ++r) {
      float sum = 0.0f;
      for (size_t i = 0; i < dim; ++i) {
        const float difference = query[i] - rows[r][i];
        sum += difference * difference;
      }
      out[r] = sum;
    }
  }
};

constexpr Kernels kTable = table<DotI8, DotF32, L2F32, PlainHop>("scalar");

}  // namespace
}  // namespace perwatt::PERWATT_UNIT

extern const perwatt::Kernels perwatt::kScalar = perwatt::PERWATT_UNIT::kTable;
