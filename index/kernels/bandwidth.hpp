// How fast this machine reads memory, as a yardstick for the scans: nothing is computed but a sum that must be read.
#pragma once

#include <cstddef>
#include <cstdint>

namespace perwatt {

// Adds up the 64-bit words of `bytes` (a multiple of 4,096 a stream), reading `streams` parts of it in lockstep, in
// the widest loads that this processor has. The sum is returned so that the loads happen.
uint64_t read_sum(const uint8_t* bytes, size_t size, size_t streams);

}  // namespace perwatt
