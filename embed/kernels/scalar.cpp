// One lane at a time, compiled without vectorisation: the oracle of the other units, and what runs where none of them can.
#define UNIT scalar
#include "attend.hpp"
#include "f32_product.hpp"

namespace perwatt::bert::UNIT {
namespace {

struct Scalar {
  static constexpr bool kExact = false;
  static constexpr size_t kFloatRows = 1, kFloatVectors = 16, kFloatFeedRows = 64;
  static constexpr size_t kFloatQueries = 2, kFloatKeyPanels = 2, kFloatValueVectors = 2;
  using F = float;
  using Code = uint8_t;
  static constexpr size_t W = 1;
  static constexpr float kCodeZero = 0.0f;
  static constexpr size_t kFeedRows = 64;
  static constexpr size_t kQueries = 2, kKeyPanels = 2, kValueVectors = 2;
  struct Session {};

  static F load(const float* at) { return *at; }
  static void store(float* at, F x) { *at = x; }
  static F splat(float x) { return x; }
  static F zero() { return 0.0f; }
  static F add(F a, F b) { return a + b; }
  static F sub(F a, F b) { return a - b; }
  static F mul(F a, F b) { return a * b; }
  static F div(F a, F b) { return a / b; }
  static F fma(F a, F b, F c) { return a * b + c; }
  static F min(F a, F b) { return a < b ? a : b; }
  static F max(F a, F b) { return a > b ? a : b; }
  static float sum(F x) { return x; }
  static float lowest(F x) { return x; }
  static float highest(F x) { return x; }
  static float root(float x) { return __builtin_sqrtf(x); }

  static F widen(const uint16_t* bfloat16) {
    const uint32_t bits = static_cast<uint32_t>(*bfloat16) << 16;
    float x;
    __builtin_memcpy(&x, &bits, 4);
    return x;
  }

  static void store_codes(uint8_t* at, F x) {
    const float held = min(max(x, 0.0f), kTop);
    *at = static_cast<uint8_t>(__builtin_rintf(held));
  }

  static F exp2(F x) { return __builtin_exp2f(x); }

  static void transpose(const float* in, size_t stride, size_t rows, size_t columns, float* out) {
    for (size_t d = 0; d < columns; ++d) out[d] = rows == 1 ? in[d] : 0.0f;
    (void)stride;
  }

  template <class Then>
  static void product(const uint8_t* codes, const RowRange* ranges, size_t rows, const Linear& w, const Then& then) {
    for (size_t row = 0; row < rows; ++row) {
      const uint8_t* x = codes + row * w.in;
      for (size_t first = 0; first < w.out; first += kPanel) {
        int32_t sums[kPanel] = {};
        const int8_t* panel = w.codes + first * w.in;
        for (size_t k = 0; k < w.in; k += 4, panel += 4 * kPanel) {
          for (size_t c = 0; c < kPanel; ++c) {
            for (size_t i = 0; i < 4; ++i) sums[c] += x[k + i] * panel[4 * c + i];
          }
        }
        for (size_t c = 0; c < kPanel; ++c) {
          const float shifted = ranges[row].low * w.step_sum[first + c] + w.bias[first + c];
          then(row, first + c, static_cast<float>(sums[c]) * w.step[first + c] * ranges[row].scale + shifted);
        }
      }
    }
  }

  static size_t attention_bytes(const Model& m, size_t longest) { return attend_bytes<Scalar>(m, longest); }
  static void attend(const Model& m, const Layer& layer, const Texts& texts, const Scratch<Scalar>& s) {
    attend_f32<Scalar>(m, layer, texts, s);
  }
};

using Exact = Float32<Scalar>;

}  // namespace

const Kernels kernels = {"scalar", {kPanel, 4}, network<Scalar>(), network<Exact>()};

}  // namespace perwatt::bert::UNIT
