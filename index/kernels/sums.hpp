// Sums of a query's values with the signs of a code, by looking them up four dimensions at a time (hop.hpp): what the walk
// and the sieve prepare of each query.
#pragma once

#include "hop.hpp"
#include "sieve.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

// Of q float32[padded], in the frame. tables: uint8[4 * padded].
template <class Hop>
inline LookedUp look_up(const float* q, size_t padded, uint8_t* tables) {
  float largest = 1e-30f, quadruple = 1e-30f;
  for (size_t i = 0; i < padded; i += 4) {
    const float a = __builtin_fabsf(q[i]), b = __builtin_fabsf(q[i + 1]);
    const float c = __builtin_fabsf(q[i + 2]), d = __builtin_fabsf(q[i + 3]);
    const float sum = (a + b) + (c + d), ab = a > b ? a : b, cd = c > d ? c : d, four = ab > cd ? ab : cd;
    quadruple = sum > quadruple ? sum : quadruple;
    largest = four > largest ? four : largest;
  }
  const float unit = 2.0f * quadruple / 63.0f;
  Hop::make_tables(q, padded, quadruple, 1.0f / unit, tables);
  return {largest, unit, -quadruple * static_cast<float>(padded / 4)};
}

// See Kernels::sieve.
template <class Hop>
inline void sieve(const SieveQuery& query, const uint8_t* groups, size_t count, uint32_t* masks) {
  alignas(64) uint16_t sums[kGroup];
  alignas(64) float estimates[kGroup];
  for (size_t g = 0; g < count; ++g, groups += query.stride) {
    float reach;
    __builtin_memcpy(&reach, groups, sizeof reach);
    const uint16_t* add = reinterpret_cast<const uint16_t*>(groups + kSieveHead);
    Hop::scan(groups + kSieveHead + 4 * kGroup, query.tables, query.kept / 4, sums);
    masks[g] = Hop::estimate(sums, add, add + kGroup, query.base, query.sums.unit, query.sums.offset,
                             query.least - reach * (query.error + kSieveRounding * reach), estimates);
  }
}

// See Kernels::estimate.
template <class Hop>
inline void estimate(const uint8_t* groups, size_t count, size_t padded, const uint8_t* tables, float base, float unit,
                     float offset, float threshold, float* estimates, uint32_t* masks) {
  alignas(64) uint16_t sums[kGroup];
  for (size_t g = 0; g < count; ++g, groups += group_bytes(padded)) {
    const uint16_t* add = reinterpret_cast<const uint16_t*>(groups + 4 * kGroup);
    Hop::scan(groups + 8 * kGroup, tables, padded / 4, sums);
    masks[g] = Hop::estimate(sums, add, add + kGroup, base, unit, offset, threshold, estimates + g * kGroup);
  }
}

}  // namespace
}  // namespace perwatt::PERWATT_UNIT
