// Parts of a draft as bytes, for another process or machine to do, and the bytes that come back: whoever has the first needs
// nothing else, neither the vectors nor the graph. Numbers are little-endian, everything starts at a multiple of 8 bytes.
//
//   parcel = ParcelHead
//            names uint32[vertices]   their numbers in the draft, ascending
//            starts uint64[parts + 1], members uint32[starts[parts]]   as in Parts, by their places among the names
//            blocks uint8[vertices][compact_bytes(padded, 0, packed)]   codes and short heads
//   reply  = ReplyHead
//            sizes uint8[2][vertices]   of the lists of the nearest, then of the drawn
//            met uint64[...]            the lists, one after the other, as in Meetings
//
// Replies are taken in any order, and the draft is the same as if all had met at home.
#pragma once

#include <vector>

#include "draft.hpp"

namespace perwatt {

struct ParcelHead {
  uint64_t magic, hash;  // hash: of everything behind it
  uint64_t total;        // vertices of the whole draft
  uint64_t vertices, first, parts, members;
  uint32_t padded, leaf, near, drawn;
};
static_assert(sizeof(ParcelHead) == 72);

struct ReplyHead {
  uint64_t magic, hash;
  uint64_t parcel;  // the hash of the parcel that this is the reply to
  uint64_t vertices, met;
};
static_assert(sizeof(ReplyHead) == 40);

// Parts from first to last of a draft.
std::vector<uint8_t> parcel_of(const Drafting& drafting, size_t first, size_t last);

// The hash that a parcel states of itself.
uint64_t hash_of_parcel(const uint8_t* parcel);

// Has a parcel or a reply state the hash that its bytes have: so that a check can damage what it says, and not only its hash.
void reseal(std::vector<uint8_t>& bytes);

// Does the parts of a parcel. Throws std::invalid_argument, which says what is wrong, where it is not whole.
std::vector<uint8_t> reply_to(const Kernels& kernels, const uint8_t* parcel, size_t size, size_t threads);

// Adds what the vertices of the parts from first to last met, in the reply to the parcel of this hash. Throws
// std::invalid_argument where it is not that; then nothing is added.
void take_reply(Drafting& drafting, size_t first, size_t last, uint64_t parcel, const uint8_t* reply, size_t size);

}  // namespace perwatt
