// Four float32 lanes of NEON: the vector operations forward.hpp and attend.hpp are written over.
//
// Codes are stored signed, minus 128: the byte products of NEON multiply like signs (SDOT, SMULL, SMMLA).
#pragma once

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

namespace perwatt::bert::UNIT {
namespace {

struct NeonVector {
  static constexpr bool kExact = false;
  // Of 32 registers: 20 sums, four weights, five broadcasts.
  static constexpr size_t kFloatRows = 5, kFloatVectors = 4, kFloatFeedRows = 96;
  static constexpr size_t kFloatQueries = 6, kFloatKeyPanels = 4, kFloatValueVectors = 4;
  using F = float32x4_t;
  using Code = int8_t;
  struct Session {};
  static constexpr size_t W = 4;
  static constexpr float kCodeZero = 128.0f;
  static constexpr size_t kFeedRows = 96;
  // Of 32 registers: 24 sums, 4 keys, one query and what the compiler needs.
  static constexpr size_t kQueries = 6, kKeyPanels = 4;
  static constexpr size_t kValueVectors = 4;

  static F load(const float* at) { return vld1q_f32(at); }
  static void store(float* at, F x) { vst1q_f32(at, x); }
  static F splat(float x) { return vdupq_n_f32(x); }
  static F zero() { return vdupq_n_f32(0.0f); }
  static F add(F a, F b) { return vaddq_f32(a, b); }
  static F sub(F a, F b) { return vsubq_f32(a, b); }
  static F mul(F a, F b) { return vmulq_f32(a, b); }
  static F div(F a, F b) { return vdivq_f32(a, b); }
  static F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  static F min(F a, F b) { return vminq_f32(a, b); }
  static F max(F a, F b) { return vmaxq_f32(a, b); }
  static float sum(F x) { return vaddvq_f32(x); }
  static float lowest(F x) { return vminvq_f32(x); }
  static float highest(F x) { return vmaxvq_f32(x); }
  static float root(float x) { return vget_lane_f32(vsqrt_f32(vdup_n_f32(x)), 0); }

  static F widen(const uint16_t* bfloat16) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(bfloat16), 16)); }

  // Rounds to nearest even and holds within 0...255 before the 128 is taken off.
  static void store_codes(Code* at, F x) {
    const int16x4_t words = vqmovn_s32(vsubq_s32(vcvtnq_s32_f32(x), vdupq_n_s32(128)));
    vst1_lane_s32(reinterpret_cast<int32_t*>(at), vreinterpret_s32_s8(vqmovn_s16(vcombine_s16(words, words))), 0);
  }

  // 2^x for x <= 0, relative error below 3e-6; below 2^-126 it stays there.
  static F exp2(F x) {
    const F held = max(x, splat(-126.0f));
    const F whole = vrndmq_f32(held), part = sub(held, whole);
    F power = splat(0.0135341338f);
    power = fma(power, part, splat(0.0520115781f));
    power = fma(power, part, splat(0.241442642f));
    power = fma(power, part, splat(0.693003872f));
    power = fma(power, part, splat(1.00000259f));
    const int32x4_t exponent = vshlq_n_s32(vcvtq_s32_f32(whole), 23);
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(power), exponent));
  }

  // Rows of consecutive floats become columns: out[d * 4 + row] = in[row * stride + d]; rows from `rows` on are 0.
  static void transpose(const float* in, size_t stride, size_t rows, size_t columns, float* out) {
    for (size_t column = 0; column < columns; column += 4) {
      F r[4];
      for (size_t i = 0; i < 4; ++i) r[i] = i < rows ? load(in + i * stride + column) : zero();
      const float32x4x2_t a = vtrnq_f32(r[0], r[1]), b = vtrnq_f32(r[2], r[3]);
      store(out + column * 4, vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0])));
      store(out + column * 4 + 4, vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1])));
      store(out + column * 4 + 8, vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0])));
      store(out + column * 4 + 12, vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1])));
    }
  }

  // The sums of four channels of a row, as floats with scale and bias, to what comes next.
  template <class Then>
  static void finish(int32x4_t sums, const RowRange& range, const Linear& w, size_t row, size_t c, const Then& then) {
    const F product = mul(vcvtq_f32_s32(sums), load(w.step + c));
    then(row, c, fma(product, splat(range.scale), fma(splat(range.low), load(w.step_sum + c), load(w.bias + c))));
  }
};

}  // namespace
}  // namespace perwatt::bert::UNIT
