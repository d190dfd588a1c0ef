// How fast this machine reads memory, as a yardstick for the scans: nothing is computed but a sum that must be read.
#pragma once

#include <cstddef>
#include <cstdint>

namespace perwatt {

// A stream must be a multiple of this long: eight of the widest loads.
constexpr size_t kReadBytes = 512;

// Adds up the 64-bit words of `bytes`, reading 1, 2 or 4 parts of it in lockstep, in the widest loads that this
// processor has. The sum (modulo 2^64) is returned so that the loads happen.
uint64_t read_sum(const uint8_t* bytes, size_t size, size_t streams);

}  // namespace perwatt
