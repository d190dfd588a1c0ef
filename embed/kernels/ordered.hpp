// Weight codes as AVX2 reads them: in an order in which their products can be added up in 16 bits.
//
// vpmaddubsw multiplies unsigned bytes (activations, 0...255) by signed ones (weights) and adds two products, held within
// 16 bits. Where the positive weights of what a 16-bit lane adds up come to 128 at most, and the negative ones too, that is
// exact: 255 * 128 is 32,640. Of two pairs a third of a trained model's lanes are above that, so nothing can be added up in
// the order of the inputs. But sums may be taken in any order, and each panel of 8 channels has its own here. Inputs come in
// fours, of which a lane adds up two: there are three ways to pair them, and any four may be added to any other four.
// Most find another that way, and the rest stands alone. Where one of a lane's two codes must be cut for the lane alone to
// be exact, what was cut off is four inputs of its own. No result changes by a bit.
//
// Codes: [step][8][4], of a panel first pairs of steps that are added up, then those that stand alone.
// Order, in words of 32 bits: for each panel the step at which it ends and how many pairs it has; then for each step 16
// bits with the place of its inputs, 4 (way * in / 4 + input / 4).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <vector>

namespace perwatt::bert {

constexpr size_t kOrderedPanel = 8, kWays = 3;
constexpr uint8_t kWay[kWays][4] = {{0, 1, 2, 3}, {0, 2, 1, 3}, {0, 3, 2, 1}};  // the first two are a lane's, and the others
constexpr size_t kMostOrdered = 16384;  // inputs, so that places fit in 16 bits

struct Ordered {
  std::vector<int8_t> codes;   // both filled up to a multiple of 64 bytes
  std::vector<int32_t> order;
};

// codes: (out, in) in rows, out a multiple of 8 and in of 4.
// Outside the unit, which would compile it for AVX2: any processor packs for any other.
Ordered ordered(const int8_t* codes, size_t out, size_t in);

}  // namespace perwatt::bert
