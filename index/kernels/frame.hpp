// Into the frame of a graph: the rotation of a vector, and the codes of a vertex's edges (graph.hpp has the layout).
//
// The rotation is four rounds of: a random sign for each dimension; a Walsh-Hadamard transform of the largest power of
// two that fits, of the first dimensions and of the last by turns; and, where that is not all, a turn by 45 degrees
// that mixes the halves. O(n log n), orthogonal, and after it no dimension is like another.
//
// Sums run over 16 lanes, in this order in every unit, so that a graph has the same bytes wherever it was encoded.
#pragma once

#include "f16.hpp"
#include "hop.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

constexpr float kSqrtHalf = 0.70710678f;

template <class Hop>
inline void rotate(const float* x, size_t dim, size_t padded, const float* signs, float* out) {
  size_t power = kPadding;
  while (power * 2 <= padded) power *= 2;
  const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(power));
  for (size_t i = 0; i < dim; ++i) out[i] = x[i];
  for (size_t i = dim; i < padded; ++i) out[i] = 0.0f;
  for (size_t round = 0; round < kRounds; ++round) {
    const float* sign = signs + round * padded;
    for (size_t i = 0; i < padded; ++i) out[i] *= sign[i];
    float* part = out + (round & 1 ? padded - power : 0);
    for (size_t i = 0; i < power; i += 16) Hop::butterflies(part + i);
    for (size_t width = 16; width < power; width *= 2) {
      for (size_t i = 0; i < power; i += 2 * width) {
        float *low = part + i, *high = part + i + width;
        for (size_t j = 0; j < width; ++j) {
          const float a = low[j], b = high[j];
          low[j] = a + b;
          high[j] = a - b;
        }
      }
    }
    for (size_t i = 0; i < power; ++i) part[i] *= scale;
    if (power == padded) continue;
    const size_t half = padded / 2;
    for (size_t i = 0; i < half; ++i) {
      const float a = out[i], b = out[i + half];
      out[i] = (a + b) * kSqrtHalf;
      out[i + half] = (a - b) * kSqrtHalf;
    }
  }
}

inline float sum_of_lanes(float* lanes) {
  for (size_t width = 8; width; width /= 2) {
    for (size_t j = 0; j < width; ++j) lanes[j] = lanes[j] + lanes[j + width];
  }
  return lanes[0];
}

// Fills one group with `count` <= 32 edges; the rest are empty slots. Returns the sum of the squared lengths.
template <class Hop>
inline double encode_edges(const float* vertex, const float* const* neighbours, const int32_t* which, size_t count,
                           size_t padded, bool l2, uint8_t* group) {
  int32_t* vertices = reinterpret_cast<int32_t*>(group);
  uint16_t *add = reinterpret_cast<uint16_t*>(group + 4 * kGroup), *mul = add + kGroup;
  uint8_t* signs = group + 8 * kGroup;
  __builtin_memset(group, 0, group_bytes(padded));
  double squares = 0.0;
  for (size_t slot = count; slot < kGroup; ++slot) {
    vertices[slot] = -1;
    add[slot] = kEmptyAdd;
  }
  for (size_t slot = 0; slot < count; ++slot) {
    const float* neighbour = neighbours[slot];
    float rr[16], rb[16], vb[16], vr[16];  // |r|^2, <r, b>, <v, b> and <v, r>
    Hop::edge(vertex, neighbour, padded, slot, signs, rr, rb, vb, vr);
    const float square = sum_of_lanes(rr), absolute = sum_of_lanes(rb);
    const float vertex_signs = sum_of_lanes(vb), vertex_edge = sum_of_lanes(vr);
    const float factor = absolute > 0.0f ? square / absolute : 0.0f;
    vertices[slot] = which[slot];
    // For l2: 2 <v, r> - (|u|^2 - |v|^2) = -|r|^2.
    add[slot] = narrowed_f16(l2 ? -square - 2.0f * factor * vertex_signs : vertex_edge - factor * vertex_signs);
    mul[slot] = narrowed_f16(l2 ? 2.0f * factor : factor);
    squares += square;
  }
  return squares;
}

}  // namespace
}  // namespace perwatt::PERWATT_UNIT
