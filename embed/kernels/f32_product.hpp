// The network in float32 on a unit's vector type: the reference beside int8, and what runs a model that int8 does not suit.
//
// A block is kFloatRows rows by kFloatVectors vectors of channels; each input of a row is broadcast once and meets the
// weights of all its channels. A result is one sum over the inputs in their order, whatever block it lies in, so that a
// text's vector is the same bits in any company. Weights are read from the second-level cache (a panel pair of 1,536
// inputs is 196 KB) once for a block of rows: at 12 rows that is 10 bytes a cycle beside two fused multiply-adds.
#pragma once

#include "attend.hpp"

namespace perwatt::bert::UNIT {
namespace {

template <class V>
struct Float32 : V {
  using F = typename V::F;
  using Code = float;  // a row is its own code
  static constexpr bool kExact = true;
  static constexpr size_t kFeedRows = V::kFloatFeedRows;
  static constexpr size_t kQueries = V::kFloatQueries, kKeyPanels = V::kFloatKeyPanels;
  static constexpr size_t kValueVectors = V::kFloatValueVectors;
  static constexpr size_t kRows = V::kFloatRows, kVectors = V::kFloatVectors;
  struct Session {};

  template <size_t R, class Then>
  static void block(const float* rows, size_t first, const Linear& w, size_t channel, const Then& then) {
    constexpr size_t kAPanel = kPanel / V::W;  // vectors in a panel
    const float* weights = w.weights + channel * w.in;
    const float* x = rows + first * w.in;
    const size_t in = w.in;
    F sum[R][kVectors];
#pragma GCC unroll 16
    for (size_t r = 0; r < R; ++r)
#pragma GCC unroll 16
      for (size_t j = 0; j < kVectors; ++j) sum[r][j] = V::zero();
    for (size_t k = 0; k < in; ++k) {
      F weight[kVectors];
#pragma GCC unroll 16
      for (size_t j = 0; j < kVectors; ++j) {
        weight[j] = V::load(weights + (j / kAPanel * in + k) * kPanel + j % kAPanel * V::W);
      }
#pragma GCC unroll 16
      for (size_t r = 0; r < R; ++r) {
        const F one = V::splat(x[r * in + k]);
#pragma GCC unroll 16
        for (size_t j = 0; j < kVectors; ++j) sum[r][j] = V::fma(one, weight[j], sum[r][j]);
      }
    }
#pragma GCC unroll 16
    for (size_t j = 0; j < kVectors; ++j) {
      const size_t c = channel + j * V::W;
      const F bias = V::load(w.bias + c);
#pragma GCC unroll 16
      for (size_t r = 0; r < R; ++r) then(first + r, c, V::add(sum[r][j], bias));
    }
  }

  template <class Then>
  static void product(const float* rows, const RowRange*, size_t count, const Linear& w, const Then& then) {
    for (size_t channel = 0; channel < w.out; channel += kVectors * V::W) {
      in_blocks<kRows>(count, [&]<size_t R>(size_t first) { block<R>(rows, first, w, channel, then); });
    }
  }

  static size_t attention_bytes(const Model& m, size_t longest) { return attend_bytes<Float32>(m, longest); }
  static void attend(const Model& m, const Layer& layer, const Texts& texts, const Scratch<Float32>& s) {
    attend_f32<Float32>(m, layer, texts, s);
  }
};

}  // namespace
}  // namespace perwatt::bert::UNIT
