// The steps of a hop with NEON, for both NEON units. What is not here, the compiler makes of hop.hpp as well.
//
// scan: tbl looks up 16 neighbours in one table; four 6-bit entries are added as bytes, then uadalp's sibling uaddw
// widens them into 16-bit lanes that are in order, so nothing has to be told apart afterwards.
#pragma once

#include <arm_neon.h>

#include "hop.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

struct NeonHop : PlainHop {
  static void scan(const uint8_t* signs, const uint8_t* tables, size_t count, uint16_t* sums) {
    uint16x8_t lanes[4] = {vdupq_n_u16(0), vdupq_n_u16(0), vdupq_n_u16(0), vdupq_n_u16(0)};
    const uint8x16_t nibble = vdupq_n_u8(15);
    for (size_t t = 0; t < count; t += 4) {
      uint8x16_t low = vdupq_n_u8(0), high = low;
      for (size_t one = 0; one < 4; ++one) {
        const uint8x16_t codes = vld1q_u8(signs + 16 * (t + one)), table = vld1q_u8(tables + 16 * (t + one));
        low = vaddq_u8(low, vqtbl1q_u8(table, vandq_u8(codes, nibble)));
        high = vaddq_u8(high, vqtbl1q_u8(table, vshrq_n_u8(codes, 4)));
      }
      lanes[0] = vaddw_u8(lanes[0], vget_low_u8(low));
      lanes[1] = vaddw_high_u8(lanes[1], low);
      lanes[2] = vaddw_u8(lanes[2], vget_low_u8(high));
      lanes[3] = vaddw_high_u8(lanes[3], high);
    }
    for (size_t i = 0; i < 4; ++i) vst1q_u16(sums + 8 * i, lanes[i]);
  }

  // Spokes: one load of 16 bytes holds four codes for each lane; each is shifted down and cut out.
  template <class Products, int R>
  static void spokes_by(const int8_t* query, const uint8_t* const* codes, size_t padded, int32_t* out) {
    const size_t bytes = code_bytes(padded);
    const uint8x16_t cut = vdupq_n_u8(3);
    int32x4_t sums[R];
    for (int r = 0; r < R; ++r) sums[r] = vdupq_n_s32(0);
    for (size_t i = 0; i < bytes; i += 16) {
      uint8x16_t x[R];
      for (int r = 0; r < R; ++r) x[r] = vld1q_u8(codes[r] + i);
      for (size_t j = 0; j < 4; ++j) {
        const int8x16_t q = vld1q_s8(query + j * bytes + i);
        for (int r = 0; r < R; ++r) {
          sums[r] = Products::add(sums[r], vreinterpretq_s8_u8(vandq_u8(x[r], cut)), q);
          x[r] = vshrq_n_u8(x[r], 2);
        }
      }
    }
    for (int r = 0; r < R; ++r) out[r] = vaddvq_s32(sums[r]);
  }

  struct Pairs {
    static int32x4_t add(int32x4_t sum, int8x16_t codes, int8x16_t q) {
      return vpadalq_s16(vpadalq_s16(sum, vmull_s8(vget_low_s8(codes), vget_low_s8(q))), vmull_high_s8(codes, q));
    }
  };

  template <int R>
  static void spokes(const int8_t* query, const uint8_t* const* codes, size_t padded, int32_t* out) {
    spokes_by<Pairs, R>(query, codes, padded, out);
  }

  static uint32_t estimate(const uint16_t* sums, const uint16_t* add, const uint16_t* mul, float base, float unit,
                           float offset, float threshold, float* out) {
    const uint32x4_t bits = {1, 2, 4, 8};
    uint32_t mask = 0;
    for (int part = 0; part < 8; ++part) {
      const auto halves = [part](const uint16_t* p) {
        return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * part)));
      };
      const float32x4_t sum = vcvtq_f32_u32(vmovl_u16(vld1_u16(sums + 4 * part)));
      const float32x4_t product = vaddq_f32(vmulq_n_f32(sum, unit), vdupq_n_f32(offset));
      const float32x4_t first = vaddq_f32(vdupq_n_f32(base), halves(add));
      const float32x4_t estimate = vaddq_f32(first, vmulq_f32(halves(mul), product));
      vst1q_f32(out + 4 * part, estimate);
      mask |= vaddvq_u32(vandq_u32(vcgtq_f32(estimate, vdupq_n_f32(threshold)), bits)) << (4 * part);
    }
    return mask;
  }

  static void make_tables(const float* query, size_t padded, float middle, float inverse, uint8_t* tables) {
    const float32x4_t shift = vdupq_n_f32(middle * inverse);
    const uint32x4_t lanes = {0, 1, 2, 3};
    for (size_t t = 0; t < padded / 4; ++t) {
      uint8_t* entries = tables + 16 * t;
      for (uint32_t part = 0; part < 4; ++part) {
        const uint32x4_t codes = vaddq_u32(lanes, vdupq_n_u32(4 * part));
        const auto with_sign = [&](uint32_t bit) {
          const float x = query[4 * t + bit] * inverse;
          return vbslq_f32(vtstq_u32(codes, vdupq_n_u32(1u << bit)), vdupq_n_f32(x), vdupq_n_f32(-x));
        };
        const float32x4_t low = vaddq_f32(with_sign(0), with_sign(1)), high = vaddq_f32(with_sign(2), with_sign(3));
        const int32x4_t value = vcvtnq_s32_f32(vaddq_f32(vaddq_f32(low, high), shift));
        const int32x4_t entry = vminq_s32(vmaxq_s32(value, vdupq_n_s32(0)), vdupq_n_s32(63));
        const uint16x4_t words = vmovn_u32(vreinterpretq_u32_s32(entry));
        const uint8x8_t bytes = vmovn_u16(vcombine_u16(words, words));
        vst1_lane_u32(reinterpret_cast<uint32_t*>(entries + 4 * part), vreinterpret_u32_u8(bytes), 0);
      }
    }
  }

  static void quantise(const float* x, size_t n, float inverse, int8_t* codes) {
    for (size_t i = 0; i < n; i += 8) {
      const int16x4_t low = vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i), inverse)));
      const int16x4_t high = vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i + 4), inverse)));
      vst1_s8(codes + i, vmovn_s16(vcombine_s16(low, high)));
    }
  }

  static size_t greatest(const float* x, size_t n) {
    if (n < 4) return PlainHop::greatest(x, n);
    float32x4_t best = vld1q_f32(x);
    uint32x4_t place = {0, 1, 2, 3}, best_place = place;
    size_t i = 4;
    for (; i + 4 <= n; i += 4) {
      place = vaddq_u32(place, vdupq_n_u32(4));
      const float32x4_t value = vld1q_f32(x + i);
      const uint32x4_t better = vcgtq_f32(value, best);
      best = vbslq_f32(better, value, best);
      best_place = vbslq_u32(better, place, best_place);
    }
    const float greatest = vmaxvq_f32(best);
    const uint32x4_t none = vdupq_n_u32(UINT32_MAX);
    size_t winner = vminvq_u32(vbslq_u32(vceqq_f32(best, vdupq_n_f32(greatest)), best_place, none));
    for (; i < n; ++i) {
      if (x[i] > x[winner]) winner = i;
    }
    return winner;
  }
};

}  // namespace
}  // namespace perwatt::PERWATT_UNIT
