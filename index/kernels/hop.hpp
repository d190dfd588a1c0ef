// The small steps of a hop, as a person would write them: the oracle of every unit's own, and what a unit uses where
// the compiler does as well. Each works lane by lane or is exact, and each product and sum is rounded as written
// (-ffp-contract=off), so every unit gives the same bits, and with them takes the same path through the graph.
//
// `x` may be read, and written, up to 32 lanes beyond n: registers are wider than what is left.
#pragma once

#include "graph.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

// IEEE binary16 to binary32, exact.
inline float widened_f16(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, exponent = (half >> 10) & 31, fraction = half & 1023;
  float value;
  if (exponent == 0) {
    value = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -value : value;
  }
  const uint32_t bits = sign | (exponent == 31 ? 0x7F800000u : (exponent + 112) << 23) | fraction << 13;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

struct PlainHop {
  // sums[j]: over all tables, the entry that neighbour j's four signs pick. tables is a multiple of 16.
  static void scan(const uint8_t* signs, const uint8_t* tables, size_t count, uint16_t* sums) {
    for (size_t j = 0; j < kGroup; ++j) sums[j] = 0;
    for (size_t t = 0; t < count; ++t) {
      const uint8_t *codes = signs + 16 * t, *table = tables + 16 * t;
      for (size_t j = 0; j < 16; ++j) {
        sums[j] = static_cast<uint16_t>(sums[j] + table[codes[j] & 15]);
        sums[j + 16] = static_cast<uint16_t>(sums[j + 16] + table[codes[j] >> 4]);
      }
    }
  }

  // (base + add) + mul * (sum * unit + offset) for 32 neighbours; the mask of those above the threshold.
  static uint32_t estimate(const uint16_t* sums, const uint16_t* add, const uint16_t* mul, float base, float unit,
                           float offset, float threshold, float* out) {
    uint32_t mask = 0;
    for (size_t j = 0; j < kGroup; ++j) {
      const float product = static_cast<float>(sums[j]) * unit + offset;
      out[j] = (base + widened_f16(add[j])) + widened_f16(mul[j]) * product;
      mask |= static_cast<uint32_t>(out[j] > threshold) << j;
    }
    return mask;
  }

  // out[r]: the sum over a spoke of the query's code times the spoke's. padded is a multiple of 64; the query may be read 64
  // codes beyond.
  template <int R>
  static void spokes(const int8_t* query, const uint8_t* const* codes, size_t padded, int32_t* out) {
    const size_t bytes = code_bytes(padded);
    for (int r = 0; r < R; ++r) {
      out[r] = 0;
      for (size_t i = 0; i < padded; ++i) out[r] += (codes[r][i % bytes] >> (i / bytes * 2) & 3) * query[i];
    }
  }

  // tables[16 t + c]: round(sum of the query's four values of table t, each with its sign of c, + middle), in units.
  static void make_tables(const float* query, size_t padded, float middle, float inverse, uint8_t* tables) {
    const float shift = middle * inverse;
    for (size_t t = 0; t < padded / 4; ++t) {
      const float a = query[4 * t] * inverse, b = query[4 * t + 1] * inverse;
      const float c = query[4 * t + 2] * inverse, d = query[4 * t + 3] * inverse;
      for (int code = 0; code < 16; ++code) {
        const float sum = ((code & 1 ? a : -a) + (code & 2 ? b : -b)) + ((code & 4 ? c : -c) + (code & 8 ? d : -d));
        const float value = __builtin_nearbyintf(sum + shift);
        tables[16 * t + static_cast<size_t>(code)] = static_cast<uint8_t>(value < 0.0f ? 0.0f : value > 63.0f ? 63.0f : value);
      }
    }
  }

  // An edge r = neighbour - vertex: its signs into the slot's half of each byte, and 16 partial sums each of r r, |r|,
  // the vertex's values with r's signs, and their products with r.
  static void edge(const float* vertex, const float* neighbour, size_t padded, size_t slot, uint8_t* signs, float* rr,
                   float* rb, float* vb, float* vr) {
    for (size_t j = 0; j < 16; ++j) rr[j] = rb[j] = vb[j] = vr[j] = 0.0f;
    for (size_t i = 0; i < padded; i += 16) {
      uint32_t positive = 0;
      for (size_t j = 0; j < 16; ++j) {
        const float v = vertex[i + j], r = neighbour[i + j] - v;
        rr[j] += r * r;
        rb[j] += __builtin_fabsf(r);
        vb[j] += r >= 0.0f ? v : -v;
        vr[j] += v * r;
        positive |= static_cast<uint32_t>(r >= 0.0f) << j;
      }
      store_signs(positive, i, slot, signs);
    }
  }

  static void store_signs(uint32_t positive, size_t i, size_t slot, uint8_t* signs) {
    for (size_t t = 0; t < 4; ++t) {
      const uint32_t code = positive >> (4 * t) & 15;
      signs[(i / 4 + t) * 16 + (slot & 15)] |= static_cast<uint8_t>(slot < 16 ? code : code << 4);
    }
  }

  // The first four rounds of a Walsh-Hadamard transform, on 16 values.
  static void butterflies(float* x) {
    for (size_t width = 1; width < 16; width *= 2) {
      for (size_t i = 0; i < 16; i += 2 * width) {
        for (size_t j = i; j < i + width; ++j) {
          const float a = x[j], b = x[j + width];
          x[j] = a + b;
          x[j + width] = a - b;
        }
      }
    }
  }

  static void quantise(const float* x, size_t n, float inverse, int8_t* codes) {
    for (size_t i = 0; i < n; ++i) codes[i] = static_cast<int8_t>(__builtin_nearbyintf(x[i] * inverse));
  }

  // The least index of the greatest; nothing is -infinity or NaN, n > 0.
  static size_t greatest(const float* x, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; ++i) {
      if (x[i] > x[best]) best = i;
    }
    return best;
  }

  static float maximum(const float* x, size_t n) {
    float best = x[0];
    for (size_t i = 1; i < n; ++i) best = x[i] > best ? x[i] : best;
    return best;
  }

  static float minimum(const float* x, size_t n) {
    float best = x[0];
    for (size_t i = 1; i < n; ++i) best = x[i] < best ? x[i] : best;
    return best;
  }

  static size_t count_above(const float* x, size_t n, float threshold) {
    size_t count = 0;
    for (size_t i = 0; i < n; ++i) count += x[i] > threshold;
    return count;
  }

  // Keeps, in order, what is above the threshold.
  static size_t compress(float* x, int32_t* vertices, size_t n, float threshold) {
    size_t left = 0;
    for (size_t i = 0; i < n; ++i) {
      const float value = x[i];
      const int32_t vertex = vertices[i];
      x[left] = value;
      vertices[left] = vertex;
      left += value > threshold;
    }
    return left;
  }

  // Puts a key into its place among `size` descending ones, of which at most `limit` stay. Returns the place, or
  // limit. Slots from size on hold INT64_MIN.
  static size_t insert(int64_t* keys, size_t& size, size_t limit, int64_t key) {
    if (size == limit && keys[limit - 1] >= key) return limit;
    size_t place = 0, end = size;
    while (place < end) {
      const size_t middle = (place + end) / 2;
      if (keys[middle] > key) {
        place = middle + 1;
      } else {
        end = middle;
      }
    }
    const size_t last = size < limit ? size : limit - 1;
    __builtin_memmove(keys + place + 1, keys + place, (last - place) * sizeof(int64_t));
    keys[place] = key;
    size += size < limit;
    return place;
  }
};

}  // namespace
}  // namespace perwatt::PERWATT_UNIT
