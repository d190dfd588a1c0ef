// A sieve in front of a scan: some bits say of most rows that they are not worth a look.
//
// Rows that were written since an index was built lie in no graph, so a search looks at all of them. Their int8 codes are a
// byte a dimension; a sieve has one bit for every other dimension and lies as a vertex's neighbours do in the profile speed
// (graph.hpp): 32 rows are estimated at once, by the edge r from one centre to each of them. A row whose estimate is further
// below what is wanted than estimates err is passed over; the others are scored from their codes as ever.
//
//   group = reach float        the longest |r| of its rows; infinite where a row is too far away for the sixteen bits below
//           0                  up to 64 bytes
//           add f16[32], mul f16[32], signs uint8[kept/4][16]     as in a vertex's group
//
// Everything is in a frame of its own, made from rows of the generation (encode.hpp), in floats: origin[padded],
// centre[padded], gain. After its rotation no dimension is like another, so the first `kept` of them stand for all: with b
// their signs, and f = |r|^2 / <r, b> over the kept,
//   <q, x> = <q, centre> + <q, r>   is estimated by   <q, centre> + f <q, b>,   and so is a distance.
//
// The error is random: sqrt(kSignError^2 + kDropped (1 - kept / padded)) |q - centre| |r| / sqrt(kept). Measured for the ten
// nearest of 90,000 x 384 (WordNet glosses) it is 0.65, 0.83, 0.88 and 0.94 of |q - centre| |r| / sqrt(kept) with 384, 256,
// 192 and 128 kept. MEASURED.md has what must be let through for that.
#pragma once

#include "graph.hpp"

namespace perwatt {

constexpr size_t kSieveHead = 64;
constexpr float kSieveRounding = 0x1p-11f;  // of f16, relative: of an `add` that |r|^2 makes up, in l2
constexpr float kDropped = 0.7f;
inline size_t sieve_kept(size_t padded) { return (padded / 2 + kPadding - 1) / kPadding * kPadding; }
inline size_t sieve_bytes(size_t padded) { return kSieveHead + 4 * kGroup + sieve_kept(padded) * 4; }
inline size_t sieve_frame_floats(size_t padded) { return 2 * padded + 1; }

// What a query's tables were made with: its largest magnitude, and how a sum of entries becomes a product, sum * unit +
// offset.
struct LookedUp {
  float largest, unit, offset;
};

// One query against the groups of a sieve.
struct SieveQuery {
  const uint8_t* tables;  // uint8[4 * kept]
  size_t kept, stride;    // of a group
  LookedUp sums;
  float base;   // the centre's score
  float error;  // of an estimate, for each unit of reach
  float least;  // the score that is wanted, in the frame
};

}  // namespace perwatt
